"""The inputs of a check: made, and kept on disk with what the original framework answered to them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from portside.errors import CorruptArtifact
from portside.model.evidence import CaseKind
from portside.model.processing import ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec
from portside.processing.normalise import normalise
from portside.verify.inputs import (
    EDGE_BATCHES,
    Fill,
    Range,
    extents_of,
    filled,
    invented_extents,
    range_of,
    shape_of,
)

Pixels = npt.NDArray[np.uint8]

BATCH = 8
"""Rows of a real or random case."""
_RANDOM_CASES = 2
_INDEX = "index"


class RealSamples(Protocol):
    """Real inputs, one row each, already through the exact processing."""

    @property
    def pixels(self) -> Pixels | None:
        """uint8[rows, height, width, channels] for a model with image processing, else ``None``."""

    @property
    def arrays(self) -> Mapping[str, Array]:
        """By input name, rows first, for a model without image processing; empty where there are none."""


class Case(msgspec.Struct, frozen=True):
    """One call of the model.

    Attributes:
        name: for a person ("real 0-7").
        kind: where it came from.
        inputs: by the names of the *original* network's inputs; pictures are normalised float32.
        pixels: the same pictures as uint8[n, height, width, channels], for a graph that normalises itself.
        expected: what the original framework answered, by output name; ``None`` before it was asked.
    """

    name: str
    kind: CaseKind
    inputs: Mapping[str, Array]
    pixels: Pixels | None = None
    expected: Mapping[str, Array] | None = None


def make_cases(signature: Signature, processing: Processing, samples: RealSamples | None, seed: int) -> list[Case]:
    """Makes real, random and edge cases for a model.

    Args:
        signature: of the converted graph, nothing fused into it.
        processing: what happens around it, its names filled in.
        samples: real inputs; ``None`` or empty: none.
        seed: of the random cases; the same arguments give the same cases.
    """
    rng = np.random.default_rng(seed)
    image = processing.image
    if image is not None:
        return list(_picture_cases(signature, image, samples.pixels if samples else None, rng))
    return list(_array_cases(signature, samples.arrays if samples else {}, rng))


def save_cases(path: Path, cases: Sequence[Case]) -> None:
    """Writes cases into one ``.npz`` without pickles. Raises OSError."""
    arrays: dict[str, Array] = {}
    index = [_flatten(case, number, arrays) for number, case in enumerate(cases)]
    arrays[_INDEX] = np.frombuffer(msgspec.json.encode(index), np.uint8)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_cases(path: Path) -> list[Case]:
    """Reads what :func:`save_cases` wrote. Raises CorruptArtifact."""
    try:
        # Opened here: numpy forgets to close a file that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            index = msgspec.json.decode(stored[_INDEX].tobytes(), type=list[_Entry])
            return [_restore(entry, stored) for entry in index]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.MsgspecError) as e:
        raise CorruptArtifact(
            f"the cases in {path.name!r} cannot be read: build again from the conversion on", detail=str(e)
        ) from e


class _Entry(msgspec.Struct, frozen=True):
    """Where a case's arrays are in the file. Strings are kept as their lengths and all their bytes in one array."""

    name: str
    kind: CaseKind
    inputs: dict[str, str]
    pixels: str | None
    expected: dict[str, str] | None


def _flatten(case: Case, number: int, arrays: dict[str, Array]) -> _Entry:
    def keep(part: str, array: Array) -> str:
        key = f"{number}.{part}"
        if array.dtype == object:
            items = [bytes(item) for item in array.ravel().tolist()]
            arrays[f"{key}.lengths"] = np.asarray([len(i) for i in items], np.int64).reshape(array.shape)
            arrays[f"{key}.bytes"] = np.frombuffer(b"".join(items), np.uint8)
        else:
            arrays[key] = array
        return key

    return _Entry(
        case.name,
        case.kind,
        {name: keep(f"in.{i}", array) for i, (name, array) in enumerate(case.inputs.items())},
        None if case.pixels is None else keep("pixels", case.pixels),
        None
        if case.expected is None
        else {name: keep(f"out.{i}", array) for i, (name, array) in enumerate(case.expected.items())},
    )


def _restore(entry: _Entry, stored: Mapping[str, Array]) -> Case:
    def read(key: str) -> Array:
        if f"{key}.lengths" not in stored:
            return stored[key]
        lengths, joined = stored[f"{key}.lengths"], stored[f"{key}.bytes"].tobytes()
        array = np.empty(lengths.shape, object)
        start = 0
        for i, length in enumerate(lengths.ravel().tolist()):
            array.reshape(-1)[i] = joined[start : start + length]
            start += length
        return array

    pixels = None if entry.pixels is None else read(entry.pixels).astype(np.uint8, copy=False)
    expected = None if entry.expected is None else {name: read(key) for name, key in entry.expected.items()}
    return Case(entry.name, entry.kind, {n: read(k) for n, k in entry.inputs.items()}, pixels, expected)


def _picture_cases(
    signature: Signature, image: ImageInput, real: Pixels | None, rng: np.random.Generator
) -> Iterator[Case]:
    """Cases of a model with one image input: everything is pixels first."""
    first = signature.input(image.input).shape[0]
    batch = first if isinstance(first, int) else BATCH
    size = (image.height, image.width, image.channels)

    def case(name: str, kind: CaseKind, pixels: Pixels) -> Case:
        return Case(name, kind, {image.input: normalise(pixels, image)}, np.ascontiguousarray(pixels))

    for name, rows in _groups(0 if real is None else len(real), batch, fixed=isinstance(first, int)):
        if real is not None:
            yield case(name, CaseKind.REAL, real[rows])
    for number in range(_RANDOM_CASES):
        yield case(f"random {number}", CaseKind.RANDOM, rng.integers(0, 256, (batch, *size), dtype=np.uint8))
    dark = TensorSpec(image.input, DType.UINT8, ("batch", *size))
    for fill, n_rows in _edges():
        n = first if isinstance(first, int) else n_rows
        pixels = filled(dark, (n, *size), Range(0, 255), fill, rng).astype(np.uint8)
        yield case(f"{fill.value} x{n}", CaseKind.EDGE, pixels)


def _array_cases(signature: Signature, real: Mapping[str, Array], rng: np.random.Generator) -> Iterator[Case]:
    yield from _real_arrays(signature, real)
    known = extents_of(signature, real)
    sizes = {**invented_extents(signature, 5), **known}
    batch = signature.batch_dim

    def case(name: str, kind: CaseKind, fill: Fill, extents: Mapping[str, int]) -> Case:
        inputs = {}
        for spec in signature.inputs:
            numbers = range_of(spec, real.get(spec.name))
            inputs[spec.name] = filled(spec, shape_of(spec, extents), numbers, fill, rng)
        return Case(name, kind, inputs)

    def with_batch(n: int, other: Mapping[str, int]) -> dict[str, int]:
        return dict(other) if batch is None else {**other, batch: n}

    for number in range(_RANDOM_CASES):
        yield case(f"random {number}", CaseKind.RANDOM, Fill.RANDOM, with_batch(BATCH, sizes))
    for fill, n in _edges():
        name = fill.value if batch is None else f"{fill.value} x{n}"
        yield case(name, CaseKind.EDGE, fill, with_batch(n, sizes))
    for start in (5, 8) if sizes else ():
        other = invented_extents(signature, start)
        spelled = ", ".join(f"{symbol}={n}" for symbol, n in other.items())
        yield case(spelled, CaseKind.EDGE, Fill.RANDOM, with_batch(2, other))


def _real_arrays(signature: Signature, real: Mapping[str, Array]) -> Iterator[Case]:
    """Real rows in batches; one by one where an input has no batch axis, for then rows cannot share a call."""
    if not real:
        return
    batched = {
        s.name: signature.batch_dim is not None and s.shape[:1] == (signature.batch_dim,) for s in signature.inputs
    }
    batch = BATCH if all(batched.values()) else 1
    for name, rows in _groups(len(next(iter(real.values()))), batch, fixed=False):
        yield Case(name, CaseKind.REAL, {n: real[n][rows] if batched[n] else real[n][rows[0]] for n in batched})


def _groups(count: int, batch: int, *, fixed: bool) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """Which rows go together; a last group that is not full starts over if the model's batch size is fixed."""
    for start in range(0, count, batch):
        stop = start + batch if fixed else min(start + batch, count)
        rows = np.arange(start, stop) % count
        yield f"real {start}-{min(stop, count) - 1}", rows


def _edges() -> Iterator[tuple[Fill, int]]:
    """Every fill once, every batch size at least once."""
    fills = tuple(Fill)
    for i in range(max(len(fills), len(EDGE_BATCHES))):
        yield fills[i % len(fills)], EDGE_BATCHES[i % len(EDGE_BATCHES)]
