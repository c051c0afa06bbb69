"""Small real models, a session that obeys the test, and manifests around them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.model.artifact import Artifact, Format
from portside.model.config import EngineConfig
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.manifest import Manifest, Provenance
from portside.model.processing import Processing
from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec
from portside.observe.null import NullServableMeter
from portside.observe.ports import ServableMeter
from portside.serving.execution import Execution
from portside.serving.instance import InstancePool
from portside.serving.servable import Servable

LINE = Signature(
    (TensorSpec("x", DType.FLOAT32, ("batch", 2)),), (TensorSpec("y", DType.FLOAT32, ("batch", 2)),), "batch"
)
Answer = Callable[[Mapping[str, Array]], dict[str, Array]]


def double(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """y = 2 x."""
    return {"y": np.asarray(inputs["x"], np.float32) * 2}


class GatedSession:
    """Implements the port with a Python function; a run enters, waits until the gate is open, answers."""

    def __init__(self, answer: Answer = double, *, shut: bool = False) -> None:
        self.answer = answer
        self.gate = threading.Event()
        if not shut:
            self.gate.set()
        self.entered = threading.Semaphore(0)
        self.seen: list[tuple[int, ...]] = []

    @property
    def input_names(self) -> Sequence[str]:
        return ("x",)

    @property
    def output_names(self) -> Sequence[str]:
        return ("y",)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.seen.append(next(iter(inputs.values())).shape)
        self.entered.release()
        assert self.gate.wait(30)
        return self.answer(inputs)


def write_line(folder: Path, factor: float = 1.0, offset: float = 0.0) -> Artifact:
    """An ONNX graph ``y = x * factor + offset`` over float32[batch, 2]."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "k"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        "line",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(np.array([factor], np.float32), "k"),
            numpy_helper.from_array(np.array([offset], np.float32), "b"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return Artifact.of(folder, "model.onnx", ["model.onnx"])


def make_manifest(
    artifact: Artifact = Artifact(Format.ONNX, "model.onnx", ()),  # noqa: B008 -- frozen
    *,
    name: str = "line",
    version: int = 1,
    signature: Signature = LINE,
    processing: Processing = Processing(),  # noqa: B008 -- frozen
    config: EngineConfig = EngineConfig(),  # noqa: B008 -- frozen
) -> Manifest:
    """A manifest that passes."""
    selftest = SelfTest(identity_passed=True, corruption_detected=True)
    host = Host("test", (), 1, {})
    evidence = Evidence(Verdict.PASS, (), artifact.digest, str(config), (), selftest, host, seed=0, real_rows=1)
    return Manifest(
        name=name,
        version=version,
        created="2026-01-01T00:00:00Z",
        signature=signature,
        artifact=artifact,
        config=config,
        provenance=Provenance("test", "onnx", "onnx2onnx", "0" * 64, 17, 9, (), "0"),
        evidence=evidence,
        processing=processing,
    )


@pytest.fixture
def make() -> Iterator[SimpleNamespace]:
    """The factory of this folder; pools made by ``servable`` and ``pool`` are opened and closed here."""
    pools: list[tuple[InstancePool, tuple[GatedSession, ...]]] = []

    def pool(*sessions: GatedSession, capacity: int = 8) -> InstancePool:
        made = InstancePool(sessions, capacity=capacity, name="test")
        made.start()
        pools.append((made, sessions))
        return made

    def servable(
        *sessions: GatedSession,
        capacity: int = 8,
        inline_rows: int = 0,
        manifest: Manifest | None = None,
        meter: ServableMeter | None = None,
    ) -> Servable:
        manifest = manifest or make_manifest()
        execution = Execution(manifest.signature, manifest.processing)
        meter = meter or NullServableMeter()
        return Servable(manifest, execution, pool(*sessions, capacity=capacity), meter, inline_rows)

    yield SimpleNamespace(
        LINE=LINE,
        GatedSession=GatedSession,
        double=double,
        engine=OnnxRuntimeEngine(),
        line=write_line,
        manifest=make_manifest,
        pool=pool,
        servable=servable,
    )
    for made, sessions in pools:
        for session in sessions:
            session.gate.set()
        made.close()
