"""What frameworks say is kept away from the terminal, and is there when something fails."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import pytest

from portside.convert.digest import path_digest, source_digest
from portside.convert.quiet import quiet
from portside.errors import SourceNotRecognised
from portside.model.source import Source


def test_streams_descriptors_and_warnings_are_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with quiet(tmp_path) as said:
        sys.stdout.write("from python\n")
        sys.stderr.write("an error line\n")
        os.write(1, b"from native code\n")
        os.write(2, b"native complaint\n")
        warnings.warn("would be an error in this suite", stacklevel=1)
        kept = said.tail()
        assert len(list(tmp_path.iterdir())) == 1
    for text in ("from python", "an error line", "from native code", "native complaint"):
        assert text in kept
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    sys.stdout.write("back again")
    os.write(2, b"and here")
    assert capfd.readouterr() == ("back again", "and here")


def test_failures_pass_through_and_leave_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError, match="ours"), quiet(tmp_path):
        raise KeyError("ours")
    assert not list(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)
    assert capfd.readouterr() == ("", "")


def test_folder_digest_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_text("1")
    first = path_digest(tmp_path / "a")
    assert source_digest(Source(str(tmp_path / "a"))) == first
    (tmp_path / "a" / "one").rename(tmp_path / "a" / "two")
    second = path_digest(tmp_path / "a")
    (tmp_path / "a" / "two").write_text("2")
    assert len({first, second, path_digest(tmp_path / "a")}) == 3


def test_missing_source_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(SourceNotRecognised, match="cannot be read"):
        source_digest(Source(str(tmp_path / "nope")))
    with pytest.raises(SourceNotRecognised, match="cannot be read"):
        source_digest(Source("a:b", str(tmp_path / "nope")))
