"""What each error code is on the wire: the one place where our codes become status numbers."""

from __future__ import annotations

from types import MappingProxyType

from portside.errors import ErrorCode, MethodNotAllowed, PortsideError

_HTTP = MappingProxyType(
    {
        ErrorCode.INVALID_ARGUMENT: 400,
        ErrorCode.PAYLOAD_TOO_LARGE: 413,
        ErrorCode.UNSUPPORTED_MEDIA: 415,
        ErrorCode.METHOD_NOT_ALLOWED: 405,
        ErrorCode.NOT_FOUND: 404,
        ErrorCode.CONFLICT: 409,
        ErrorCode.OVERLOADED: 429,
        ErrorCode.DEADLINE_EXCEEDED: 504,
        ErrorCode.CANCELLED: 499,
        ErrorCode.UNAVAILABLE: 503,
        ErrorCode.UNSUPPORTED: 501,
        ErrorCode.INVALID_SOURCE: 400,
        ErrorCode.CONVERSION_FAILED: 500,
        ErrorCode.OPTIMIZATION_FAILED: 500,
        ErrorCode.VERIFICATION_FAILED: 500,
        ErrorCode.MISSING_EXTRA: 501,
        ErrorCode.INVALID_SETTINGS: 500,
        ErrorCode.DATA_LOSS: 500,
        ErrorCode.REPOSITORY_FAILED: 500,
        ErrorCode.ENGINE_FAILED: 500,
        ErrorCode.INTERNAL: 500,
    }
)

_TFS = MappingProxyType(
    {
        ErrorCode.INVALID_ARGUMENT: "INVALID_ARGUMENT",
        ErrorCode.PAYLOAD_TOO_LARGE: "RESOURCE_EXHAUSTED",
        ErrorCode.UNSUPPORTED_MEDIA: "INVALID_ARGUMENT",
        ErrorCode.METHOD_NOT_ALLOWED: "INVALID_ARGUMENT",
        ErrorCode.NOT_FOUND: "NOT_FOUND",
        ErrorCode.CONFLICT: "ABORTED",
        ErrorCode.OVERLOADED: "RESOURCE_EXHAUSTED",
        ErrorCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
        ErrorCode.CANCELLED: "CANCELLED",
        ErrorCode.UNAVAILABLE: "UNAVAILABLE",
        ErrorCode.UNSUPPORTED: "UNIMPLEMENTED",
        ErrorCode.INVALID_SOURCE: "INVALID_ARGUMENT",
        ErrorCode.CONVERSION_FAILED: "INTERNAL",
        ErrorCode.OPTIMIZATION_FAILED: "INTERNAL",
        ErrorCode.VERIFICATION_FAILED: "FAILED_PRECONDITION",
        ErrorCode.MISSING_EXTRA: "UNIMPLEMENTED",
        ErrorCode.INVALID_SETTINGS: "INVALID_ARGUMENT",
        ErrorCode.DATA_LOSS: "DATA_LOSS",
        ErrorCode.REPOSITORY_FAILED: "INTERNAL",
        ErrorCode.ENGINE_FAILED: "INTERNAL",
        ErrorCode.INTERNAL: "INTERNAL",
    }
)

_RETRY = ((b"retry-after", b"1"),)


def http_status(code: ErrorCode) -> int:
    """The HTTP status of an error code. Total: every code has one."""
    return _HTTP[code]


def tfs_code(code: ErrorCode) -> str:
    """The canonical name that TensorFlow Serving's status answers use for an error code. Total."""
    return _TFS[code]


def retry_headers(code: ErrorCode) -> tuple[tuple[bytes, bytes], ...]:
    """``Retry-After`` for the states that pass by themselves, nothing for the others."""
    return _RETRY if code in {ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE} else ()


def error_headers(error: PortsideError) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that an error's answer has in every protocol: ``Retry-After``, and ``Allow`` for a wrong verb."""
    if isinstance(error, MethodNotAllowed) and error.allowed:
        return ((b"allow", ", ".join(error.allowed).encode("ascii")),)
    return retry_headers(error.code)
