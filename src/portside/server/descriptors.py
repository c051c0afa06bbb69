"""How many connections fit into the file descriptors that this process may have.

A process that runs out of them can neither accept connections, not even to refuse them, nor read its repository.
"""

from __future__ import annotations

import logging
import resource

RESERVED = 128
"""Descriptors for everything that is not a connection: files of models being loaded, the repository, the log."""

_log = logging.getLogger("portside.server")


def raise_allowance(connections: int) -> None:
    """Asks for as many descriptors as ``connections`` need; gets what the system allows without privileges."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed(connections)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def affordable(connections: int) -> int:
    """The number of connections that may be held: ``connections``, or fewer where descriptors are short (logged)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    most = fitting(connections, soft)
    if most < connections:
        _log.warning(
            "only %d connections instead of %d: this process may open %d files; raise that limit (ulimit -n %d)",
            most, connections, soft, needed(connections),
        )  # fmt: skip
    return most


def needed(connections: int) -> int:
    """Descriptors for so many connections, and for the quarter more that are answered 503."""
    return connections + -(-connections // 4) + 1 + RESERVED


def fitting(connections: int, descriptors: int) -> int:
    """How many of ``connections`` fit into ``descriptors``; at least one."""
    return max(1, min(connections, (descriptors - RESERVED - 1) * 4 // 5))
