"""Everything that can go wrong, with a stable code.

The tree::

    PortsideError
    ├── InvalidRequest            INVALID_ARGUMENT    the caller's input cannot be used
    │   ├── InvalidTensor                             wrong name, dtype, shape or value of a tensor
    │   └── InvalidImage                              bytes that are not a usable picture
    ├── PayloadTooLarge           PAYLOAD_TOO_LARGE   over a stated limit
    ├── UnsupportedMedia          UNSUPPORTED_MEDIA   a content type nobody here reads
    ├── MethodNotAllowed          METHOD_NOT_ALLOWED  right address, wrong verb
    ├── NotFound                  NOT_FOUND
    │   ├── ModelNotFound
    │   ├── VersionNotFound
    │   ├── AliasNotFound
    │   └── RouteNotFound
    ├── Conflict                  CONFLICT            the state does not allow it (exists, in use, held)
    ├── Overloaded                OVERLOADED          a bounded queue is full; try later
    ├── DeadlineExceeded          DEADLINE_EXCEEDED
    ├── Cancelled                 CANCELLED           the caller went away
    ├── Unavailable               UNAVAILABLE         known, but not ready or shutting down
    ├── Unsupported               UNSUPPORTED         valid, but not something this build can do
    ├── SourceNotRecognised       INVALID_SOURCE      a file or name no converter reads
    ├── ConversionFailed          CONVERSION_FAILED
    ├── OptimizationFailed        OPTIMIZATION_FAILED a pass broke its promise
    ├── VerificationFailed        VERIFICATION_FAILED evidence says fail, or decides nothing
    ├── MissingExtra              MISSING_EXTRA       an optional dependency is not installed
    ├── InvalidSettings           INVALID_SETTINGS    flags, files or environment
    ├── CorruptArtifact           DATA_LOSS           bytes on disk do not match their digest
    ├── RepositoryFailed          REPOSITORY_FAILED   the store cannot be read or written
    └── EngineFailed              ENGINE_FAILED       the runtime refused or broke

A message says what was given, what was expected and what to do. It may be shown to a remote client, so it never holds
a path of the server or a traceback; details for operators go into ``detail``, which is logged and never sent.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class ErrorCode(Enum):
    """Stable identifiers; every edge (HTTP, exit status) maps each of them exactly once."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA = "UNSUPPORTED_MEDIA"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    OVERLOADED = "OVERLOADED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    UNAVAILABLE = "UNAVAILABLE"
    UNSUPPORTED = "UNSUPPORTED"
    INVALID_SOURCE = "INVALID_SOURCE"
    CONVERSION_FAILED = "CONVERSION_FAILED"
    OPTIMIZATION_FAILED = "OPTIMIZATION_FAILED"
    VERIFICATION_FAILED = "VERIFICATION_FAILED"
    MISSING_EXTRA = "MISSING_EXTRA"
    INVALID_SETTINGS = "INVALID_SETTINGS"
    DATA_LOSS = "DATA_LOSS"
    REPOSITORY_FAILED = "REPOSITORY_FAILED"
    ENGINE_FAILED = "ENGINE_FAILED"
    INTERNAL = "INTERNAL"


class PortsideError(Exception):
    """Root of the tree.

    Args:
        message: one or two sentences, fit for a remote client.
        detail: for the operator's log only (paths, foreign messages); never sent to a client.
    """

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class InvalidRequest(PortsideError):
    """The caller's input cannot be used as it is."""

    code = ErrorCode.INVALID_ARGUMENT


class InvalidTensor(InvalidRequest):
    """A tensor has the wrong name, dtype, shape or content."""


class InvalidImage(InvalidRequest):
    """Bytes that are not a usable picture: truncated, unknown format, too many pixels."""


class PayloadTooLarge(PortsideError):
    """More bytes, pixels, rows or elements than a stated limit."""

    code = ErrorCode.PAYLOAD_TOO_LARGE


class UnsupportedMedia(PortsideError):
    """A content type or encoding that the endpoint does not read."""

    code = ErrorCode.UNSUPPORTED_MEDIA


class MethodNotAllowed(PortsideError):
    """The address exists, the verb does not.

    Args:
        message: see :class:`PortsideError`.
        allowed: the verbs that the address takes, where they are known.
        detail: see :class:`PortsideError`.
    """

    code = ErrorCode.METHOD_NOT_ALLOWED

    def __init__(self, message: str, *, allowed: tuple[str, ...] = (), detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.allowed = allowed


class NotFound(PortsideError):
    """Something that was named does not exist."""

    code = ErrorCode.NOT_FOUND


class ModelNotFound(NotFound):
    """No model of that name."""


class VersionNotFound(NotFound):
    """The model exists, the version does not (or is not loaded)."""


class AliasNotFound(NotFound):
    """The model exists, the alias does not."""


class RouteNotFound(NotFound):
    """No such address."""


class Conflict(PortsideError):
    """The present state does not allow it: already exists, still in use, held."""

    code = ErrorCode.CONFLICT


class Overloaded(PortsideError):
    """A bounded queue is full; the request was not started."""

    code = ErrorCode.OVERLOADED


class DeadlineExceeded(PortsideError):
    """The caller's deadline passed before an answer was there."""

    code = ErrorCode.DEADLINE_EXCEEDED


class Cancelled(PortsideError):
    """The caller went away."""

    code = ErrorCode.CANCELLED


class Unavailable(PortsideError):
    """Known, but not ready yet, or shutting down."""

    code = ErrorCode.UNAVAILABLE


class Unsupported(PortsideError):
    """A valid wish that this build cannot fulfil."""

    code = ErrorCode.UNSUPPORTED


class SourceNotRecognised(PortsideError):
    """No converter reads this source. Says what was seen and what is supported."""

    code = ErrorCode.INVALID_SOURCE


class ConversionFailed(PortsideError):
    """A recognised source could not be turned into a portable graph."""

    code = ErrorCode.CONVERSION_FAILED


class OptimizationFailed(PortsideError):
    """A pass could not be applied or did not keep what it ensures."""

    code = ErrorCode.OPTIMIZATION_FAILED


class VerificationFailed(PortsideError):
    """The evidence says fail, or it decides nothing, and no force was given."""

    code = ErrorCode.VERIFICATION_FAILED


class MissingExtra(PortsideError):
    """An optional dependency is not installed; the message holds the install line."""

    code = ErrorCode.MISSING_EXTRA

    def __init__(self, purpose: str, extra: str, *, detail: str | None = None) -> None:
        super().__init__(f"{purpose} needs an optional part: pip install 'portside[{extra}]'", detail=detail)
        self.extra = extra


class InvalidSettings(PortsideError):
    """A flag, a settings file or an environment variable cannot be used."""

    code = ErrorCode.INVALID_SETTINGS


class CorruptArtifact(PortsideError):
    """Bytes in the repository do not match the digest in their manifest."""

    code = ErrorCode.DATA_LOSS


class RepositoryFailed(PortsideError):
    """The repository cannot be read or written (disk full, no permission, gone)."""

    code = ErrorCode.REPOSITORY_FAILED


class EngineFailed(PortsideError):
    """The engine could not load the artifact or run it."""

    code = ErrorCode.ENGINE_FAILED
