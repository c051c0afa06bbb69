from __future__ import annotations

import os
from pathlib import Path

import pytest

from portside.building.workspace import Workspace, digest_module, digest_path, entries, import_paths, unchanged, write
from portside.errors import Conflict, InvalidSettings, RepositoryFailed


def test_one_build_at_a_time(tmp_path: Path) -> None:
    with Workspace(tmp_path / "ws").hold():
        with pytest.raises(Conflict, match="another build is at work"), Workspace(tmp_path / "ws").hold():
            pytest.fail("held twice")
        with Workspace(tmp_path / "other").hold():
            pass
    with Workspace(tmp_path / "ws").hold():
        pass


def test_a_workspace_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryFailed, match="cannot be made") as caught, Workspace(tmp_path / "file" / "ws").hold():
        pytest.fail("held a file")
    assert str(tmp_path) not in caught.value.message


def test_clearing_a_step_leaves_nothing_of_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = workspace.clear_step("convert")
    (folder / "done.json").write_text("{}")
    (folder / "files" / "model.onnx").write_text("old")
    (workspace.clear_step("optimize") / "log.txt").write_text("kept")
    workspace.clear_step("convert")
    assert [p.name for p in workspace.step("convert").iterdir()] == ["files"]
    assert not list(workspace.files("convert").iterdir())
    assert (workspace.step("optimize") / "log.txt").read_text() == "kept"


def test_entries_notice_every_change(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"one")
    (tmp_path / "y").write_bytes(b"two")
    found = entries(tmp_path)
    assert [f.path for f in found] == ["a/x", "y"]
    assert unchanged(tmp_path, found)
    (tmp_path / "new").write_bytes(b"does not matter")
    assert unchanged(tmp_path, found)
    (tmp_path / "y").write_bytes(b"tow")
    assert not unchanged(tmp_path, found)
    (tmp_path / "y").unlink()
    assert not unchanged(tmp_path, found)


def test_digest_of_a_path(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "in").mkdir(parents=True)
        (folder / "in" / "x").write_bytes(b"same")
    assert digest_path(one, "the source") == digest_path(two, "the source")
    assert digest_path(one / "in" / "x", "the source") == digest_path(two / "in" / "x", "the source")
    (two / "in" / "x").rename(two / "x")
    assert digest_path(one, "the source") != digest_path(two, "the source")
    with pytest.raises(InvalidSettings, match="no file or folder"):
        digest_path(tmp_path / "three", "the source")


def test_digest_of_a_large_folder_goes_by_sizes_and_times(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"12345")
    os.utime(file, ns=(1, 1))
    brief, full = digest_path(tmp_path, "the samples", 4), digest_path(tmp_path, "the samples", 5)
    assert brief != full
    file.write_bytes(b"54321")
    os.utime(file, ns=(1, 1))
    assert digest_path(tmp_path, "the samples", 4) == brief
    assert digest_path(tmp_path, "the samples", 5) != full
    os.utime(file, ns=(2, 2))
    assert digest_path(tmp_path, "the samples", 4) != brief


def test_digest_of_a_module_is_found_without_importing_it(tmp_path: Path) -> None:
    (tmp_path / "single.py").write_text("raise SystemExit('imported')")
    package = tmp_path / "package" / "deep"
    package.mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "net.py").write_text("x = 1")
    search = [str(tmp_path)]
    single, before = digest_module("single", search), digest_module("package.deep.net", search)
    assert single
    assert before
    assert before == digest_module("package", search)
    (package / "net.py").write_text("x = 2")
    assert digest_module("package.deep.net", search) != before
    assert digest_module("nowhere_to_be_found", search) == ""


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.json", b"{}")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(RepositoryFailed, match="cannot be written"):
        write(tmp_path / "missing" / "a.json", b"{}")


def test_modules_are_looked_for_in_the_working_folder_last() -> None:
    assert import_paths()[-1] == str(Path.cwd())
    assert "" not in import_paths()
