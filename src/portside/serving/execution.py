"""What one version does with one piece of work, on the thread that owns the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic

import msgspec
import numpy as np

from portside.engine.base import Session
from portside.errors import DeadlineExceeded, EngineFailed, InvalidRequest, InvalidTensor, PayloadTooLarge, Unsupported
from portside.model.inference import Prediction
from portside.model.processing import ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import Array, TensorSpec
from portside.processing import classify, image


class Bounds(msgspec.Struct, frozen=True):
    """Limits on the work of one request with pictures.

    Attributes:
        pixels: most pixels of one picture.
        items: most pictures in one request.
        chunk: how many pictures are decoded and run together; bounds the memory of one request.
    """

    pixels: int = 64_000_000
    items: int = 256
    chunk: int = 16


class Feed(msgspec.Struct, frozen=True):
    """How pictures are fed to the graph.

    Attributes:
        chunk: pictures a run; 1 goes row by row.
        pad: a short last chunk is filled up, because the graph's batch has exactly ``chunk`` rows.
        squeeze: the graph's input has no batch axis at all.
    """

    chunk: int
    pad: bool = False
    squeeze: bool = False


class Execution:
    """Runs tensors and pictures on a session. Holds no state; any number of threads may use it, each with its session.

    Args:
        signature: what the session takes and gives.
        processing: what is declared around the graph.
        bounds: limits for pictures.
        clock: ``time.monotonic``, the clock of the deadlines.
    """

    def __init__(
        self,
        signature: Signature,
        processing: Processing,
        bounds: Bounds = Bounds(),  # noqa: B008 -- frozen
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.signature = signature
        self.processing = processing
        self.bounds = bounds
        self._clock = clock
        self._batched = tuple(s.name for s in signature.outputs if _has_rows(s, signature.batch_dim))
        self._names = tuple(s.name for s in signature.outputs)
        self._feed = None if processing.image is None else choose_feed(signature, processing.image, bounds.chunk)

    def run(self, session: Session, inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
        """Runs checked tensors once.

        Returns:
            all outputs of the signature, in its order.

        Raises:
            EngineFailed: an output is missing or has another number of rows than ``rows``.
            PortsideError: as ``Session.run``.
        """
        outputs = session.run(inputs)
        try:
            for name in self._batched:
                if outputs[name].shape[0] != rows:
                    raise EngineFailed(
                        f"the model gave {outputs[name].shape[0]} rows in output {name!r} for {rows} rows of input: "
                        "its batch axis is not what its signature says"
                    )
            # Engines answer in the graph's order, which is the signature's; then nothing has to be copied.
            return outputs if (*outputs,) == self._names else {name: outputs[name] for name in self._names}
        except (KeyError, IndexError) as e:
            raise EngineFailed("the model's outputs are not those of its signature", detail=repr(e)) from e

    def run_pictures(
        self, session: Session, items: Sequence[bytes], others: Mapping[str, Array], deadline: float
    ) -> dict[str, Array]:
        """Decodes pictures chunk by chunk, runs each chunk, and joins the outputs.

        Args:
            session: whose thread this is.
            items: one encoded picture each.
            others: further inputs of the graph, not yet checked against the signature.
            deadline: monotonic time after which the next chunk is not started.

        Raises:
            InvalidImage, PayloadTooLarge: a picture that cannot be taken.
            InvalidTensor: ``others`` do not fit.
            DeadlineExceeded: between two chunks.
        """
        spec, feed = self._pictures()
        self._check_items(items, others, feed)
        parts: list[dict[str, Array]] = []
        for start in range(0, len(items), feed.chunk):
            if parts and self._clock() >= deadline:
                raise DeadlineExceeded(f"no answer in time: {start} of {len(items)} pictures were done, send fewer")
            chunk = items[start : start + feed.chunk]
            tensor: Array = image.tensor(chunk, spec, self.bounds.pixels)
            inputs = self._chunk_inputs(tensor, others, start)
            parts.append(self.run(session, inputs, self.signature.check(inputs)))
        return {s.name: self._join(s, [p[s.name] for p in parts], len(items)) for s in self.signature.outputs}

    def predict(self, session: Session, items: Sequence[bytes], top_k: int | None, deadline: float) -> list[Prediction]:
        """Answers pictures through the declared processing: decode, run, classify.

        Returns:
            one answer a picture, in order.
        """
        outputs = self.run_pictures(session, items, {}, deadline)
        spec = self.processing.classification
        if spec is not None:
            return [Prediction(classes=classes) for classes in classify.classify(outputs, spec, top_k)]
        return [Prediction(outputs={name: a[row] for name, a in outputs.items()}) for row in range(len(items))]

    def _pictures(self) -> tuple[ImageInput, Feed]:
        spec, feed = self.processing.image, self._feed
        if spec is None or feed is None:
            names = ", ".join(f"'{s.name}'" for s in self.signature.inputs)
            raise InvalidRequest(f"this model declares no picture input: send tensors for {names}")
        return spec, feed

    def _check_items(self, items: Sequence[bytes], others: Mapping[str, Array], feed: Feed) -> None:
        if not items:
            raise InvalidRequest("no picture was sent: at least one is needed")
        if len(items) > self.bounds.items:
            raise PayloadTooLarge(f"{len(items)} pictures in one request: send at most {self.bounds.items}")
        if others and (feed.pad or feed.squeeze) and len(items) != feed.chunk:
            raise InvalidTensor(f"{len(items)} pictures beside other inputs: this model takes exactly {feed.chunk}")
        for name, array in others.items():
            if self._follows_rows(name) and (array.ndim == 0 or array.shape[0] != len(items)):
                raise InvalidTensor(f"input '{name}' has shape {list(array.shape)}, expected {len(items)} rows")

    def _chunk_inputs(self, tensor: Array, others: Mapping[str, Array], start: int) -> dict[str, Array]:
        spec, feed = self._pictures()
        rows = tensor.shape[0]
        if feed.squeeze:
            tensor = tensor[0]
        elif feed.pad and rows < feed.chunk:
            tensor = np.concatenate([tensor, np.repeat(tensor[-1:], feed.chunk - rows, axis=0)])
        inputs = {spec.input: tensor}
        for name, array in others.items():
            inputs[name] = array[start : start + rows] if self._follows_rows(name) else array
        return inputs

    def _follows_rows(self, name: str) -> bool:
        return _has_rows(self.signature.input(name), self.signature.batch_dim)

    def _join(self, spec: TensorSpec, parts: list[Array], rows: int) -> Array:
        """The parts of one output as one array of ``rows`` rows."""
        _, feed = self._pictures()
        leading = spec.shape[0] if spec.shape else None
        if _has_rows(spec, self.signature.batch_dim) or (not feed.squeeze and leading == feed.chunk):
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
            return whole[:rows]
        if feed.chunk == 1:
            return np.stack(parts)
        if len(parts) == 1 and not feed.pad:
            return parts[0]
        raise Unsupported(f"output '{spec.name}' has no rows to tell pictures apart: send one picture at a time")


def choose_feed(signature: Signature, spec: ImageInput, chunk: int) -> Feed:
    """How to feed pictures to this graph: whole chunks, exactly as many as its fixed batch, or one by one."""
    shape = signature.input(spec.input).shape
    if len(shape) < 4:
        return Feed(1, squeeze=True)
    first = shape[0]
    if isinstance(first, int):
        return Feed(first, pad=first > 1)
    divisible = first == signature.batch_dim and all(_has_rows(s, first) for s in signature.outputs)
    return Feed(chunk if divisible else 1)


def _has_rows(spec: TensorSpec, batch_dim: str | None) -> bool:
    return batch_dim is not None and bool(spec.shape) and spec.shape[0] == batch_dim
