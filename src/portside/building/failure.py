"""An error on its way from a child process to its parent: data, never pickle."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import msgspec

from portside.errors import MissingExtra, PortsideError


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong in a step.

    Attributes:
        kind: class name in ``portside.errors``.
        message: fit for the user.
        detail: for the operator.
        extra: the optional part that is missing, for ``MissingExtra``.
    """

    kind: str
    message: str
    detail: str | None = None
    extra: str = ""


def describe(error: Exception, step: str, fallback: type[PortsideError]) -> Failure:
    """An exception as data; a foreign one becomes a ``fallback`` that names the step."""
    if isinstance(error, PortsideError):
        extra = error.extra if isinstance(error, MissingExtra) else ""
        known = next(kind for kind in type(error).__mro__ if kind.__module__ == PortsideError.__module__)
        return Failure(known.__name__, error.message, error.detail, extra)
    trace = "".join(traceback.format_exception(error))
    return Failure(fallback.__name__, f"the step '{step}' stopped with {type(error).__name__}; {LOOK}", trace[-8000:])


LOOK = "its log and a script that runs it again are in the build's workspace"


def revive(failure: Failure) -> PortsideError:
    """The same error again, of the same class; a class this Portside does not have becomes the root."""
    kind = next((each for each in _tree(PortsideError) if each.__name__ == failure.kind), PortsideError)
    error: PortsideError = kind.__new__(kind)
    # MissingExtra composes its message from other arguments than these
    PortsideError.__init__(error, failure.message, detail=failure.detail)
    if isinstance(error, MissingExtra):
        error.extra = failure.extra
    return error


def _tree(kind: type[PortsideError]) -> Iterator[type[PortsideError]]:
    """A class of ``portside.errors`` and all below it there."""
    if kind.__module__ == PortsideError.__module__:
        yield kind
        for below in kind.__subclasses__():
            yield from _tree(below)
