from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from portside.engine.base import Engine
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.model.config import EngineName
from portside.model.processing import Classification, ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.verify.cases import Case, make_cases
from portside.verify.subject import Stage, Subject


@dataclass(frozen=True)
class Samples:
    pixels: npt.NDArray[np.uint8] | None = None
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


@pytest.fixture(scope="session")
def samples() -> Callable[..., Samples]:
    """Makes real samples, from pixels or from arrays by name."""
    return lambda pixels=None, **arrays: Samples(pixels, arrays)


@dataclass
class Net:
    """A small network with what surrounds it: graph, signature, processing, real samples."""

    proto: onnx.ModelProto
    signature: Signature
    processing: Processing
    samples: Samples
    raw: tuple[bytes, ...] = ()

    def copy(self) -> onnx.ModelProto:
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        return proto

    def cases(self, samples: Samples | None = None) -> list[Case]:
        """Cases with what an independent implementation of ONNX (not one of our engines) answers."""
        original = ReferenceEvaluator(self.proto)
        made = make_cases(self.signature, self.processing, self.samples if samples is None else samples, 0)
        names = [o.name for o in self.proto.graph.output]
        return [
            msgspec.structs.replace(c, expected=dict(zip(names, original.run(None, dict(c.inputs)), strict=True)))
            for c in made
        ]


def model(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], weights: Mapping[str, Any]) -> Any:
    tensors = [numpy_helper.from_array(np.asarray(w, np.float32), n) for n, w in weights.items()]
    graph = helper.make_graph(list(nodes), "net", list(inputs), list(outputs), tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def value(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.fixture(scope="session")
def engines() -> Mapping[EngineName, Engine]:
    return {EngineName.ONNXRUNTIME: OnnxRuntimeEngine(), EngineName.OPENVINO: OpenVinoEngine()}


@pytest.fixture(scope="session")
def mlp() -> Net:
    """4-16-3, rows of flowers' sizes."""
    rng = np.random.default_rng(3)
    weights = {"w1": rng.normal(size=(4, 16)), "b1": rng.normal(size=16), "w2": rng.normal(size=(16, 3)) / 4}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["y"]),
    ]
    proto = model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 3])], weights)
    signature = Signature(
        (TensorSpec("x", DType.FLOAT32, ("batch", 4)),), (TensorSpec("y", DType.FLOAT32, ("batch", 3)),), "batch"
    )
    rows = np.abs(rng.normal((5, 3, 4, 1), 1, (20, 4))).astype(np.float32)
    return Net(proto, signature, Processing(), Samples(arrays={"x": rows}))


@pytest.fixture(scope="session")
def photos() -> tuple[bytes, ...]:
    skimage = pytest.importorskip("skimage")
    folder = Path(skimage.__file__).parent / "data"
    names = ("chelsea.png", "coffee.png", "camera.png", "rocket.jpg", "astronaut.png", "retina.jpg")
    return tuple((folder / name).read_bytes() for name in names)


@pytest.fixture(scope="session")
def cnn(photos: tuple[bytes, ...]) -> Net:
    """Two convolutions and two dense layers on small photographs; two outputs."""
    from portside.processing.image import decode

    rng = np.random.default_rng(5)
    weights = {
        "c1": rng.normal(size=(8, 3, 3, 3)) / 3,
        "c2": rng.normal(size=(8, 8, 3, 3)) / 6,
        "d1": rng.normal(size=(8, 8)),
        "d2": rng.normal(size=(8, 10)),
        "bias": rng.normal(size=10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "c1"], ["t1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["t1"], ["t2"]),
        helper.make_node("Conv", ["t2", "c2"], ["t3"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["t3"], ["t4"]),
        helper.make_node("GlobalAveragePool", ["t4"], ["t5"]),
        helper.make_node("Flatten", ["t5"], ["t6"]),
        helper.make_node("Gemm", ["t6", "d1"], ["t7"], name="hidden"),
        helper.make_node("Tanh", ["t7"], ["features"]),
        helper.make_node("Gemm", ["features", "d2", "bias"], ["scores"]),
    ]
    outputs = [value("scores", ["batch", 10]), value("features", ["batch", 8])]
    proto = model(nodes, [value("x", ["batch", 3, 24, 32])], outputs, weights)
    signature = Signature(
        (TensorSpec("x", DType.FLOAT32, ("batch", 3, 24, 32)),),
        (TensorSpec("scores", DType.FLOAT32, ("batch", 10)), TensorSpec("features", DType.FLOAT32, ("batch", 8))),
        "batch",
    )
    image = ImageInput("x", 24, 32, mean=(123.0, 117.0, 104.0), std=(58.0, 57.0, 57.0))
    pixels = np.stack([decode(photo, image, exact=True) for photo in photos])
    pixels = np.concatenate([pixels, pixels[:, ::-1], pixels[:, :, ::-1]])
    processing = Processing(image, Classification("scores"))
    return Net(proto, signature, processing, Samples(pixels=pixels), photos)


MakeSubject = Callable[..., Subject]


@pytest.fixture
def subject(tmp_path: Path) -> MakeSubject:
    """Writes a network and a candidate made from it; what is not given is as in the network."""

    def make(net: Net, candidate: onnx.ModelProto | None = None, **changes: Any) -> Subject:
        before, after = tmp_path / "converted.onnx", tmp_path / "candidate.onnx"
        before.write_bytes(changes.pop("converted", net.proto).SerializeToString())
        after.write_bytes((candidate or net.proto).SerializeToString())
        stage = Stage(after, net.signature, net.processing)
        return Subject(
            Stage(before, net.signature, net.processing),
            msgspec.structs.replace(stage, **changes),
            "0" * 64,
            7,
            net.raw,
        )

    return make
