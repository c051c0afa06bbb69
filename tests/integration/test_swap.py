"""Versions come, go back and break under a client that never stops asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.model.artifact import Artifact
from portside.model.config import EngineConfig, EngineName
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.inference import InferRequest
from portside.model.manifest import Manifest, Provenance
from portside.model.ref import ModelRef
from portside.model.signature import Signature
from portside.model.status import State
from portside.model.tensors import DType, TensorSpec
from portside.observe.null import NullMeter
from portside.repository.base import Pin
from portside.repository.local import LocalRepository
from portside.serving.dataplane import DataPlane
from portside.serving.manager import Manager, ManagerOptions
from portside.serving.policy import Retries

REF = ModelRef("line")
SIGNATURE = Signature((TensorSpec("x", DType.FLOAT32, ("n", 2)),), (TensorSpec("y", DType.FLOAT32, ("n", 2)),), "n")


def build(folder: Path, version: int) -> Manifest:
    """A model that answers ``x + version``."""
    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "b"], ["y"])],
        "line",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.array([version], np.float32), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    artifact = Artifact.of(folder, "model.onnx", [])
    selftest = SelfTest(identity_passed=True, corruption_detected=True)
    evidence = Evidence(Verdict.PASS, (), artifact.digest, "", (), selftest, Host("", (), 1, {}), seed=0, real_rows=1)
    provenance = Provenance("test", "onnx", "onnx2onnx", "0" * 64, 17, 9, (), "0")
    config = EngineConfig(threads=1, instances=2)
    return Manifest("line", 0, "2026-01-01T00:00:00Z", SIGNATURE, artifact, config, provenance, evidence)


class Harbour:
    """A repository, and a manager and a data plane over it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "models").mkdir()
        self.repository = LocalRepository(folder / "models")
        options = ManagerOptions(poll_s=0.005, cores=2, retries=Retries(1), drain_s=10.0)
        engines = {EngineName.ONNXRUNTIME: OnnxRuntimeEngine()}
        self.manager = Manager(self.repository, engines, NullMeter(), options)
        self.dataplane = DataPlane(self.manager.router)

    def publish(self, number: int, *, spoilt: bool = False) -> None:
        """Publishes a version; a spoilt one says in its manifest what its file is not."""
        folder = self._folder / f"built-{number}"
        manifest = build(folder, number)
        published = self.repository.publish(manifest, folder)
        assert published.version == number
        if spoilt:
            path = self.repository.folder("line", number) / "model.onnx"
            path.parent.chmod(0o755)
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:-3])

    async def ask(self, rows: int) -> int:
        """The version that answered; its answer is checked against it."""
        x = np.zeros((rows, 2), np.float32)
        response = await self.dataplane.infer(self.dataplane.resolve(REF), InferRequest(REF, {"x": x}))
        y = np.asarray(response.outputs["y"], np.float32)
        assert y.shape == (rows, 2)
        assert (y == response.model_version).all(), "an answer of another version"
        return response.model_version

    async def until(self, condition: Callable[[], bool]) -> None:
        """Asks until a condition holds."""
        async with asyncio.timeout(60):
            while not condition():
                await self.ask(1)
                await asyncio.sleep(0)

    def serving(self) -> int | None:
        """The version that answers now."""
        servable = self.manager.router.routes["line"].serving
        return None if servable is None else servable.version


@pytest.fixture
async def harbour(tmp_path: Path) -> AsyncIterator[Harbour]:
    made = Harbour(tmp_path)
    made.publish(1)
    await made.manager.start()
    yield made
    await made.manager.aclose()


async def client(harbour: Harbour, rows: int, stop: asyncio.Event) -> list[int]:
    """Asks without a pause; any error ends the test. Many rows go through a worker, few run inline."""
    seen: list[int] = []
    while not stop.is_set():
        seen.append(await harbour.ask(rows))
        await asyncio.sleep(0)
    return seen


async def test_fifty_versions_under_load_lose_no_request(harbour: Harbour) -> None:
    stop = asyncio.Event()
    clients = [asyncio.ensure_future(client(harbour, rows, stop)) for rows in (1, 1, 500, 500)]
    for number in range(2, 51):
        await asyncio.to_thread(harbour.publish, number)
    await harbour.until(lambda: harbour.serving() == 50)
    stop.set()
    assert await harbour.ask(500) == 50
    for seen in await asyncio.wait_for(asyncio.gather(*clients), 60):
        assert seen == sorted(seen), "versions only move forward"
        assert len(set(seen)) > 1
    await harbour.until(lambda: [(s.version, s.state) for s in harbour.manager.statuses()] == [(50, State.READY)])


async def test_a_rollback_and_a_spoilt_version_under_load(harbour: Harbour) -> None:
    stop = asyncio.Event()
    clients = [asyncio.ensure_future(client(harbour, rows, stop)) for rows in (1, 500)]
    await asyncio.to_thread(harbour.publish, 2)
    await harbour.until(lambda: harbour.serving() == 2)
    harbour.repository.set_pin("line", Pin(1, until=2))
    await harbour.until(lambda: harbour.serving() == 1)
    await asyncio.to_thread(harbour.publish, 3)
    await harbour.until(lambda: harbour.serving() == 3)
    harbour.repository.set_pin("line", Pin(3))
    await asyncio.to_thread(harbour.publish, 4, spoilt=True)
    harbour.repository.set_pin("line", None)
    await harbour.until(lambda: any(s.state is State.FAILED for s in harbour.manager.statuses("line")))
    assert harbour.serving() == 3
    assert harbour.manager.ready()
    stop.set()
    for seen in await asyncio.wait_for(asyncio.gather(*clients), 60):
        assert [v for v, before in zip(seen, [0, *seen], strict=False) if v != before] in (
            [1, 2, 1, 3],
            [1, 2, 3],
            [1, 3],
        )


async def test_deleting_the_current_version_under_load(harbour: Harbour) -> None:
    stop = asyncio.Event()
    clients = [asyncio.ensure_future(client(harbour, rows, stop)) for rows in (1, 500)]
    await asyncio.to_thread(harbour.publish, 2)
    await harbour.until(lambda: harbour.serving() == 2)
    harbour.repository.delete("line", 2, force=True)
    await harbour.until(lambda: harbour.serving() == 1)
    stop.set()
    await asyncio.wait_for(asyncio.gather(*clients), 60)


async def test_closing_under_load_answers_everybody(harbour: Harbour) -> None:
    work = [asyncio.ensure_future(harbour.ask(500)) for _ in range(200)]
    await asyncio.sleep(0)
    await harbour.manager.aclose()
    assert await asyncio.wait_for(asyncio.gather(*work), 60) == [1] * 200
