"""Arrays that go into a model: random ones, and those at the edges of what it may be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec
import numpy as np
import numpy.typing as npt

from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec

EDGE_BATCHES = (1, 2, 3, 8)
"""Batch sizes that every model with a batch axis is tried with."""
_IDS = 10
"""Without samples, integers are drawn below this: small enough to be an index into most tables."""
_WIDE = 6.0
"""Without samples, floats are taken to lie within this many units of zero."""
_TINY = 1e-6
_WORDS = (b"", b"a", b"portside", b"two words", "café".encode())


class Fill(Enum):
    """What an array of an edge case holds."""

    ZEROS = "zeros"
    LOWEST = "lowest"
    HIGHEST = "highest"
    TINY = "tiny"
    MIXED = "lowest and highest"
    RANDOM = "random"


class Range(msgspec.Struct, frozen=True):
    """The numbers that one input takes.

    Attributes:
        low: smallest.
        high: largest.
        mean: of the normal distribution that floats are drawn from.
        std: likewise.
    """

    low: float
    high: float
    mean: float = 0.0
    std: float = 1.0


def range_of(spec: TensorSpec, sample: Array | None) -> Range:
    """The range of an input: that of the real samples if there are any, else a sensible one for its type."""
    kind = spec.dtype.numpy.kind
    if kind in "iuf" and sample is not None and sample.size:
        numbers = sample[np.isfinite(sample)].astype(np.float64)
        if numbers.size:
            std = float(numbers.std()) or 1.0
            return Range(float(numbers.min()), float(numbers.max()), float(numbers.mean()), std)
    if spec.dtype is DType.UINT8:
        return Range(0, 255)
    if kind in "iu":
        return Range(0, _IDS - 1)
    return Range(-_WIDE, _WIDE)


def shape_of(spec: TensorSpec, extents: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of an input when the symbolic dimensions have these extents."""
    return tuple(d if isinstance(d, int) else extents[d] for d in spec.shape)


def filled(spec: TensorSpec, shape: Sequence[int], numbers: Range, fill: Fill, rng: np.random.Generator) -> Array:
    """One array.

    Args:
        spec: of the input.
        shape: of the array.
        numbers: what the input takes.
        fill: what it shall hold.
        rng: moved on by random fills only.
    """
    if spec.dtype is DType.STRING:
        return _strings(shape, fill, rng)
    if spec.dtype is DType.BOOL:
        return _booleans(shape, fill, rng)
    if fill is Fill.RANDOM:
        return _random(shape, spec.dtype.numpy, numbers, rng)
    values = {
        Fill.ZEROS: 0.0,
        Fill.LOWEST: numbers.low,
        Fill.HIGHEST: numbers.high,
        Fill.TINY: _TINY if spec.dtype.numpy.kind == "f" else min(1.0, numbers.high),
    }
    value = values[fill] if fill in values else np.where(_checks(shape), numbers.high, numbers.low)
    return np.broadcast_to(np.asarray(value), tuple(shape)).astype(spec.dtype.numpy)


def extents_of(signature: Signature, samples: Mapping[str, Array]) -> dict[str, int]:
    """What the symbolic dimensions besides the batch are in the real samples (rows first)."""
    found: dict[str, int] = {}
    for spec in signature.inputs:
        sample = samples.get(spec.name)
        if sample is None:
            continue
        batched = spec.shape[:1] == (signature.batch_dim,) and signature.batch_dim is not None
        inner = spec.shape[1:] if batched else spec.shape
        found.update({d: n for d, n in zip(inner, sample.shape[1:], strict=True) if isinstance(d, str)})
    return found


def invented_extents(signature: Signature, start: int) -> dict[str, int]:
    """Small extents for the symbolic dimensions besides the batch, no two alike, so that axes cannot be mixed up."""
    symbols = dict.fromkeys(d for spec in signature.inputs for d in spec.shape if isinstance(d, str))
    symbols.pop(signature.batch_dim or "", None)
    return {symbol: start + 2 * i for i, symbol in enumerate(symbols)}


def _random(shape: Sequence[int], dtype: np.dtype[np.generic], numbers: Range, rng: np.random.Generator) -> Array:
    if dtype.kind in "iu":
        return rng.integers(int(numbers.low), int(numbers.high), shape, dtype=np.int64, endpoint=True).astype(dtype)
    drawn = rng.normal(numbers.mean, numbers.std, tuple(shape))
    return np.clip(drawn, numbers.low, numbers.high).astype(dtype)


def _checks(shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """True and false in turn along every axis."""
    total = np.zeros(shape, np.int64)
    for axis, n in enumerate(shape):
        total += np.arange(n).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.asarray(total % 2 == 0)


def _booleans(shape: Sequence[int], fill: Fill, rng: np.random.Generator) -> Array:
    if fill is Fill.RANDOM:
        return rng.integers(0, 2, tuple(shape)).astype(np.bool_)
    if fill is Fill.MIXED:
        return _checks(shape)
    return np.full(shape, fill is Fill.HIGHEST, np.bool_)


def _strings(shape: Sequence[int], fill: Fill, rng: np.random.Generator) -> Array:
    array = np.empty(shape, object)
    flat = array.reshape(-1)
    for i in range(flat.size):
        if fill is Fill.RANDOM:
            flat[i] = _WORDS[int(rng.integers(len(_WORDS)))]
        else:
            flat[i] = b"" if fill in {Fill.ZEROS, Fill.LOWEST} else _WORDS[i % len(_WORDS)]
    return array
