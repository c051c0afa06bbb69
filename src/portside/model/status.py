"""What a server says about the models it has: states of versions, and the description of a servable."""

from __future__ import annotations

from enum import Enum

import msgspec

from portside.model.manifest import Manifest


class State(Enum):
    """Life of a servable; it only moves forward."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    UNLOADED = "unloaded"
    FAILED = "failed"


class VersionStatus(msgspec.Struct, frozen=True):
    """State of one version inside a server.

    Attributes:
        name: the model.
        version: the version.
        state: where it is in its life.
        reason: why it failed; empty otherwise.
        aliases: aliases that point at it.
        current: whether unversioned requests go to it.
        manifest: its record, if it could be read.
    """

    name: str
    version: int
    state: State
    reason: str = ""
    aliases: tuple[str, ...] = ()
    current: bool = False
    manifest: Manifest | None = None
