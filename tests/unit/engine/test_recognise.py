from __future__ import annotations

from pathlib import Path

import pytest

from portside.engine.recognise import cannot_load, check_kind, format_of, recognised
from portside.errors import EngineFailed
from portside.model.artifact import Format


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n....", "HDF5"),
        (b"PK\x03\x04....", "ZIP"),
        (b"\x80\x02}q", "pickle"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"<?xml version='1.0'?><net/>", "IR"),
        (b"<html>", "markup"),
        (b'{"a": 1}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
        (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        (b"hello", "no known kind"),
        (b"\x08\x0a\x12\x03", "an ONNX graph"),
    ],
)
def test_content_is_recognised(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert words in recognised(path)
    if "ONNX" not in words:
        with pytest.raises(EngineFailed, match=words) as caught:
            check_kind("The engine", path)
        assert str(tmp_path) not in caught.value.message
        assert caught.value.detail is not None


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    assert "No such file" in recognised(tmp_path / "gone.onnx")


def test_the_name_tells_the_format() -> None:
    assert format_of(Path("a/model.xml")) is Format.OPENVINO
    assert format_of(Path("a/model.onnx")) is Format.ONNX


def test_the_foreign_words_go_into_the_detail(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a\x3a\x50cut off")
    error = cannot_load("Engine 1.0", path, RuntimeError("line 3 of /secret/parser.cc"))
    assert "secret" not in error.message
    assert "damaged" in error.message
    assert "an ONNX graph" in error.message
    assert error.detail is not None
    assert "line 3" in error.detail
