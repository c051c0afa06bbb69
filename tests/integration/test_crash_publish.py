"""Processes that publish are killed at any moment, and disks fill up: what was published before stays, and is whole."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.errors import ModelNotFound, RepositoryFailed
from portside.model.artifact import Artifact, file_entry
from portside.model.config import EngineConfig
from portside.model.evidence import Evidence, Host, SelfTest, Verdict
from portside.model.manifest import Manifest, Provenance, decode_manifest, encode
from portside.model.signature import Signature
from portside.repository.base import Pin
from portside.repository.local import LocalRepository

WORKER = '''
import os, resource, signal, sys
from pathlib import Path
import msgspec
from portside.model.manifest import decode_manifest
from portside.repository.base import Pin
from portside.repository.disk import Disk
from portside.repository.local import LocalRepository

root, files, mode, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
manifest = decode_manifest((files / "record.json").read_bytes())


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly(Disk):
    """Dies at step number ``count``: before, inside or behind it."""

    left = count

    def step(self, act, torn=None):
        self.left -= 1
        if self.left == 0:
            die()
        self.left -= 1
        if self.left == 0 and torn is not None:
            torn()
            die()
        result = act()
        self.left -= 1
        if self.left == 0:
            die()
        return result

    def make_folder(self, path):
        self.step(lambda: super(Deadly, self).make_folder(path))

    def write(self, path, data):
        self.step(lambda: super(Deadly, self).write(path, data), lambda: path.write_bytes(data[: len(data) // 2]))

    def copy(self, source, path):
        torn = lambda: path.write_bytes(source.read(1000))
        return self.step(lambda: super(Deadly, self).copy(source, path), torn)

    def rename(self, old, new):
        self.step(lambda: super(Deadly, self).rename(old, new))

    def sync(self, folder):
        self.step(lambda: super(Deadly, self).sync(folder))

    def remove(self, path):
        def torn():
            for inner in sorted(path.rglob("*"))[:1] if path.is_dir() else []:
                super(Deadly, self).remove(inner)

        self.step(lambda: super(Deadly, self).remove(path), torn)


def cycle(repository, turn):
    """What a busy day does to a model, in one go; numbers are told only once they are published."""
    version = repository.publish(manifest, files).version
    print(version, flush=True)
    repository.set_alias("iris", f"alias{turn % 3}", version)
    repository.set_pin("iris", Pin(version) if turn % 2 else None)
    if version % 4 == 0:
        repository.delete("iris", version, force=True)
    repository.collect_garbage(keep=3, min_age_s=3600.0)


if mode == "steps":
    repository = LocalRepository(root, disk=Deadly())
    for turn in range(4):
        cycle(repository, turn)
elif mode == "loop":
    repository = LocalRepository(root)
    turn = 0
    while True:
        cycle(repository, turn)
        turn += 1
elif mode == "publish":
    repository = LocalRepository(root, lock_wait_s=60.0)
    for _ in range(count):
        print(repository.publish(manifest, files).version, flush=True)
elif mode == "limited":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
    try:
        LocalRepository(root).publish(manifest, files)
    except Exception as e:
        print(type(e).__name__, e.message, flush=True)
'''


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER), encoding="utf-8")
    return script


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return make_files(tmp_path / "built", 200_000)


def make_files(folder: Path, size_bytes: int) -> Path:
    """A model's files and, beside them, the record that publishes them."""
    (folder / "weights").mkdir(parents=True)
    content = random.Random(1)
    (folder / "model.onnx").write_bytes(content.randbytes(1000))
    (folder / "weights" / "w.bin").write_bytes(content.randbytes(size_bytes))
    (folder / "report.html").write_bytes(content.randbytes(3000))
    artifact = Artifact.of(folder, "model.onnx", ["weights/w.bin"])
    evidence = Evidence(Verdict.PASS, (), artifact.digest, "", (), SelfTest(True, True), Host("cpu", (), 1, {}), 0, 1)
    provenance = Provenance("iris.pt", "torch", "torch2onnx", "0" * 64, 17, 10, (), "0.1.0")
    manifest = Manifest(
        "iris",
        0,
        "2026-01-01T00:00:00Z",
        Signature((), ()),
        artifact,
        EngineConfig(),
        provenance,
        evidence,
        attachments=(file_entry(folder, "report.html"),),
    )
    (folder / "record.json").write_bytes(encode(manifest))
    return folder


def record(files: Path) -> Manifest:
    return decode_manifest((files / "record.json").read_bytes())


def start(worker: Path, root: Path, files: Path, mode: str, count: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, str(worker), str(root), str(files), mode, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(output: str) -> list[int]:
    """The version numbers that a worker printed; its last line may be torn."""
    return [int(line) for line in re.findall(r"^(\d+)\n", output, re.MULTILINE)]


class Watch:
    """What has to hold after every crash, seen over the life of one store."""

    def __init__(self, root: Path, files: Path) -> None:
        self.root = root
        self.files = files
        self.highest = 0

    def after_crash(self, numbers: list[int]) -> None:
        repository = LocalRepository(self.root, lock_wait_s=1.0)
        try:
            versions = repository.state("iris").versions
        except (ModelNotFound, RepositoryFailed):
            assert not numbers, "a version that was told is gone"
            versions = ()
        for version in versions:
            assert repository.check("iris", version) == []
        assert all(n > self.highest for n in numbers), "a number was used twice"
        assert numbers == sorted(set(numbers))
        self.highest = max([self.highest, *versions, *numbers])
        fresh = repository.publish(record(self.files), self.files).version
        assert fresh > self.highest, "a number was used twice"
        self.highest = fresh
        repository.set_alias("iris", "after", fresh)
        assert repository.state("iris").aliases["after"] == fresh

    def after_collection(self) -> None:
        repository = LocalRepository(self.root)
        before = repository.state("iris")
        repository.collect_garbage(min_age_s=0.0)
        assert repository.state("iris") == before
        names = {p.name for p in (self.root / "iris").iterdir()}
        known = {str(v) for v in before.versions} | {".lock", "aliases.json"}
        assert all(n.startswith(".retired-") for n in names - known), names


def test_killed_at_every_step(worker: Path, root: Path, files: Path) -> None:
    """The worker dies before, inside and behind each step in turn; the steps differ, as the store fills up."""
    watch = Watch(root, files)
    deadline = time.monotonic() + 40.0
    killed = 0
    for count in spread(1, 220, 40):
        if time.monotonic() > deadline:
            break
        process = start(worker, root, files, "steps", count)
        output, _ = process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        watch.after_crash(told(output))
    assert killed >= 10
    watch.after_collection()


def spread(first: int, last: int, samples: int) -> Iterator[int]:
    """Some numbers of a range: all of the first ones (one publish), then fewer and fewer."""
    dense = 3 * 12
    yield from range(first, dense, 2)
    yield from sorted(random.Random(7).sample(range(dense, last), samples - dense // 2))


def test_killed_at_random_moments(worker: Path, root: Path, files: Path) -> None:
    watch = Watch(root, files)
    chance = random.Random(11)
    deadline = time.monotonic() + 25.0
    rounds = 0
    while rounds < 20 and time.monotonic() < deadline:
        process = start(worker, root, files, "loop")
        assert process.stdout is not None
        first = process.stdout.readline()
        # From here on it is anywhere in its cycle; the wait is the dice and synchronises nothing.
        time.sleep(chance.uniform(0.0, 0.08))
        process.kill()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        watch.after_crash(told(first + output))
        rounds += 1
    assert rounds >= 5
    watch.after_collection()


def test_processes_that_publish_at_once_get_distinct_numbers(worker: Path, root: Path, files: Path) -> None:
    each, workers = 5, 4
    processes = [start(worker, root, files, "publish", each) for _ in range(workers)]
    numbers = [told(process.communicate(timeout=120)[0]) for process in processes]
    assert sorted(n for some in numbers for n in some) == list(range(1, each * workers + 1))
    assert all(some == sorted(some) for some in numbers)
    repository = LocalRepository(root)
    assert repository.state("iris").versions == tuple(range(1, each * workers + 1))
    assert all(repository.check("iris", v) == [] for v in repository.state("iris").versions)


@pytest.mark.parametrize("limit_bytes", [500, 2500, 100_000])
def test_a_file_size_limit_leaves_the_previous_state(worker: Path, root: Path, files: Path, limit_bytes: int) -> None:
    repository = LocalRepository(root)
    repository.publish(record(files), files)
    before = {p.relative_to(root): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    output, _ = start(worker, root, files, "limited", limit_bytes).communicate(timeout=60)
    assert output.startswith("RepositoryFailed cannot ")
    assert "larger than" in output
    assert str(root) not in output
    assert {p.relative_to(root): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == before
    assert repository.check("iris", 1) == []
    assert repository.publish(record(files), files).version == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one megabyte."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or unmount is None:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("this machine does not allow mounting a small file system")
    try:
        yield folder
    finally:
        subprocess.run([unmount, str(folder)], check=True)


def publish_many(repository: LocalRepository, files: Path) -> None:
    for _ in range(10):
        repository.publish(record(files), files)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as f:
        while True:
            f.write(b"x" * 4096)


def test_a_full_disk_leaves_the_previous_state(small_disk: Path, files: Path) -> None:
    repository = LocalRepository(small_disk / "models")
    with pytest.raises(RepositoryFailed, match="full") as caught:
        publish_many(repository, files)
    assert str(small_disk) not in caught.value.message
    state = repository.state("iris")
    assert len(state.versions) >= 2
    assert all(repository.check("iris", v) == [] for v in state.versions)
    left = {p.name for p in (small_disk / "models" / "iris").iterdir()}
    assert left == {".lock", *(str(v) for v in state.versions)}
    repository.set_pin("iris", Pin(state.versions[0]))
    repository.set_pin("iris", None)
    repository.delete("iris", state.versions[0])
    assert repository.publish(record(files), files).version == state.versions[-1] + 1


def test_a_disk_filled_to_the_last_byte_can_still_be_emptied(small_disk: Path, files: Path) -> None:
    repository = LocalRepository(small_disk / "models")
    first = repository.publish(record(files), files).version
    second = repository.publish(record(files), files).version
    with pytest.raises(OSError, match="No space"):
        fill(small_disk / "ballast")
    with pytest.raises(RepositoryFailed, match="full"):
        repository.set_alias("iris", "stable", first)
    assert repository.state("iris").aliases == {}
    repository.delete("iris", first)
    assert repository.state("iris").versions == (second,)
    assert repository.publish(record(files), files).version == second + 1
