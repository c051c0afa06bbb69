from __future__ import annotations

from pathlib import Path

import pytest

from portside.errors import InvalidSettings
from portside.processing.labels import parse_labels, read_labels


@pytest.mark.parametrize(
    "data",
    [
        b"tench\ngreat white shark\ncat",
        b"tench\r\ngreat white shark\r\ncat\r\n\r\n",
        "\ufefftench\n great white shark \ncat\n".encode(),
        b'["tench", "great white shark", "cat"]',
        b'{"0": "tench", "2": "cat", "1": "great white shark"}',
        b'{"0": ["n01440764", "tench"], "1": ["n01484850", "great white shark"], "2": ["n0", "cat"]}',
    ],
)
def test_the_usual_forms_are_read(data: bytes) -> None:
    assert parse_labels(data) == ("tench", "great white shark", "cat")


def test_an_empty_line_keeps_its_number() -> None:
    assert parse_labels(b"a\n\nc\n") == ("a", "", "c")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no label"),
        (b" \n \n", "no label"),
        (b"[]", "no label"),
        (b"[1, 2]", "JSON list"),
        (b'["a"', "JSON list"),
        (b'{"a": "b"}', "JSON list"),
        (b'{"1": "b"}', "numbered 0 to 0"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"[" * 100_000, "JSON list"),
    ],
)
def test_anything_else_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidSettings, match=reason):
        parse_labels(data)


def test_a_file_is_read_and_its_absence_is_told(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n", encoding="utf-8")
    assert read_labels(tmp_path / "labels.txt") == ("a", "b")
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(InvalidSettings, match="cannot be read") as caught:
            read_labels(path)
        assert str(tmp_path.parent) not in caught.value.message
