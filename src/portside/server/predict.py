"""The plain ``POST /predict/<model>``, put to the data plane."""

from __future__ import annotations

from portside.errors import PortsideError
from portside.model.inference import PredictRequest
from portside.model.manifest import Manifest
from portside.model.ref import ModelRef
from portside.protocol import predict_rest
from portside.protocol.base import HttpReply, HttpRequest
from portside.server.fronts import Endpoint, Inference, Items, Shared, Tensors


class PredictFront:
    """Implements :class:`portside.server.fronts.Front` and its ``Codec``."""

    name = "predict"

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def match(self, method: str, path: str) -> Endpoint | None:
        """See the port."""
        ref = predict_rest.match(method, path)
        return None if ref is None else Inference(self, self, self._shared, ref)

    def error(self, error: PortsideError, ref: ModelRef | None = None) -> HttpReply:
        """See the port."""
        return predict_rest.encode_error(error, ref)

    def decode(self, request: HttpRequest, manifest: Manifest, ref: ModelRef) -> Tensors | Items:
        """See the port."""
        limits = self._shared.limits
        decoded = predict_rest.decode(request.body, request.headers, manifest, ref, limits, request.query)
        if isinstance(decoded, PredictRequest):
            return Items(decoded, predict_rest.encode)
        return Tensors(decoded, predict_rest.encode)
