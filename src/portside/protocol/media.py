"""Content types and multipart forms."""

from __future__ import annotations

import re

import msgspec

from portside.errors import InvalidRequest, PayloadTooLarge

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf';\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*')
_TYPE = re.compile(rf"\s*({_WORD}/{_WORD})\s*")
_DISPOSITION = re.compile(r"\s*form-data\s*", re.IGNORECASE)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]\Z")
_PART_HEADER_BYTES = 8192


class MediaType(msgspec.Struct, frozen=True):
    """A content type.

    Attributes:
        name: ``type/subtype``, lower case; empty for none.
        boundary: the multipart boundary, if there is one.
    """

    name: str = ""
    boundary: str | None = None


class Part(msgspec.Struct, frozen=True):
    """One part of a form.

    Attributes:
        name: of the field.
        is_file: whether it has a file name or the type of a picture.
        data: its content.
    """

    name: str
    is_file: bool
    data: bytes


def read_type(value: bytes) -> MediaType:
    """Reads the value of Content-Type. Raises InvalidRequest if it is malformed."""
    text = value.decode("latin-1")
    if not text.strip():
        return MediaType()
    found = _TYPE.match(text)
    parameters = None if found is None else _parameters(text, found.end())
    if found is None or parameters is None:
        raise InvalidRequest(f"the Content-Type {text[:100]!r} is malformed; expected for example image/jpeg")
    return MediaType(found.group(1).lower(), parameters.get("boundary"))


def read_form(body: bytes, boundary: str | None, max_parts: int) -> list[Part]:
    """Reads a complete multipart/form-data body.

    Args:
        body: the whole body.
        boundary: from the content type.
        max_parts: refuse more parts than this.

    Raises:
        InvalidRequest: no boundary, no final boundary (cut off), or a malformed part.
        PayloadTooLarge: too many parts.
    """
    if boundary is None or _BOUNDARY.match(boundary) is None:
        raise InvalidRequest("the Content-Type multipart/form-data needs a boundary of 1 to 70 characters")
    mark = b"\r\n--" + boundary.encode("latin-1")
    first = -2 if body.startswith(mark[2:]) else body.find(mark)
    if first == -1:
        raise InvalidRequest("the form does not hold the boundary that its Content-Type names")
    at = first + len(mark)
    parts: list[Part] = []
    while not body.startswith(b"--", at):
        if len(parts) == max_parts:
            raise PayloadTooLarge(f"a form of more than {max_parts} parts; send fewer at a time")
        start = _line_end(body, at)
        end = body.find(mark, start - 2)
        if end < 0:
            raise InvalidRequest("the form has no final boundary: it was cut off; send it again")
        parts.append(_part(body, start, end, len(parts)))
        at = end + len(mark)
    return parts


def _line_end(body: bytes, at: int) -> int:
    """Behind the line break that ends a boundary line (which may have trailing blanks)."""
    end = body.find(b"\r\n", at)
    if end < 0 or body[at : min(end, at + 80)].strip(b" \t"):
        raise InvalidRequest("a boundary line of the form is malformed, or the form was cut off")
    return end + 2


def _part(body: bytes, start: int, end: int, index: int) -> Part:
    # A part without headers begins with the empty line that ends them.
    head_end = (
        start - 2
        if body.startswith(b"\r\n", start)
        else body.find(b"\r\n\r\n", start, min(end, start + _PART_HEADER_BYTES))
    )
    if head_end < 0:
        raise InvalidRequest(f"part {index} of the form has no end of its headers (an empty line) where expected")
    headers = _headers(body[start : max(head_end, start)], index)
    disposition = headers.get("content-disposition", "")
    form_data = _DISPOSITION.match(disposition)
    fields = None if form_data is None else _parameters(disposition, form_data.end())
    if fields is None or "name" not in fields:
        raise InvalidRequest(f'part {index} of the form needs the header Content-Disposition: form-data; name="..."')
    if headers.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
        raise InvalidRequest(f"part {index} of the form has a Content-Transfer-Encoding; send plain bytes")
    is_file = (
        "filename" in fields or "filename*" in fields or headers.get("content-type", "").lower().startswith("image/")
    )
    return Part(fields["name"], is_file, body[head_end + 4 : end])


def _headers(block: bytes, index: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if line and not colon:
            raise InvalidRequest(f"part {index} of the form has a malformed header line")
        headers[name.strip().lower()] = value.strip()
    return headers


def _parameters(text: str, at: int) -> dict[str, str] | None:
    """The ``; name=value`` list from ``at`` to the end; ``None`` if it is malformed."""
    parameters: dict[str, str] = {}
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None:
            return None if text[at:].strip("; \t") else parameters
        name, quoted, plain = found.groups()
        parameters[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = found.end()
    return parameters
