from __future__ import annotations

import msgspec
import pytest

from portside.server.options import ListenerOptions
from portside.server.patience import Look, Patience, Phase, judge

OPTIONS = ListenerOptions(keepalive_s=75, head_s=15, stall_s=30, grace_s=10, rate_bytes_s=100, linger_s=2)
CALM = Look(Phase.IDLE, fresh=False, busy=False, unread=False, phase_s=0.0, still_s=0.0, received_bytes=0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Patience.WAIT),
        ({"phase_s": 75.0}, Patience.WAIT),
        ({"phase_s": 76.0}, Patience.CLOSE),
        ({"phase_s": 999.0, "busy": True}, Patience.WAIT),
        ({"fresh": True, "phase_s": 15.0}, Patience.WAIT),
        ({"fresh": True, "phase_s": 16.0}, Patience.CLOSE),
        ({"phase": Phase.HEAD, "phase_s": 15.0}, Patience.WAIT),
        ({"phase": Phase.HEAD, "phase_s": 16.0}, Patience.TIME_OUT),
        ({"phase": Phase.BODY, "phase_s": 10.0}, Patience.WAIT),
        ({"phase": Phase.BODY, "phase_s": 11.0, "received_bytes": 1099}, Patience.TIME_OUT),
        ({"phase": Phase.BODY, "phase_s": 11.0, "received_bytes": 1100}, Patience.WAIT),
        ({"phase": Phase.BODY, "phase_s": 40.0, "still_s": 31.0, "received_bytes": 10**9}, Patience.TIME_OUT),
        ({"phase": Phase.LINGER, "phase_s": 2.0}, Patience.WAIT),
        ({"phase": Phase.LINGER, "phase_s": 3.0}, Patience.ABORT),
        ({"unread": True, "phase_s": 999.0, "still_s": 30.0}, Patience.WAIT),
        ({"unread": True, "still_s": 31.0}, Patience.ABORT),
        ({"unread": True, "phase": Phase.BODY, "phase_s": 99.0}, Patience.WAIT),
    ],
)
def test_judge(changes: dict[str, object], expected: Patience) -> None:
    assert judge(msgspec.structs.replace(CALM, **changes), OPTIONS) is expected
