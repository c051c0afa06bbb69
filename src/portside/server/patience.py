"""How long to wait for a peer: a pure decision, taken for every connection once a tick."""

from __future__ import annotations

from enum import Enum

import msgspec

from portside.server.options import ListenerOptions


class Phase(Enum):
    """What a connection is waiting for from its peer."""

    IDLE = "idle"
    """The first byte of another request."""
    HEAD = "head"
    """The rest of a request's head."""
    BODY = "body"
    """The rest of a request's body."""
    LINGER = "linger"
    """Its end: everything was said, what still comes is thrown away."""


class Look(msgspec.Struct, frozen=True):
    """One look at a connection.

    Attributes:
        phase: what it waits for.
        fresh: whether it has not begun a first request.
        busy: whether one of its requests is being answered.
        unread: whether its peer has stopped reading.
        phase_s: time in this phase.
        still_s: time since the peer last sent or took anything that counts.
        received_bytes: of the body so far.
    """

    phase: Phase
    fresh: bool
    busy: bool
    unread: bool
    phase_s: float
    still_s: float
    received_bytes: int


class Patience(Enum):
    """What to do about a connection."""

    WAIT = "wait"
    CLOSE = "close"
    """It has nothing to lose: idle for long, or said goodbye to."""
    TIME_OUT = "time-out"
    """Answer 408 and close."""
    ABORT = "abort"
    """It does not read its answer: cut it off."""


def judge(look: Look, options: ListenerOptions) -> Patience:
    """Decides about one connection."""
    if look.unread:
        return Patience.ABORT if look.still_s > options.stall_s else Patience.WAIT
    if look.phase is Phase.LINGER:
        return Patience.ABORT if look.phase_s > options.linger_s else Patience.WAIT
    if look.phase is Phase.HEAD:
        return Patience.TIME_OUT if look.phase_s > options.head_s else Patience.WAIT
    if look.phase is Phase.BODY:
        return Patience.TIME_OUT if _is_slow(look, options) else Patience.WAIT
    allowed_s = options.head_s if look.fresh else options.keepalive_s
    return Patience.CLOSE if not look.busy and look.phase_s > allowed_s else Patience.WAIT


def _is_slow(look: Look, options: ListenerOptions) -> bool:
    if look.still_s > options.stall_s:
        return True
    return look.phase_s > options.grace_s and look.received_bytes < options.rate_bytes_s * look.phase_s
