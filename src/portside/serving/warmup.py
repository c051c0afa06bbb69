"""First runs of a version before anybody sees it: they find what is broken and measure what an inference costs."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from portside.engine.base import Session
from portside.errors import PortsideError
from portside.model.signature import Signature
from portside.model.tensors import Array, DType
from portside.serving.execution import Execution

log = logging.getLogger(__name__)

INLINE_S = 150e-6
"""Below this an inference costs less than handing it to another thread and back."""

_EXTENTS = (1, 16, 64, 224)
_ROWS = (1, 4, 16, 64)
_RUNS = 32
_PATIENCE_S = 0.1


def zeros(signature: Signature, rows: int = 1, extent: int = 1) -> dict[str, Array]:
    """Inputs of zeros (empty strings) that fit a signature.

    Args:
        signature: what to fit.
        rows: extent of the batch axis.
        extent: extent of every other symbolic dimension.
    """
    inputs: dict[str, Array] = {}
    for spec in signature.inputs:
        shape = tuple(d if isinstance(d, int) else rows if d == signature.batch_dim else extent for d in spec.shape)
        fill = b"" if spec.dtype is DType.STRING else 0
        inputs[spec.name] = np.full(shape, fill, dtype=spec.dtype.numpy)
    return inputs


def warm_up(execution: Execution, sessions: Sequence[Session]) -> int:
    """Runs every session on zeros, and on a picture where pictures are declared. Blocks.

    Returns:
        the number of rows up to which an inference is short enough for the event loop's thread; 0: never.

    Raises:
        PortsideError: the model cannot be run at all.
    """
    extent = _fitting_extent(execution, sessions[0])
    for session in sessions:
        if extent is not None:
            execution.run(session, zeros(execution.signature, 1, extent), 1)
        if execution.processing.image is not None and len(execution.signature.inputs) == 1:
            execution.predict(session, [grey_png(64)], None, float("inf"))
    return inline_rows(execution, sessions[0])


def inline_rows(execution: Execution, session: Session) -> int:
    """Measures up to how many rows an inference stays below :data:`INLINE_S`; 0 if one row is already longer.

    Only models whose cost the rows alone decide: no pictures, no further symbolic dimension.
    """
    signature = execution.signature
    if execution.processing.image is not None or _free_dims(signature):
        return 0
    fitting = 0
    for rows in _ROWS if signature.batch_dim is not None else _ROWS[:1]:
        if _quiet_run_s(execution, session, zeros(signature, rows), rows) > INLINE_S:
            break
        fitting = rows
    return fitting


def grey_png(side: int) -> bytes:
    """A small valid picture, ``side`` pixels square, made without a picture library."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = (b"\x00" + b"\x80" * side) * side
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _fitting_extent(execution: Execution, session: Session) -> int | None:
    """The first extent for symbolic dimensions that the model takes; ``None`` if none of the guesses fits."""
    free = _free_dims(execution.signature)
    for extent in _EXTENTS if free else _EXTENTS[:1]:
        try:
            execution.run(session, zeros(execution.signature, 1, extent), 1)
        except PortsideError as e:
            if not free:
                raise
            log.debug("warm-up with extent %d refused: %s", extent, e.message)
        else:
            return extent
    log.warning("the model is served without warm-up: no guess for its dimensions %s fits", ", ".join(sorted(free)))
    return None


def _free_dims(signature: Signature) -> set[str]:
    return {d for s in signature.inputs for d in s.shape if isinstance(d, str)} - {signature.batch_dim or ""}


def _quiet_run_s(execution: Execution, session: Session, inputs: Mapping[str, Array], rows: int) -> float:
    """The time of a run when nothing disturbs it: a low quantile, because a busy server disturbs many of them."""
    times: list[float] = []
    while len(times) < _RUNS and sum(times) < _PATIENCE_S:
        started = perf_counter()
        execution.run(session, inputs, rows)
        times.append(perf_counter() - started)
    return sorted(times)[len(times) // 8]
