from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from portside.errors import CorruptArtifact, VersionNotFound
from portside.model.config import EngineName
from portside.model.manifest import Manifest
from portside.repository.local import LocalRepository
from portside.serving.loading import Loader, in_thread


def _publish(make: SimpleNamespace, tmp_path: Path) -> tuple[LocalRepository, Loader, Path]:
    repository = LocalRepository(tmp_path / "models")
    repository.publish(make.manifest(make.line(tmp_path / "built", 2.0)), tmp_path / "built")
    loader = Loader(repository, {EngineName.ONNXRUNTIME: make.engine}, cores=1)
    graph = repository.folder("line", 1) / "model.onnx"
    graph.parent.chmod(0o755)
    graph.chmod(0o644)
    return repository, loader, graph


def test_a_loaded_version_is_warm_and_has_said_so(make: SimpleNamespace, tmp_path: Path) -> None:
    _, loader, _ = _publish(make, tmp_path)
    said: list[Manifest] = []
    warm = loader.load("line", 1, said.append)
    assert said == [warm.manifest]
    assert warm.inline_rows >= 1
    outputs = warm.execution.run(warm.sessions[0], {"x": np.ones((1, 2), np.float32)}, 1)
    assert outputs["y"].tolist() == [[2, 2]]


def test_bytes_that_are_not_what_was_published(make: SimpleNamespace, tmp_path: Path) -> None:
    _, loader, graph = _publish(make, tmp_path)
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(CorruptArtifact, match=r"'model\.onnx' of line:1 is not what was published"):
        loader.load("line", 1, lambda _: None)
    graph.unlink()
    with pytest.raises(CorruptArtifact) as caught:
        loader.load("line", 1, lambda _: None)
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(VersionNotFound):
        loader.load("line", 2, lambda _: None)


async def test_blocking_work_has_a_thread_of_its_own() -> None:
    thread = await in_thread(threading.current_thread, "mine")
    assert thread.name == "mine"
    assert thread.daemon
    assert await in_thread(lambda: None, "none") is None


@pytest.mark.parametrize("error", [ZeroDivisionError(), SystemExit(1), KeyboardInterrupt()])
async def test_whatever_it_raises_arrives(error: BaseException) -> None:
    def fail() -> None:
        raise error

    future = in_thread(fail, "fails")
    await asyncio.wait({future})
    assert future.exception() is error


async def test_a_result_nobody_waits_for_is_dropped() -> None:
    gate, over = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        gate.wait(30)
        loop.call_soon_threadsafe(loop.call_soon, over.set)

    future = in_thread(wait, "late")
    future.cancel()
    gate.set()
    await asyncio.wait_for(over.wait(), 30)
    assert future.cancelled()


def test_a_loop_that_is_gone_is_no_trouble() -> None:
    began, gate = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def wait() -> None:
        threads.append(threading.current_thread())
        began.set()
        gate.wait(30)

    async def begin() -> None:
        in_thread(wait, "orphan")
        assert await asyncio.to_thread(began.wait, 30)

    asyncio.run(begin())
    gate.set()
    threads[0].join(30)
    assert not threads[0].is_alive()
