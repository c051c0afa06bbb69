"""From a model reference to the servable that answers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from portside.errors import AliasNotFound, ModelNotFound, PortsideError, Unavailable, VersionNotFound
from portside.model.ref import ModelRef
from portside.serving.servable import Servable

_SHOWN = 128
_LISTED = 10
_STARTING = "the server is starting and has not read its repository yet: try again in a moment"
_CLOSING = "the server is shutting down: try another one, or again later"


class Route(msgspec.Struct, frozen=True):
    """Where the requests for one model go.

    Attributes:
        serving: answers requests that name no version; ``None`` while there is none.
        versions: ready versions.
        aliases: ready versions by alias.
        targets: the version every alias points at, ready or not.
        pending: versions that should be ready and are not, each with what it waits for or why it failed.
    """

    serving: Servable | None = None
    versions: Mapping[int, Servable] = {}
    aliases: Mapping[str, Servable] = {}
    targets: Mapping[str, int] = {}
    pending: Mapping[int, str] = {}


class Router:
    """Resolves references from an immutable table that is swapped in one assignment."""

    def __init__(self) -> None:
        self._routes: Mapping[str, Route] = {}
        self._absent: str | None = _STARTING

    @property
    def routes(self) -> Mapping[str, Route]:
        """The present table, by model name."""
        return self._routes

    def swap(self, routes: Mapping[str, Route]) -> None:
        """Replaces the whole table; requests that already hold a servable keep it."""
        self._routes = routes
        self._absent = None

    def close(self) -> None:
        """From now on nothing resolves: the server is going away."""
        self._absent = _CLOSING
        self._routes = {}

    def resolve(self, ref: ModelRef) -> Servable:
        """The version that answers ``ref`` now.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound: nothing of that name is served.
            Unavailable: it should be ready and is not; says what it waits for.
        """
        route = self._routes.get(ref.name)
        if route is None:
            raise self._unknown(ref)
        if ref.version is not None:
            found = route.versions.get(ref.version)
        elif ref.alias is not None:
            found = route.aliases.get(ref.alias)
        else:
            found = route.serving
        if found is None:
            raise missing(ref, route)
        return found

    def _unknown(self, ref: ModelRef) -> PortsideError:
        return unknown_model(ref.name, self._routes) if self._absent is None else Unavailable(self._absent)


def unknown_model(name: str, served: Iterable[str]) -> ModelNotFound:
    """The error for a name that is not among those that are served."""
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "…"
    known = sorted(served)
    names = ", ".join(f"'{n}'" for n in known[:_LISTED]) + (", …" if len(known) > _LISTED else "")
    return ModelNotFound(f"Request for unknown model: '{shown}' is not found; served are: {names or 'none'}")


def missing(ref: ModelRef, route: Route) -> PortsideError:
    """The error for a reference to a known model that no ready version answers."""
    if ref.alias is not None and ref.alias not in route.targets:
        known = ", ".join(f"'{a}'" for a in sorted(route.targets)) or "none"
        return AliasNotFound(f"model '{ref.name}' has no alias {ref.alias[:_SHOWN]!r}: its aliases are: {known}")
    version = ref.version if ref.alias is None else route.targets[ref.alias]
    if version is None:
        reasons = "; ".join(f"version {v}: {why}" for v, why in sorted(route.pending.items()))
        return Unavailable(f"model '{ref.name}' has no version that is ready ({reasons or 'none is published'})")
    if version in route.pending:
        return Unavailable(f"version {version} of model '{ref.name}' is not ready: {route.pending[version]}")
    loaded = ", ".join(str(v) for v in sorted(route.versions)) or "none"
    return VersionNotFound(
        f"version {version} of model '{ref.name}' is not loaded: loaded are: {loaded}; "
        "give an older version an alias to have it loaded as well"
    )
