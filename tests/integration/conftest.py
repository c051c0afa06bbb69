"""Small real models in a real repository, and servers over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.model.artifact import Artifact
from portside.model.config import EngineConfig, EngineName
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.manifest import Manifest, Provenance
from portside.model.processing import Classification, ImageInput, Layout, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.observe.prometheus import PrometheusMeter
from portside.protocol.base import HTML, HttpReply, Limits
from portside.repository.local import LocalRepository
from portside.server.application import About, Application
from portside.server.background import ServerHandle, serve_in_thread
from portside.server.options import ListenerOptions, ServerOptions
from portside.serving.dataplane import DataPlane
from portside.serving.execution import Bounds
from portside.serving.manager import Manager, ManagerOptions

ELEMENTS = {
    DType.FLOAT32: TensorProto.FLOAT,
    DType.INT64: TensorProto.INT64,
    DType.UINT8: TensorProto.UINT8,
    DType.BOOL: TensorProto.BOOL,
}
LABELS = ("dark red", "dark green", "dark blue", "red", "green", "blue")


def spec(name: str, dtype: DType, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


class SmallModel:
    """A graph with its signature and processing."""

    def __init__(
        self,
        signature: Signature,
        nodes: Sequence[onnx.NodeProto],
        weights: Mapping[str, np.ndarray] | None = None,
        processing: Processing | None = None,
    ) -> None:
        self.signature = signature
        self.processing = processing or Processing()
        graph = helper.make_graph(
            list(nodes),
            "g",
            [helper.make_tensor_value_info(s.name, ELEMENTS[s.dtype], s.shape) for s in signature.inputs],
            [helper.make_tensor_value_info(s.name, ELEMENTS[s.dtype], s.shape) for s in signature.outputs],
            [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
        )
        self.graph = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)

    def publish(self, repository: LocalRepository, name: str, folder: Path, *, passed: bool = True) -> Manifest:
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(self.graph, folder / "model.onnx")
        artifact = Artifact.of(folder, "model.onnx", [])
        verdict = Verdict.PASS if passed else Verdict.FAIL
        evidence = Evidence(
            verdict, () if passed else ("made for a test",), artifact.digest, "", (), SelfTest(True, True),
            Host("", (), 1, {}), 0, 0,
        )  # fmt: skip
        provenance = Provenance("test", "numpy", "test", "0" * 64, 17, 10, (), "0")
        config = EngineConfig(EngineName.ONNXRUNTIME)
        manifest = Manifest(
            name, 0, "2026-01-01T00:00:00Z", self.signature, artifact, config, provenance, evidence, self.processing
        )
        return repository.publish(manifest, folder, force=not passed)


def half_plus_two(add: float = 2.0) -> SmallModel:
    """``y = x / 2 + 2``, the model of TensorFlow Serving's documentation."""
    signature = Signature((spec("x", DType.FLOAT32, "batch"),), (spec("y", DType.FLOAT32, "batch"),), "batch")
    nodes = [helper.make_node("Mul", ["x", "a"], ["ax"]), helper.make_node("Add", ["ax", "b"], ["y"])]
    return SmallModel(signature, nodes, {"a": np.float32([0.5])[0:1], "b": np.float32([add])})


def tiny() -> SmallModel:
    """Four numbers, sixteen hidden units, three probabilities."""
    random = np.random.default_rng(7)
    signature = Signature((spec("x", DType.FLOAT32, "batch", 4),), (spec("y", DType.FLOAT32, "batch", 3),), "batch")
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=-1),
    ]
    shapes = {"w1": (4, 16), "b1": (16,), "w2": (16, 3), "b2": (3,)}
    return SmallModel(signature, nodes, {k: random.normal(size=s).astype(np.float32) for k, s in shapes.items()})


def sum_and_flags() -> SmallModel:
    """Two inputs, two outputs of other types: ``total = a + b`` and ``equal = a == b``."""
    signature = Signature(
        (spec("a", DType.INT64, "batch", 2), spec("b", DType.INT64, "batch", 2)),
        (spec("total", DType.INT64, "batch", 2), spec("equal", DType.BOOL, "batch", 2)),
        "batch",
    )
    nodes = [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Equal", ["a", "b"], ["equal"])]
    return SmallModel(signature, nodes)


def colour() -> SmallModel:
    """Says which channel of a picture is brightest: real processing around a graph of two nodes."""
    signature = Signature(
        (spec("pixels", DType.UINT8, "batch", 16, 16, 3),), (spec("scores", DType.FLOAT32, "batch", 6),), "batch"
    )
    nodes = [
        helper.make_node("Cast", ["pixels"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["mean", "w"], ["scores"]),
    ]
    weights = np.concatenate([np.eye(3) * 0.01, np.eye(3) * 0.05], axis=1).astype(np.float32)
    image = ImageInput("pixels", 16, 16, scale=1.0, fused=True, layout=Layout.NHWC)
    processing = Processing(image, Classification("scores", labels=LABELS, top_k=3))
    return SmallModel(signature, nodes, {"w": weights}, processing)


def publish_all(root: Path, work: Path) -> LocalRepository:
    repository = LocalRepository(root)
    for name, model in {"half_plus_two": half_plus_two(), "tiny": tiny(), "sums": sum_and_flags(),
                        "colour": colour()}.items():  # fmt: skip
        model.publish(repository, name, work / name)
    half_plus_two(3.0).publish(repository, "half_plus_two", work / "half_plus_three")
    repository.set_alias("half_plus_two", "stable", 1)
    return repository


class Stack:
    """Everything behind the sockets, with real parts."""

    def __init__(
        self,
        repository: LocalRepository,
        limits: Limits | None = None,
        *,
        access_log: bool = False,
        poll_s: float = 0.2,
    ) -> None:
        self.repository = repository
        self.meter = PrometheusMeter("0.0-test")
        engines = {EngineName.ONNXRUNTIME: OnnxRuntimeEngine()}
        limits = limits or Limits()
        bounds = Bounds(pixels=limits.pixels, items=limits.items)
        self.manager = Manager(repository, engines, self.meter, ManagerOptions(poll_s=poll_s, cores=1, bounds=bounds))
        pages = {"/": HttpReply(200, b"<!doctype html><title>Portside</title>", HTML)}
        self.application = Application(
            DataPlane(self.manager.router),
            self.manager,
            self.meter,
            limits or Limits(),
            pages,
            About(version="0.0-test", access_log=access_log),
        )

    def serve(self, listener: ListenerOptions | None = None) -> ServerHandle:
        options = ServerOptions(port=0, drain_s=5.0, listener=listener or ListenerOptions())
        return serve_in_thread(self.application, self.manager, options, timeout_s=60.0)


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> LocalRepository:
    """Published: half_plus_two (1: stable, 2: current), tiny, sums, colour. Not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    return publish_all(folder / "repository", folder / "work")


@pytest.fixture(scope="module")
def live(small_models: LocalRepository) -> Iterator[ServerHandle]:
    """A server over the small models on a real socket."""
    with Stack(small_models).serve() as handle:
        yield handle


@pytest.fixture(scope="session")
def stack() -> type[Stack]:
    """The parts behind the sockets, for tests that drive them themselves."""
    return Stack


@pytest.fixture(scope="session")
def small_model() -> Callable[[float], SmallModel]:
    """Makes ``y = x / 2 + add``."""
    return half_plus_two
