"""Which versions may go: decided from one look at a model."""

from __future__ import annotations

from collections.abc import Sequence

from portside.repository.base import ModelState


def holds_on(state: ModelState, version: int) -> Sequence[str]:
    """What keeps a version from being deleted, in words; empty if nothing does."""
    reasons = [f"the alias {alias!r} points at it" for alias, to in sorted(state.aliases.items()) if to == version]
    if state.pin is not None and state.pin.version == version:
        reasons.append("it is pinned")
    elif state.current == version:
        reasons.append("it is the current version")
    return reasons


def expendable(state: ModelState, keep: int) -> Sequence[int]:
    """The versions that are neither among the newest ``keep`` (at least 1) nor held by anything."""
    return [version for version in state.versions[:-keep] if not holds_on(state, version)]
