"""What only the folder implementation can get wrong: foreign, broken and hostile content, and a failing disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from portside.errors import (
    AliasNotFound,
    Conflict,
    CorruptArtifact,
    ModelNotFound,
    PortsideError,
    RepositoryFailed,
    VersionNotFound,
)
from portside.model.manifest import Manifest, encode
from portside.repository.base import Pin
from portside.repository.disk import Disk, locked
from portside.repository.local import LocalRepository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def repository(root: Path, manifest: Manifest, files: Path) -> LocalRepository:
    """A store with iris:1 in it."""
    made = LocalRepository(root, lock_wait_s=0.05)
    made.publish(manifest, files)
    return made


def overwrite(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


class FailingDisk(Disk):
    """Fails at the given step, counted from 1, as a real disk would."""

    def __init__(self, fail_at: int, number: int = errno.ENOSPC) -> None:
        self._left = fail_at
        self._number = number

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError(self._number, os.strerror(self._number))

    def make_folder(self, path: Path) -> None:
        self._step()
        super().make_folder(path)

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        self._step()
        path.unlink()
        super().write(path, data)

    def rename(self, old: Path, new: Path) -> None:
        self._step()
        super().rename(old, new)

    def sync(self, folder: Path) -> None:
        self._step()
        super().sync(folder)


def test_the_constructor_touches_nothing(root: Path) -> None:
    LocalRepository(root)
    assert not root.exists()


def test_a_root_that_is_gone_is_a_failure_and_not_an_empty_store(root: Path) -> None:
    gone = LocalRepository(root)
    for act in (gone.models, gone.collect_garbage, lambda: gone.state("iris"), lambda: gone.manifest("iris", 1)):
        with pytest.raises(RepositoryFailed, match="mounted"):
            act()


def test_an_empty_root_is_an_empty_store(root: Path) -> None:
    root.mkdir()
    assert LocalRepository(root).models() == []
    with pytest.raises(ModelNotFound):
        LocalRepository(root).state("iris")


def test_foreign_and_half_written_folders_are_passed_over(
    repository: LocalRepository, root: Path, manifest: Manifest, files: Path
) -> None:
    model = root / "iris"
    (root / "README.txt").write_text("notes", encoding="utf-8")
    (root / ".git").mkdir()
    (root / "lost+found").mkdir()
    (root / "empty").mkdir()
    (root / "tf" / "7").mkdir(parents=True)
    (root / "tf" / "7" / "saved_model.pb").write_bytes(b"x")
    (model / "2").mkdir()
    (model / "3").mkdir()
    (model / "3" / "manifest.json").write_bytes(b"{")
    (model / "4").write_text("a file", encoding="utf-8")
    (model / "05").mkdir()
    (model / ".publish-00ff").mkdir()
    (model / ".publish-00ff" / "manifest.json").write_bytes(encode(msgspec.structs.replace(manifest, version=9)))
    assert repository.models() == ["iris"]
    assert repository.state("iris").versions == (1,)
    with pytest.raises(ModelNotFound):
        repository.state("tf")
    for version in (2, 4):
        with pytest.raises(VersionNotFound):
            repository.manifest("iris", version)
    assert repository.publish(manifest, files).version == 5


@pytest.mark.parametrize(
    "change",
    [
        lambda m: b"",
        lambda m: b"\xff\xfe",
        lambda m: encode(m)[:-40],
        lambda m: encode(msgspec.structs.replace(m, version=7)),
        lambda m: encode(msgspec.structs.replace(m, name="other")),
        lambda m: encode(msgspec.structs.replace(m, schema=99)),
        lambda m: encode(m).replace(b'"model.onnx"', b'"../../x"'),
        lambda m: encode(m).replace(b'"model.onnx"', b'"/etc/passwd"'),
        lambda m: b"[" * 100_000,
    ],
)
def test_a_damaged_record_is_no_version_but_can_be_asked_about(
    repository: LocalRepository, root: Path, manifest: Manifest, files: Path, change: Callable[[Manifest], bytes]
) -> None:
    stored = repository.publish(manifest, files)
    overwrite(root / "iris" / "2" / "manifest.json", change(stored))
    assert repository.state("iris").versions == (1,)
    with pytest.raises(CorruptArtifact):
        repository.manifest("iris", 2)
    assert len(repository.check("iris", 2)) == 1
    repository.delete("iris", 2)
    with pytest.raises(VersionNotFound):
        repository.manifest("iris", 2)
    assert repository.publish(manifest, files).version == 3


def test_the_only_version_can_be_taken_away_when_it_is_damaged(repository: LocalRepository, root: Path) -> None:
    overwrite(root / "iris" / "1" / "manifest.json", b"{}")
    assert repository.models() == []
    repository.delete("iris", 1)
    assert not (root / "iris" / "1").exists()


def test_a_record_that_changes_on_disk_is_read_again(
    repository: LocalRepository, root: Path, manifest: Manifest
) -> None:
    repository.manifest("iris", 1)
    overwrite(root / "iris" / "1" / "manifest.json", encode(msgspec.structs.replace(manifest, version=1, created="x")))
    assert repository.manifest("iris", 1).created == "x"


def test_links_that_leave_the_store_are_refused(
    repository: LocalRepository, root: Path, tmp_path: Path, manifest: Manifest, files: Path
) -> None:
    outside = tmp_path / "outside"
    LocalRepository(outside).publish(manifest, files)
    LocalRepository(outside).publish(manifest, files)
    (root / "linked").symlink_to(outside / "iris")
    (root / "iris" / "2").symlink_to(outside / "iris" / "2")
    assert repository.models() == ["iris"]
    assert repository.state("iris").versions == (1,)
    with pytest.raises(ModelNotFound):
        repository.manifest("linked", 1)
    with pytest.raises(VersionNotFound):
        repository.manifest("iris", 2)
    with pytest.raises(RepositoryFailed, match="link"):
        repository.publish(msgspec.structs.replace(manifest, name="linked"), files)
    assert sorted(p.name for p in (outside / "iris").iterdir()) == [".lock", "1", "2"]


def test_links_inside_a_version_are_refused(repository: LocalRepository, root: Path, tmp_path: Path) -> None:
    version = root / "iris" / "1"
    secret = tmp_path / "secret"
    secret.write_bytes((version / "model.onnx").read_bytes())
    (version / "model.onnx").unlink()
    (version / "model.onnx").symlink_to(secret)
    with pytest.raises(CorruptArtifact, match="link"):
        repository.folder("iris", 1)
    assert repository.check("iris", 1) == ["'model.onnx' is a link that leaves the version"]
    (version / "manifest.json").rename(tmp_path / "m.json")
    (version / "manifest.json").symlink_to(tmp_path / "m.json")
    with pytest.raises(CorruptArtifact, match="link"):
        repository.manifest("iris", 1)


def test_a_pipe_in_place_of_a_record_does_not_block(repository: LocalRepository, root: Path) -> None:
    os.mkfifo(root / "iris" / "aliases.json")
    with pytest.raises(RepositoryFailed, match="plain file"):
        repository.state("iris")
    (root / "iris" / "2").mkdir()
    os.mkfifo(root / "iris" / "2" / "manifest.json")
    with pytest.raises(CorruptArtifact, match="plain file"):
        repository.manifest("iris", 2)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"aliases": {"a": "1"}}', b'{"pin": 3}'])
def test_damaged_aliases_are_reported_and_not_taken_for_none(
    repository: LocalRepository, root: Path, data: bytes
) -> None:
    (root / "iris" / "aliases.json").write_bytes(data)
    with pytest.raises(RepositoryFailed, match=r"aliases of 'iris'.*repair"):
        repository.state("iris")
    with pytest.raises(RepositoryFailed):
        repository.set_alias("iris", "stable", 1)
    assert (root / "iris" / "aliases.json").read_bytes() == data
    assert repository.manifest("iris", 1).version == 1


def test_an_alias_of_a_version_that_is_gone_stays_and_does_not_hold_anything(
    repository: LocalRepository, manifest: Manifest, files: Path
) -> None:
    repository.publish(manifest, files)
    repository.set_alias("iris", "old", 1)
    repository.set_pin("iris", Pin(1))
    repository.delete("iris", 1, force=True)
    state = repository.state("iris")
    assert (state.versions, state.aliases, state.current) == ((2,), {"old": 1}, 2)
    repository.drop_alias("iris", "old")
    with pytest.raises(AliasNotFound):
        repository.drop_alias("iris", "old")


def test_a_model_that_others_keep_changing_is_a_conflict(
    repository: LocalRepository, root: Path, manifest: Manifest, files: Path
) -> None:
    repository.publish(manifest, files)
    with locked(root / "iris" / ".lock", 0.0):
        for act in (
            lambda: repository.set_alias("iris", "stable", 1),
            lambda: repository.drop_alias("iris", "stable"),
            lambda: repository.set_pin("iris", None),
            lambda: repository.delete("iris", 1),
            lambda: repository.publish(manifest, files),
        ):
            with pytest.raises(Conflict, match="somebody else"):
                act()
        assert repository.state("iris").versions == (1, 2)
    assert repository.collect_garbage(min_age_s=0.0) == []


def test_a_number_taken_behind_the_lock_is_passed_over(root: Path, manifest: Manifest, files: Path) -> None:
    class Rival(Disk):
        def rename(self, old: Path, new: Path) -> None:
            if new.name == "1":
                (new / "x").mkdir(parents=True)
            if new.name == "2":
                new.write_text("a file", encoding="utf-8")
            super().rename(old, new)

    repository = LocalRepository(root, disk=Rival())
    assert repository.publish(manifest, files).version == 3
    assert repository.state("iris").versions == (3,)
    assert repository.check("iris", 3) == []


@pytest.mark.parametrize("fail_at", range(1, 9))
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_publish_that_fails_leaves_no_trace(
    repository: LocalRepository, root: Path, manifest: Manifest, files: Path, fail_at: int, number: int
) -> None:
    failing = LocalRepository(root, disk=FailingDisk(fail_at, number))
    before = sorted(p.name for p in (root / "iris").iterdir())
    try:
        failing.publish(manifest, files)
    except RepositoryFailed:
        after = sorted(p.name for p in (root / "iris").iterdir())
        # Only the very last step may fail behind the rename.
        assert after in (before, sorted([*before, "2"]))
    for version in repository.state("iris").versions:
        assert repository.check("iris", version) == []


@pytest.mark.parametrize("fail_at", range(1, 4))
def test_a_change_of_aliases_that_fails_keeps_the_old_ones(
    repository: LocalRepository, root: Path, fail_at: int
) -> None:
    repository.set_alias("iris", "stable", 1)
    failing = LocalRepository(root, disk=FailingDisk(fail_at))
    with pytest.raises(RepositoryFailed, match="full"):
        failing.set_alias("iris", "canary", 1)
    aliases = repository.state("iris").aliases
    assert aliases == ({"stable": 1} if fail_at < 3 else {"stable": 1, "canary": 1})
    assert [p.name for p in (root / "iris").iterdir() if p.name.startswith(".names-")] == []


@pytest.mark.parametrize("fail_at", range(1, 5))
def test_a_deletion_that_fails_never_frees_the_number(
    repository: LocalRepository, root: Path, manifest: Manifest, files: Path, fail_at: int
) -> None:
    repository.publish(manifest, files)
    failing = LocalRepository(root, disk=FailingDisk(fail_at))
    with pytest.raises(RepositoryFailed, match="full"):
        failing.delete("iris", 2, force=True)
    assert repository.state("iris").versions in ((1, 2), (1,))
    repository.collect_garbage(min_age_s=0.0)
    assert repository.publish(manifest, files).version == 3


def test_garbage_is_collected_when_it_is_old_enough(repository: LocalRepository, root: Path) -> None:
    for name in (".publish-0a", ".trash-3-0b"):
        (root / "iris" / name / "deep").mkdir(parents=True)
    (root / "iris" / ".names-0c").write_bytes(b"x")
    (root / "iris" / "notes").mkdir()
    old = (root / "iris" / ".publish-0a").stat().st_mtime
    young = LocalRepository(root, now=lambda: old + 50.0)
    assert young.collect_garbage(min_age_s=100.0) == []
    later = LocalRepository(root, now=lambda: old + 3601.0)
    assert later.collect_garbage() == ["iris: .names-0c", "iris: .publish-0a", "iris: .trash-3-0b"]
    assert sorted(p.name for p in (root / "iris").iterdir()) == [".lock", "1", "notes"]


def test_work_in_progress_is_not_garbage_however_old(
    repository: LocalRepository, root: Path, manifest: Manifest, files: Path
) -> None:
    class Collecting(Disk):
        def sync(self, folder: Path) -> None:
            assert repository.collect_garbage(min_age_s=-1.0) == []
            super().sync(folder)

    assert LocalRepository(root, disk=Collecting()).publish(manifest, files).version == 2
    assert repository.check("iris", 2) == []


def test_a_file_that_cannot_be_read_is_a_finding(repository: LocalRepository, root: Path) -> None:
    model = root / "iris" / "1" / "model.onnx"
    model.unlink()
    model.mkdir()
    assert repository.check("iris", 1) == ["'model.onnx' cannot be read: Is a directory"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_may_not_be_written_says_so(
    repository: LocalRepository, root: Path, manifest: Manifest, files: Path
) -> None:
    (root / "iris").chmod(0o555)
    try:
        with pytest.raises(RepositoryFailed, match="permission"):
            repository.publish(manifest, files)
        assert repository.state("iris").versions == (1,)
    finally:
        (root / "iris").chmod(0o755)


def test_messages_hold_no_path(repository: LocalRepository, root: Path) -> None:
    overwrite(root / "iris" / "1" / "manifest.json", b"{}")
    (root / "iris" / "aliases.json").write_bytes(b"{")
    for act in (
        lambda: repository.manifest("iris", 1),
        lambda: repository.state("iris"),
        lambda: repository.manifest("iris", 5),
        lambda: LocalRepository(root / "gone").models(),
    ):
        with pytest.raises(PortsideError) as caught:
            act()
        assert str(root) not in caught.value.message
