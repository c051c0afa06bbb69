"""What the listener and the server around it may be told."""

from __future__ import annotations

import msgspec


class ListenerOptions(msgspec.Struct, frozen=True):
    """Bounds on connections. Every wait on a peer has one; they are looked at once a ``tick_s``.

    Attributes:
        body_bytes: longest request body, before and after Content-Encoding.
        target_bytes: longest request target.
        header_bytes: longest request head.
        header_count: most header fields.
        connections: most connections at a time; one more is answered 503 and closed.
        pipeline: requests of one connection that wait for their turn before its socket is left alone.
        keepalive_s: how long a connection may lie idle between two requests.
        head_s: how long a request head may take, and a new connection to begin one.
        stall_s: how long a body may stand still, and a client leave an answer unread.
        grace_s: how long a body may be slower than ``rate_bytes_s``.
        rate_bytes_s: the slowest mean rate of a body, bytes a second.
        linger_s: how long a refused client may go on sending before the connection is cut.
        tick_s: how often all this is looked at.
    """

    body_bytes: int = 64 * 1024 * 1024
    target_bytes: int = 8 * 1024
    header_bytes: int = 32 * 1024
    header_count: int = 100
    connections: int = 4096
    pipeline: int = 16
    keepalive_s: float = 75.0
    head_s: float = 15.0
    stall_s: float = 30.0
    grace_s: float = 15.0
    rate_bytes_s: float = 1024.0
    linger_s: float = 2.0
    tick_s: float = 1.0


class ServerOptions(msgspec.Struct, frozen=True):
    """Where to listen and how to stop.

    Attributes:
        host: name or address; ``0.0.0.0`` or ``::`` for every interface.
        port: 0 for any free one.
        drain_s: how long requests in flight may take after a stop was asked for.
        lame_duck_s: how long to go on accepting after readiness went off, for balancers to notice.
        close_s: how long the models may take to be put away.
        backlog: connections that the kernel keeps for us.
        listener: bounds on connections.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    drain_s: float = 30.0
    lame_duck_s: float = 0.0
    close_s: float = 30.0
    backlog: int = 2048
    listener: ListenerOptions = ListenerOptions()
