"""What every implementation of the port ``Repository`` has to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from portside.errors import (
    AliasNotFound,
    Conflict,
    CorruptArtifact,
    InvalidRequest,
    ModelNotFound,
    PortsideError,
    VerificationFailed,
    VersionNotFound,
)
from portside.model.artifact import Artifact, ArtifactFile
from portside.model.evidence import Verdict
from portside.model.manifest import Manifest
from portside.repository.base import ModelState, Pin, Repository

Make = Callable[..., Manifest]
ESCAPES = ["../iris", "a/b", "/etc/passwd", "", ".", "..", "-x", "x" * 200, "a\0b", ".hidden", "a\n", "ünïcode"]


def test_a_published_version_reads_back_as_it_was_stored(repository: Repository, manifest: Make, files: Path) -> None:
    stored = repository.publish(manifest(), files)
    assert stored == msgspec.structs.replace(manifest(), version=1)
    assert repository.manifest("iris", 1) == stored
    assert repository.models() == ["iris"]
    assert repository.state("iris").versions == (1,)
    assert repository.state("iris").current == 1
    assert repository.check("iris", 1) == []


def test_the_folder_holds_every_file(repository: Repository, manifest: Make, files: Path) -> None:
    repository.publish(manifest(), files)
    folder = repository.folder("iris", 1)
    for name in ("model.onnx", "weights/w0.bin", "report.html"):
        assert (folder / name).read_bytes() == (files / name).read_bytes()


def test_later_changes_of_the_source_do_not_reach_the_version(
    repository: Repository, manifest: Make, files: Path
) -> None:
    repository.publish(manifest(), files)
    (files / "model.onnx").write_bytes(b"something else")
    assert repository.check("iris", 1) == []


def test_versions_count_up_for_each_model(repository: Repository, manifest: Make, files: Path) -> None:
    assert [repository.publish(manifest(), files).version for _ in range(3)] == [1, 2, 3]
    assert repository.publish(manifest("other"), files).version == 1
    assert repository.models() == ["iris", "other"]
    assert repository.state("iris").versions == (1, 2, 3)


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_only_a_pass_is_published_without_force(
    repository: Repository, manifest: Make, files: Path, verdict: Verdict
) -> None:
    with pytest.raises(VerificationFailed, match=r"y differs by 3\.0.*force"):
        repository.publish(manifest(verdict=verdict), files)
    with pytest.raises(PortsideError):
        repository.state("iris")
    assert repository.publish(manifest(verdict=verdict), files, force=True).forced
    assert repository.manifest("iris", 1).forced


def test_force_does_not_mark_what_needed_none(repository: Repository, manifest: Make, files: Path) -> None:
    assert not repository.publish(manifest(), files, force=True).forced
    claimed = msgspec.structs.replace(manifest(), forced=True)
    assert not repository.publish(claimed, files).forced


def test_a_file_that_is_not_what_the_manifest_says_is_refused(
    repository: Repository, manifest: Make, files: Path
) -> None:
    made = manifest()
    (files / "weights" / "w0.bin").write_bytes(bytes(range(256)) * 49 + bytes(256))
    with pytest.raises(CorruptArtifact, match=r"w0\.bin.*SHA-256"):
        repository.publish(made, files)
    (files / "weights" / "w0.bin").write_bytes(b"short")
    with pytest.raises(CorruptArtifact, match=r"w0\.bin.*5 bytes.*12800"):
        repository.publish(made, files)
    (files / "weights" / "w0.bin").unlink()
    with pytest.raises(CorruptArtifact, match=r"w0\.bin"):
        repository.publish(made, files)
    with pytest.raises(ModelNotFound):
        repository.state("iris")


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "", "manifest.json", "a\\b", "a\0b", "model.onnx"]
)
def test_a_path_that_leaves_the_version_is_refused(
    repository: Repository, manifest: Make, files: Path, path: str
) -> None:
    bad = ArtifactFile(path, 1, "0" * 64)
    made = manifest()
    with pytest.raises(CorruptArtifact, match="build the version again"):
        repository.publish(msgspec.structs.replace(made, attachments=(bad,)), files)


def test_an_entry_that_is_not_a_file_is_refused(repository: Repository, manifest: Make, files: Path) -> None:
    made = manifest()
    artifact = Artifact(made.artifact.format, "other.onnx", made.artifact.files)
    with pytest.raises(CorruptArtifact, match=r"other\.onnx"):
        repository.publish(msgspec.structs.replace(made, artifact=artifact), files)


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leaves_the_store_is_refused(
    repository: Repository, manifest: Make, files: Path, name: str
) -> None:
    repository.publish(manifest(), files)
    for act in (
        lambda: repository.state(name),
        lambda: repository.manifest(name, 1),
        lambda: repository.folder(name, 1),
        lambda: repository.check(name, 1),
        lambda: repository.publish(manifest(name), files),
        lambda: repository.set_alias(name, "stable", 1),
        lambda: repository.drop_alias(name, "stable"),
        lambda: repository.set_pin(name, Pin(1)),
        lambda: repository.delete(name, 1),
        lambda: repository.set_alias("iris", name, 1),
    ):
        with pytest.raises(InvalidRequest):
            act()


def test_unknown_models_and_versions_are_named(repository: Repository, manifest: Make, files: Path) -> None:
    repository.publish(manifest(), files)
    for act in (repository.manifest, repository.folder, repository.check, repository.delete):
        with pytest.raises(ModelNotFound, match="'other'"):
            act("other", 1)
        for version in (2, 0, -1, 10**30):
            with pytest.raises(VersionNotFound, match=f"'iris' has no version {version}"):
                act("iris", version)
    with pytest.raises(ModelNotFound):
        repository.state("other")


def test_an_alias_moves_and_goes(repository: Repository, manifest: Make, files: Path) -> None:
    repository.publish(manifest(), files)
    repository.publish(manifest(), files)
    repository.set_alias("iris", "stable", 1)
    repository.set_alias("iris", "canary", 2)
    assert repository.state("iris").aliases == {"stable": 1, "canary": 2}
    repository.set_alias("iris", "stable", 2)
    repository.drop_alias("iris", "canary")
    assert repository.state("iris").aliases == {"stable": 2}
    with pytest.raises(AliasNotFound, match=r"'canary'.*'stable'"):
        repository.drop_alias("iris", "canary")
    with pytest.raises(VersionNotFound):
        repository.set_alias("iris", "stable", 3)
    with pytest.raises(InvalidRequest):
        repository.set_alias("iris", "12", 1)
    with pytest.raises(ModelNotFound):
        repository.set_alias("other", "stable", 1)
    assert repository.state("iris").aliases == {"stable": 2}


def test_a_pin_holds_the_current_version_back(repository: Repository, manifest: Make, files: Path) -> None:
    for _ in range(2):
        repository.publish(manifest(), files)
    repository.set_alias("iris", "stable", 2)
    repository.set_pin("iris", Pin(1, until=2))
    assert repository.state("iris").current == 1
    repository.publish(manifest(), files)
    assert repository.state("iris").current == 3
    repository.set_pin("iris", Pin(1))
    assert repository.state("iris").current == 1
    repository.set_pin("iris", None)
    assert repository.state("iris").current == 3
    assert repository.state("iris").aliases == {"stable": 2}
    with pytest.raises(VersionNotFound):
        repository.set_pin("iris", Pin(4))


def test_what_is_in_use_is_not_deleted(repository: Repository, manifest: Make, files: Path) -> None:
    for _ in range(4):
        repository.publish(manifest(), files)
    repository.set_alias("iris", "stable", 2)
    repository.set_pin("iris", Pin(3))
    with pytest.raises(Conflict, match="alias 'stable'"):
        repository.delete("iris", 2)
    with pytest.raises(Conflict, match="pinned"):
        repository.delete("iris", 3)
    repository.set_pin("iris", None)
    with pytest.raises(Conflict, match="current"):
        repository.delete("iris", 4)
    repository.delete("iris", 3)
    repository.delete("iris", 2, force=True)
    state = repository.state("iris")
    assert state.versions == (1, 4)
    with pytest.raises(VersionNotFound):
        repository.folder("iris", 2)
    with pytest.raises(VersionNotFound):
        repository.delete("iris", 2, force=True)


def test_a_number_is_never_used_again(repository: Repository, manifest: Make, files: Path) -> None:
    for _ in range(3):
        repository.publish(manifest(), files)
    repository.delete("iris", 3, force=True)
    repository.collect_garbage(min_age_s=0.0)
    assert repository.publish(manifest(), files).version == 4
    for version in (4, 2, 1):
        repository.delete("iris", version, force=True)
    repository.collect_garbage(min_age_s=0.0)
    assert repository.state("iris") == ModelState("iris", (), {})
    assert repository.state("iris").current is None
    assert repository.models() == []
    assert repository.publish(manifest(), files).version == 5
    assert repository.state("iris").versions == (5,)


def test_garbage_collection_keeps_what_is_held(repository: Repository, manifest: Make, files: Path) -> None:
    for _ in range(6):
        repository.publish(manifest(), files)
    repository.set_alias("iris", "stable", 2)
    repository.set_pin("iris", Pin(3))
    removed = repository.collect_garbage(keep=2)
    assert repository.state("iris").versions == (2, 3, 5, 6)
    assert removed == ["iris:1", "iris:4"]
    assert repository.collect_garbage(keep=2) == []
    assert repository.collect_garbage() == []
    with pytest.raises(InvalidRequest, match="keep"):
        repository.collect_garbage(keep=0)


def test_check_says_what_is_wrong(repository: Repository, manifest: Make, files: Path) -> None:
    repository.publish(manifest(), files)
    folder = repository.folder("iris", 1)
    (folder / "report.html").unlink()
    weights = folder / "weights" / "w0.bin"
    weights.chmod(0o644)
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    problems = repository.check("iris", 1)
    assert len(problems) == 2
    assert any("report.html" in p and "missing" in p for p in problems)
    assert any("w0.bin" in p and "SHA-256" in p for p in problems)


def test_publishing_at_once_gives_everyone_a_number(repository: Repository, manifest: Make, files: Path) -> None:
    made, got, lock = manifest(), list[int](), threading.Lock()

    def work() -> None:
        for _ in range(3):
            version = repository.publish(made, files).version
            with lock:
                got.append(version)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == list(range(1, 13))
    assert repository.state("iris").versions == tuple(range(1, 13))


def test_aliases_set_at_once_are_all_kept(repository: Repository, manifest: Make, files: Path) -> None:
    repository.publish(manifest(), files)
    names = [f"a{i}" for i in range(12)]
    threads = [threading.Thread(target=repository.set_alias, args=("iris", name, 1)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert repository.state("iris").aliases == dict.fromkeys(names, 1)


def test_a_manifest_that_could_not_be_read_again_is_refused(
    repository: Repository, manifest: Make, files: Path
) -> None:
    made = manifest()
    broken = msgspec.structs.replace(made, created=None)
    with pytest.raises(CorruptArtifact, match="read again"):
        repository.publish(broken, files)
    with pytest.raises(PortsideError):
        repository.state("iris")


def test_every_look_at_a_changing_model_is_consistent(repository: Repository, manifest: Make, files: Path) -> None:
    """While versions come, the alias follows and the old ones go, no look shows an alias of nothing."""
    made, stop = manifest(), threading.Event()
    repository.publish(made, files)
    repository.set_alias("iris", "stable", 1)

    def change() -> None:
        for _ in range(12):
            version = repository.publish(made, files).version
            repository.set_alias("iris", "stable", version)
            repository.delete("iris", version - 1)
        stop.set()

    thread = threading.Thread(target=change)
    thread.start()
    looks, highest = 0, 0
    while not stop.is_set() or looks == 0:
        state = repository.state("iris")
        assert state.aliases["stable"] in state.versions
        assert state.current is not None
        assert state.current >= highest
        highest = state.current
        looks += 1
        try:
            assert repository.manifest("iris", state.versions[0]).version == state.versions[0]
        except VersionNotFound:
            assert repository.state("iris").versions[0] > state.versions[0]
    thread.join(60)
    assert repository.state("iris").versions == (13,)
