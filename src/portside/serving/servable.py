"""A loaded version that is answering."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from portside.engine.base import Session
from portside.errors import InvalidTensor
from portside.model.inference import InferRequest, Prediction, PredictRequest
from portside.model.manifest import Manifest
from portside.model.tensors import Array
from portside.observe.ports import ServableMeter
from portside.serving.execution import Execution
from portside.serving.instance import InstancePool

Outputs = dict[str, Array]


class Servable:
    """One version's record, instances and processing, and the count of requests that hold it.

    Used from the event loop's thread only.

    Args:
        manifest: its record.
        execution: what a piece of work does.
        pool: its instances; whoever creates the servable starts and closes the pool.
        meter: its counts.
        inline_rows: requests of up to so many rows run in the event loop's thread; 0: none.
    """

    def __init__(
        self,
        manifest: Manifest,
        execution: Execution,
        pool: InstancePool,
        meter: ServableMeter,
        inline_rows: int = 0,
    ) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.version = manifest.version
        self.pool = pool
        self.meter = meter
        self.inline_rows = inline_rows
        self.in_flight = 0
        self._execution = execution
        self._signature = manifest.signature
        self._image = manifest.processing.image.input if manifest.processing.image is not None else None
        self._idle: asyncio.Event | None = None

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"

    def hold(self) -> None:
        """One more request needs this version: it is not unloaded until all have let go."""
        self.in_flight += 1

    def release(self) -> None:
        """One request is over."""
        self.in_flight -= 1
        if self.in_flight == 0 and self._idle is not None:
            self._idle.set()

    async def idle(self) -> None:
        """Returns as soon as no request holds it."""
        if self._idle is None:
            self._idle = asyncio.Event()
        while self.in_flight:
            self._idle.clear()
            await self._idle.wait()

    def infer_work(self, request: InferRequest, deadline: float) -> tuple[Callable[[Session], Outputs], int, bool]:
        """Checks a request with tensors and says what has to be done.

        Returns:
            the work, its number of rows, and whether it is short enough for the event loop's thread.

        Raises:
            InvalidTensor: it does not fit the signature.
        """
        inputs, execution = request.inputs, self._execution
        if request.outputs is not None:
            self._signature.check_outputs(request.outputs)
        if self._image is not None:
            given = inputs.get(self._image)
            if given is not None and given.dtype.kind == "O":
                items = encoded_items(self._image, given)
                others = {name: array for name, array in inputs.items() if name != self._image}
                return lambda session: execution.run_pictures(session, items, others, deadline), len(items), False
        rows = self._signature.check(inputs)
        return lambda session: execution.run(session, inputs, rows), rows, rows <= self.inline_rows

    def predict_work(self, request: PredictRequest, deadline: float) -> Callable[[Session], list[Prediction]]:
        """What has to be done for a request with raw items."""
        execution, items, top_k = self._execution, request.items, request.top_k
        return lambda session: execution.predict(session, items, top_k, deadline)


def encoded_items(name: str, array: Array) -> list[bytes]:
    """The encoded pictures in a string tensor: ``[n]``, ``[n, 1]``, or a scalar for a single one.

    Raises:
        InvalidTensor: another shape, empty, or elements that are not bytes.
    """
    if array.size == 0 or array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
        raise InvalidTensor(
            f"input '{name}' holds encoded pictures in shape {list(array.shape)}: one string a picture, [n], expected"
        )
    items: list[bytes] = np.ravel(array).tolist()
    if not all(isinstance(item, bytes) for item in items):
        raise InvalidTensor(f"input '{name}' must hold encoded pictures as bytes: send them as b64 or BYTES")
    return items
