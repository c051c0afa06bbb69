"""TensorFlow Serving's REST interface, put to the data plane."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from portside.errors import NotFound, PortsideError
from portside.model.manifest import Manifest
from portside.model.ref import ModelRef
from portside.protocol import tfs_documents, tfs_rest
from portside.protocol.base import HttpReply, HttpRequest
from portside.server.fronts import Endpoint, Inference, Shared, Tensors


class TfsFront:
    """Implements :class:`portside.server.fronts.Front` and its ``Codec``."""

    name = "tfs-rest"

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def match(self, method: str, path: str) -> Endpoint | None:
        """See the port."""
        route = tfs_rest.match(method, path)
        if route is None:
            return None
        if route.verb is tfs_rest.Verb.PREDICT:
            return Inference(self, self, self._shared, route.ref)
        show = self._metadata if route.verb is tfs_rest.Verb.METADATA else self._status
        return partial(self._shown, show, route.ref)

    def error(self, error: PortsideError, ref: ModelRef | None = None) -> HttpReply:
        """See the port."""
        return tfs_rest.encode_error(error, ref)

    def decode(self, request: HttpRequest, manifest: Manifest, ref: ModelRef) -> Tensors:
        """See the port."""
        signature = manifest.signature
        infer, form = tfs_rest.decode(request.body, signature, ref, self._shared.limits)
        return Tensors(infer, lambda response: tfs_rest.encode(response, signature, form))

    async def _shown(self, show: Callable[[ModelRef], HttpReply], ref: ModelRef, request: HttpRequest) -> HttpReply:
        try:
            return show(ref)
        except NotFound as e:
            self._shared.meter.failure(self.name, e.code.value)
            return self.error(e, ref)

    def _status(self, ref: ModelRef) -> HttpReply:
        statuses = self._shared.manager.statuses(ref.name)
        return tfs_documents.encode_status(tfs_documents.select(statuses, ref))

    def _metadata(self, ref: ModelRef) -> HttpReply:
        return tfs_documents.encode_metadata(self._shared.dataplane.resolve(ref).manifest)
