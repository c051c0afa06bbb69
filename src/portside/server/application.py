"""The whole HTTP application, free of sockets: one request in, one reply out."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from time import perf_counter

import msgspec

from portside.errors import ErrorCode, PortsideError, RouteNotFound, Unavailable
from portside.observe.ports import Meter
from portside.protocol.base import HttpReply, HttpRequest, Limits
from portside.server.content import decoded
from portside.server.fronts import Endpoint, Front, Shared
from portside.server.oip import OipFront
from portside.server.pages import PageFront, shown
from portside.server.predict import PredictFront
from portside.server.tfs import TfsFront
from portside.serving.dataplane import DataPlane
from portside.serving.manager import Manager

_MOST_CACHED = 1024
_log = logging.getLogger("portside.server")
_access = logging.getLogger("portside.access")


class About(msgspec.Struct, frozen=True):
    """How the server presents itself.

    Attributes:
        name: as protocols report it.
        version: of Portside.
        access_log: whether every request is logged (to ``portside.access``).
    """

    name: str = "portside"
    version: str = "0"
    access_log: bool = False


class Application:
    """Everything that is reachable over HTTP. Used from one event loop.

    Args:
        dataplane: answers inference.
        manager: knows the models.
        meter: counts, and shows them under ``/metrics``.
        limits: bounds on what one request may ask for.
        pages: replies to ``GET`` by path (``/`` for the page).
        about: how the server presents itself.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        manager: Manager,
        meter: Meter,
        limits: Limits = Limits(),  # noqa: B008 -- frozen
        pages: Mapping[str, HttpReply] | None = None,
        about: About = About(),  # noqa: B008 -- frozen
    ) -> None:
        shared = Shared(dataplane, manager, meter, limits, about.name, about.version)
        self._limits = limits
        self._meter = meter
        self._pages = PageFront(shared, self.is_ready, pages or {})
        self._fronts: Mapping[str, Front] = {
            "v1": TfsFront(shared),
            "v2": OipFront(shared, self.is_ready),
            "predict": PredictFront(shared),
        }
        self._manager = manager
        self._access_log = about.access_log
        self._draining = False
        self._known: dict[tuple[str, str], tuple[Front, Endpoint]] = {}

    @property
    def meter(self) -> Meter:
        """Where this application counts."""
        return self._meter

    @property
    def limits(self) -> Limits:
        """Bounds on what one request may ask for."""
        return self._limits

    def is_ready(self) -> bool:
        """Whether a balancer should send requests here."""
        return not self._draining and self._manager.ready()

    def begin_drain(self) -> None:
        """Takes readiness away; requests go on being answered."""
        self._draining = True

    async def handle(self, request: HttpRequest) -> HttpReply:
        """Answers one request; whatever goes wrong becomes a reply. Only a cancellation from outside comes out."""
        started = perf_counter() if self._access_log else 0.0
        front: Front = self._pages
        try:
            found = self._known.get((request.method, request.path))
            if found is None:
                front = self._fronts.get(request.path[1:].partition("/")[0].lower(), front)
                found = self._find(front, request)
            front, endpoint = found
            if b"content-encoding" in request.headers:
                request = await decoded(request, self._limits.body_bytes)
            reply = await endpoint(request)
        except PortsideError as e:
            self._meter.failure(front.name, e.code.value)
            reply = front.error(e)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            reply = front.error(Unavailable("the server gave this request up; try again"))
        except Exception:  # noqa: BLE001 -- the client gets an answer, the operator the traceback
            self._meter.failure(front.name, ErrorCode.INTERNAL.value)
            reply = front.error(_broken(request))
        if self._access_log:
            _note(request, reply, perf_counter() - started)
        return reply

    def _find(self, front: Front, request: HttpRequest) -> tuple[Front, Endpoint]:
        """The endpoint of an address. Those that exist are remembered, up to a bound."""
        method, path = request.method, request.path
        endpoint = front.match("GET" if method == "HEAD" else method, path)
        if endpoint is None:
            raise RouteNotFound(f"there is nothing at {shown(path)}; see / for what there is")
        if len(self._known) >= _MOST_CACHED:
            self._known.clear()
        self._known[method, path] = found = (front, endpoint)
        return found


def _broken(request: HttpRequest) -> PortsideError:
    """Logs what must not have happened, under an identifier that the client is told."""
    request_id = secrets.token_hex(8)
    _log.exception(
        "a request broke the server's code: %s %s",
        request.method,
        shown(request.path),
        extra={"request_id": request_id},
    )
    return PortsideError(f"the server failed to answer; its log says why: quote {request_id} to the operator")


def _note(request: HttpRequest, reply: HttpReply, took_s: float) -> None:
    _access.info(
        "%s %s %d", request.method, shown(request.path), reply.status,
        extra={"status": reply.status, "bytes": len(reply.body), "took_ms": round(took_s * 1e3, 3)},
    )  # fmt: skip
