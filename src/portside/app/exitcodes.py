"""The one map from errors to exit codes of the command line."""

from __future__ import annotations

from portside.errors import ErrorCode

OK = 0

EXIT_CODES: dict[ErrorCode, int] = {
    ErrorCode.INTERNAL: 1,
    ErrorCode.INVALID_ARGUMENT: 2,
    ErrorCode.INVALID_SETTINGS: 2,
    ErrorCode.PAYLOAD_TOO_LARGE: 2,
    ErrorCode.UNSUPPORTED_MEDIA: 2,
    ErrorCode.METHOD_NOT_ALLOWED: 2,
    ErrorCode.UNSUPPORTED: 2,
    ErrorCode.NOT_FOUND: 3,
    ErrorCode.VERIFICATION_FAILED: 4,
    ErrorCode.INVALID_SOURCE: 5,
    ErrorCode.CONVERSION_FAILED: 5,
    ErrorCode.OPTIMIZATION_FAILED: 5,
    ErrorCode.MISSING_EXTRA: 6,
    ErrorCode.DATA_LOSS: 7,
    ErrorCode.REPOSITORY_FAILED: 7,
    ErrorCode.CONFLICT: 8,
    ErrorCode.ENGINE_FAILED: 9,
    ErrorCode.OVERLOADED: 10,
    ErrorCode.UNAVAILABLE: 10,
    ErrorCode.DEADLINE_EXCEEDED: 10,
    ErrorCode.CANCELLED: 130,
}
"""0 is success, 1 our own bug; README.md has the table for people."""

HELP = (
    "Exit codes: 0 done; 1 internal error; 2 bad arguments or input; 3 not found; 4 verification did not pass; "
    "5 source not recognised or not convertible; 6 an optional part is not installed; 7 repository broken; "
    "8 conflict; 9 engine failed; 10 overloaded, unavailable or too late."
)
