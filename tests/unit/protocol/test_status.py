from __future__ import annotations

import inspect

import pytest

from portside import errors
from portside.errors import ErrorCode, MethodNotAllowed, Overloaded, PortsideError
from portside.protocol.status import error_headers, http_status, retry_headers, tfs_code

CANONICAL = {
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
}  # fmt: skip


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_status_and_a_name(code: ErrorCode) -> None:
    assert 400 <= http_status(code) <= 599
    assert tfs_code(code) in CANONICAL


def test_every_error_class_has_a_status() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, PortsideError)]
    assert len(classes) > 20
    assert all(http_status(c.code) for c in classes)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.INVALID_ARGUMENT, 400),
        (ErrorCode.NOT_FOUND, 404),
        (ErrorCode.METHOD_NOT_ALLOWED, 405),
        (ErrorCode.PAYLOAD_TOO_LARGE, 413),
        (ErrorCode.UNSUPPORTED_MEDIA, 415),
        (ErrorCode.OVERLOADED, 429),
        (ErrorCode.CANCELLED, 499),
        (ErrorCode.INTERNAL, 500),
        (ErrorCode.UNSUPPORTED, 501),
        (ErrorCode.UNAVAILABLE, 503),
        (ErrorCode.DEADLINE_EXCEEDED, 504),
    ],
)
def test_statuses_that_clients_act_upon(code: ErrorCode, status: int) -> None:
    assert http_status(code) == status


def test_only_what_passes_by_itself_says_when_to_come_back() -> None:
    assert {c for c in ErrorCode if retry_headers(c)} == {ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE}
    assert retry_headers(ErrorCode.OVERLOADED) == ((b"retry-after", b"1"),)


def test_a_wrong_verb_says_which_are_right() -> None:
    assert error_headers(MethodNotAllowed("no", allowed=("GET", "HEAD"))) == ((b"allow", b"GET, HEAD"),)
    assert error_headers(MethodNotAllowed("no")) == ()
    assert error_headers(Overloaded("full")) == ((b"retry-after", b"1"),)
