"""What is no wire protocol: health, metrics, the list of models, and the pages that the application was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus

from portside.errors import MethodNotAllowed, PortsideError
from portside.model.ref import ModelRef
from portside.protocol.base import JSON, TEXT, HttpReply, HttpRequest
from portside.protocol.status import http_status, retry_headers
from portside.server.fronts import Endpoint, Shared
from portside.server.inventory import inventory, reply
from portside.server.wire import error_body

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_NO_STORE = ((b"cache-control", b"no-store"),)
_GET_ONLY = ((b"allow", b"GET, HEAD"),)


class PageFront:
    """Implements :class:`portside.server.fronts.Front` for exact addresses.

    Args:
        shared: what it shows.
        ready: whether the server is ready.
        pages: further replies by path.
    """

    name = "http"

    def __init__(self, shared: Shared, ready: Callable[[], bool], pages: Mapping[str, HttpReply]) -> None:
        self._shared = shared
        self._ready = ready
        self._pages = pages
        self._endpoints: Mapping[str, Endpoint] = {
            "/healthz": self._live,
            "/readyz": self._readiness,
            "/metrics": self._metrics,
            "/monitoring/prometheus/metrics": self._metrics,
            "/api/models": self._models,
        } | dict.fromkeys(pages, self._page)

    def match(self, method: str, path: str) -> Endpoint | None:
        """See the port. Raises MethodNotAllowed."""
        endpoint = self._endpoints.get(path)
        if endpoint is not None and method != "GET":
            raise MethodNotAllowed(f"{method[:20]} is not possible here: {shown(path)} takes GET")
        return endpoint

    def error(self, error: PortsideError, ref: ModelRef | None = None) -> HttpReply:
        """``{"error": message}``."""
        status = http_status(error.code)
        headers = _GET_ONLY if status == HTTPStatus.METHOD_NOT_ALLOWED else retry_headers(error.code)
        return HttpReply(status, error_body(error.message), JSON, headers)

    async def _live(self, request: HttpRequest) -> HttpReply:
        return HttpReply(200, b"ok\n", TEXT, _NO_STORE)

    async def _readiness(self, request: HttpRequest) -> HttpReply:
        if self._ready():
            return HttpReply(200, b"ready\n", TEXT, _NO_STORE)
        return HttpReply(503, b"not ready\n", TEXT, _NO_STORE)

    async def _metrics(self, request: HttpRequest) -> HttpReply:
        return HttpReply(200, self._shared.meter.scrape(), METRICS_TYPE)

    async def _models(self, request: HttpRequest) -> HttpReply:
        return reply(inventory(self._shared.manager.statuses(), ready=self._ready()))

    async def _page(self, request: HttpRequest) -> HttpReply:
        return self._pages[request.path]


def shown(path: str) -> str:
    """A path for a message: short, and nothing in it that a terminal or a parser would act on."""
    text = path if len(path) <= 100 else path[:100] + "…"
    return "".join(c if c.isprintable() else "?" for c in text)
