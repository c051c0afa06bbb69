"""The Open Inference Protocol over REST, put to the data plane."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from portside.errors import PortsideError, Unavailable
from portside.model.manifest import Manifest
from portside.model.ref import ModelRef
from portside.model.status import State
from portside.protocol import oip_documents, oip_rest
from portside.protocol.base import HttpReply, HttpRequest
from portside.protocol.oip_rest import Action
from portside.server.fronts import Endpoint, Inference, Shared, Tensors


class OipFront:
    """Implements :class:`portside.server.fronts.Front` and its ``Codec``.

    Args:
        shared: what it works with.
        ready: whether the server is ready.
    """

    name = "oip-rest"

    def __init__(self, shared: Shared, ready: Callable[[], bool]) -> None:
        self._shared = shared
        self._ready = ready

    def match(self, method: str, path: str) -> Endpoint | None:
        """See the port."""
        route = oip_rest.match(method, path)
        if route is None:
            return None
        if route.ref is None:
            return partial(self._server, route.action)
        if route.action is Action.INFER:
            return Inference(self, self, self._shared, route.ref)
        return partial(self._model_ready if route.action is Action.MODEL_READY else self._model, route.ref)

    def error(self, error: PortsideError, ref: ModelRef | None = None) -> HttpReply:
        """See the port."""
        return oip_rest.encode_error(error, ref)

    def decode(self, request: HttpRequest, manifest: Manifest, ref: ModelRef) -> Tensors:
        """See the port."""
        infer, wish = oip_rest.decode(request.body, request.headers, manifest.signature, ref, self._shared.limits)
        return Tensors(infer, lambda response: oip_rest.encode(response, wish))

    async def _server(self, action: Action, request: HttpRequest) -> HttpReply:
        if action is Action.LIVE:
            return oip_documents.encode_live()
        if action is Action.READY:
            return oip_documents.encode_ready(ready=self._ready())
        return oip_documents.encode_server(self._shared.name, self._shared.version)

    async def _model(self, ref: ModelRef, request: HttpRequest) -> HttpReply:
        manifest = self._shared.dataplane.resolve(ref).manifest
        statuses = self._shared.manager.statuses(ref.name)
        return oip_documents.encode_metadata(manifest, [s.version for s in statuses if s.state is State.READY])

    async def _model_ready(self, ref: ModelRef, request: HttpRequest) -> HttpReply:
        try:
            self._shared.dataplane.resolve(ref)
        except Unavailable:
            return oip_documents.encode_model_ready(ref.name, ready=False)
        return oip_documents.encode_model_ready(ref.name, ready=True)
