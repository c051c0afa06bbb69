from __future__ import annotations

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portside.errors import InvalidRequest, PayloadTooLarge, PortsideError
from portside.protocol import media
from portside.protocol.media import MediaType, Part


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", MediaType()),
        (b"image/jpeg", MediaType("image/jpeg")),
        (b" Application/JSON ; charset=utf-8", MediaType("application/json")),
        (b"multipart/form-data; boundary=abc", MediaType("multipart/form-data", "abc")),
        (b'multipart/form-data; x=y; boundary="a b;\\"c"', MediaType("multipart/form-data", 'a b;"c')),
        (b"image/png;", MediaType("image/png")),
    ],
)
def test_content_types(value: bytes, expected: MediaType) -> None:
    assert media.read_type(value) == expected


@pytest.mark.parametrize("value", [b"x", b"/", b"a/b c", b"a/b; c", b'a/b; c="d', b"\xff/\xff"])
def test_malformed_content_types(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="malformed"):
        media.read_type(value)


def part(data: bytes, disposition: bytes = b'form-data; name="f"; filename="a.jpg"', more: bytes = b"") -> bytes:
    return b"Content-Disposition: " + disposition + b"\r\n" + more + b"\r\n" + data + b"\r\n"


def form(*parts: bytes, end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\n" + p for p in parts) + end


def test_parts_of_a_form() -> None:
    body = form(
        part(b"\xff\xd8\r\n--notB\r\n"),
        part(b"5", b"form-data; name=top_k"),
        part(b"x", b'FORM-DATA; name="g"', b"content-TYPE: image/png\r\n"),
        part(b"", b"form-data; name=\"e\"; filename*=utf-8''a"),
    )
    assert media.read_form(b"preamble\r\n" + body + b"epilogue", "B", 9) == [
        Part("f", True, b"\xff\xd8\r\n--notB\r\n"),
        Part("top_k", False, b"5"),
        Part("g", True, b"x"),
        Part("e", True, b""),
    ]
    assert media.read_form(b"--B--", "B", 9) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "does not hold the boundary"),
        (b"x--B\r\n", "does not hold the boundary"),
        (form(part(b"x"), end=b""), "no final boundary"),
        (form(part(b"x"), end=b"--B"), "cut off"),
        (form(part(b"x"), end=b"--Bx--"), "malformed"),
        (b"--B", "malformed, or the form was cut off"),
        (b"--B\r\n", "cut off"),
        (form(b"\r\nx\r\n"), "Content-Disposition"),
        (form(b"no end of headers\r\n"), "no end of its headers"),
        (form(b"nonsense\r\n\r\nx\r\n"), "malformed header line"),
        (form(part(b"x", b"attachment; name=f")), "Content-Disposition"),
        (form(part(b"x", b"form-data")), "Content-Disposition"),
        (form(part(b"x", b'form-data; name="f')), "Content-Disposition"),
        (form(part(b"x", more=b"Content-Transfer-Encoding: base64\r\n")), "Content-Transfer-Encoding"),
        (form(part(b"x", more=b"X: " + b"y" * 9000 + b"\r\n")), "no end of its headers"),
    ],
)
def test_malformed_forms(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        media.read_form(body, "B", 9)


@pytest.mark.parametrize("boundary", [None, "", "a" * 71, "a\r\n", "ends with blank ", "§"])
def test_unusable_boundaries(boundary: str | None) -> None:
    with pytest.raises(InvalidRequest, match="boundary"):
        media.read_form(form(part(b"x")), boundary, 9)


def test_too_many_parts() -> None:
    with pytest.raises(PayloadTooLarge, match="more than 2 parts"):
        media.read_form(form(*[part(b"x")] * 3), "B", 2)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_forms_of_another_writer_are_read(files: list[bytes]) -> None:
    request = httpx.Request("POST", "http://x", files=[("f", (f'n"{i}.jpg', data)) for i, data in enumerate(files)])
    kind = media.read_type(request.headers["content-type"].encode())
    assert [p.data for p in media.read_form(request.read(), kind.boundary, 9)] == files


@given(st.binary(max_size=80), st.lists(st.sampled_from([b"--B", b"\r\n", b"--", b"\r\n--B", part(b"x"), b'name="'])))
@settings(max_examples=2000, deadline=None)
def test_any_body_is_a_form_or_our_error(noise: bytes, pieces: list[bytes]) -> None:
    for body in (b"".join(pieces), b"".join(pieces[:2]) + noise + b"".join(pieces[2:])):
        try:
            media.read_form(body, "B", 9)
        except PortsideError:
            continue


@given(st.binary(max_size=80).filter(lambda b: b"\n" not in b and b"\r" not in b))
@settings(max_examples=500, deadline=None)
def test_any_content_type_is_read_or_our_error(value: bytes) -> None:
    try:
        kind = media.read_type(value)
    except InvalidRequest:
        return
    assert kind.name == kind.name.lower()
    assert kind.name.count("/") == bool(kind.name)
