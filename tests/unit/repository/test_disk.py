from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from portside.errors import Conflict, RepositoryFailed
from portside.repository.disk import Disk, locked, storing


def test_a_written_file_is_read_only_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "f"
    Disk().write(path, b"one")
    assert path.stat().st_mode & 0o222 == 0
    with pytest.raises(FileExistsError):
        Disk().write(path, b"two")
    assert path.read_bytes() == b"one"


def test_a_copy_is_digested_as_it_is_written(tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "a").open("rb") as f:
        assert Disk().copy(f, tmp_path / "b") == (len(data), hashlib.sha256(data).hexdigest())
    assert (tmp_path / "b").read_bytes() == data


def test_removing_what_is_gone_is_fine(tmp_path: Path) -> None:
    Disk().remove(tmp_path / "nothing")
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_text("x", encoding="utf-8")
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "d" / "link").symlink_to(outside)
    Disk().remove(tmp_path / "d")
    assert not (tmp_path / "d").exists()
    assert outside.is_dir()


def test_a_lock_waits_no_longer_than_told(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock", 0.0):
        with pytest.raises(Conflict, match="try again"), locked(tmp_path / ".lock", 0.02):
            pass
        with locked(tmp_path / ".other", 0.0):
            pass
    with locked(tmp_path / ".lock", 0.0):
        pass


def test_a_folder_can_be_locked(tmp_path: Path) -> None:
    with locked(tmp_path, 0.0), pytest.raises(Conflict), locked(tmp_path, 0.0):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), locked(tmp_path / ".lock", 0.0):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "full"),
        (errno.EFBIG, "limit"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.ENOENT, "mounted"),
        (errno.ENOLCK, "locks"),
        (errno.EIO, "check the disk"),
    ],
)
def test_a_failing_disk_gets_a_sentence_without_its_path(number: int, advice: str) -> None:
    with pytest.raises(RepositoryFailed, match=advice) as caught, storing("publish 'iris'"):
        raise OSError(number, os.strerror(number), "/srv/secret/models")
    assert caught.value.message.startswith("cannot publish 'iris': ")
    assert "/srv" not in caught.value.message
    assert "/srv" in (caught.value.detail or "")
