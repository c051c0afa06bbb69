"""Reading the names of a network's classes from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from portside.errors import InvalidSettings

_MAX_BYTES = 16 << 20

_Entry = str | list[str]


def read_labels(path: Path) -> tuple[str, ...]:
    """Reads a file as :func:`parse_labels` does. Raises InvalidSettings, also if the file cannot be read."""
    try:
        with path.open("rb") as f:
            data = f.read(_MAX_BYTES + 1)
    except OSError as e:
        raise InvalidSettings(
            f"the labels file {path.name!r} cannot be read ({e.strerror}): give a text or JSON file", detail=str(path)
        ) from e
    if len(data) > _MAX_BYTES:
        raise InvalidSettings(f"the labels file {path.name!r} is longer than {_MAX_BYTES} bytes: is it the right file?")
    return parse_labels(data)


def parse_labels(data: bytes) -> tuple[str, ...]:
    """The labels in class order.

    Args:
        data: UTF-8: one label a line (empty lines at the end do not count), or a JSON list of labels, or a JSON object
            from class number to label. Where JSON holds a list in place of a label, its last element is the label.

    Raises:
        InvalidSettings: neither of these, or no label, or a class number is missing.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise InvalidSettings(f"the labels are not UTF-8 text (byte {e.start}): save the file as UTF-8") from e
    if text.lstrip()[:1] in {"[", "{"}:
        labels = _from_json(text)
    else:
        labels = [line.strip() for line in text.rstrip().splitlines()]
    if not labels:
        raise InvalidSettings("the labels file holds no label: expected one a line, or a JSON list")
    return tuple(labels)


def _from_json(text: str) -> Sequence[str]:
    try:
        read = msgspec.json.decode(text, type=list[_Entry] | dict[int, _Entry])
    except msgspec.MsgspecError as e:
        raise InvalidSettings(
            f"the labels cannot be read: {e}; expected a JSON list of labels or an object from class number to label"
        ) from e
    if isinstance(read, dict):
        if sorted(read) != list(range(len(read))):
            raise InvalidSettings(f"the {len(read)} labels are not numbered 0 to {len(read) - 1}: number every class")
        read = [read[i] for i in range(len(read))]
    return [entry if isinstance(entry, str) else "".join(entry[-1:]) for entry in read]
