"""The wire protocols side by side: each turns addresses into endpoints and errors into its own shape.

An endpoint answers one request. Inference goes the same way for all of them: resolve, decode, run, encode.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

import msgspec

from portside.errors import PortsideError
from portside.model.inference import InferRequest, InferResponse, PredictRequest, PredictResponse
from portside.model.manifest import Manifest
from portside.model.ref import ModelRef
from portside.observe.ports import Meter
from portside.protocol.base import HttpReply, HttpRequest, Limits
from portside.serving.dataplane import DataPlane
from portside.serving.manager import Manager

Endpoint: TypeAlias = Callable[[HttpRequest], Coroutine[Any, Any, HttpReply]]
"""Answers a request to one address; raises PortsideError."""


class Front(Protocol):
    """One wire protocol."""

    @property
    def name(self) -> str:
        """As the metrics call it."""

    def match(self, method: str, path: str) -> Endpoint | None:
        """The endpoint at an address; ``None`` if the address is not this protocol's. Raises PortsideError."""

    def error(self, error: PortsideError, ref: ModelRef | None = None) -> HttpReply:
        """An error in this protocol's shape."""


class Tensors(msgspec.Struct):
    """A decoded request for tensors, and what turns its response into a reply."""

    request: InferRequest
    encode: Callable[[InferResponse], HttpReply]


class Items(msgspec.Struct):
    """A decoded request with raw items, and what turns its response into a reply."""

    request: PredictRequest
    encode: Callable[[PredictResponse], HttpReply]


class Codec(Protocol):
    """One way to ask for inference."""

    def decode(self, request: HttpRequest, manifest: Manifest, ref: ModelRef) -> Tensors | Items:
        """Reads a request for a model. Raises PortsideError."""


class Shared(msgspec.Struct, frozen=True):
    """What the protocols work with.

    Attributes:
        dataplane: answers inference.
        manager: knows the models.
        meter: counts.
        limits: bounds on requests.
        name: of this server.
        version: of Portside.
    """

    dataplane: DataPlane
    manager: Manager
    meter: Meter
    limits: Limits
    name: str
    version: str


class Inference:
    """The endpoint of one model in one protocol."""

    __slots__ = ("_codec", "_dataplane", "_front", "_meter", "_ref")

    def __init__(self, front: Front, codec: Codec, shared: Shared, ref: ModelRef) -> None:
        self._front = front
        self._codec = codec
        self._dataplane = shared.dataplane
        self._meter = shared.meter
        self._ref = ref

    async def __call__(self, request: HttpRequest) -> HttpReply:
        """Answers; errors come out in the protocol's shape. What the data plane saw, it has counted itself."""
        try:
            servable = self._dataplane.resolve(self._ref)
            decoded = self._codec.decode(request, servable.manifest, self._ref)
        except PortsideError as e:
            self._meter.failure(self._front.name, e.code.value)
            return self._front.error(e, self._ref)
        try:
            if isinstance(decoded, Tensors):
                return decoded.encode(await self._dataplane.infer(servable, decoded.request))
            return decoded.encode(await self._dataplane.predict(servable, decoded.request))
        except PortsideError as e:
            return self._front.error(e, self._ref)
