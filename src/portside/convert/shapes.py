"""Which dimension is the batch, what example inputs look like, and which output axes follow which input axes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from portside.errors import InvalidSettings
from portside.model.tensors import Array, Dim, DType, TensorSpec

BATCH = "batch"
"""Name of the batch dimension in every signature."""

EXAMPLE = "--input 'x=float32[batch,3,224,224]'"
"""How inputs are declared, for messages."""

_EXTENTS = (64, 224, 32, 16, 8, 128, 256, 5)


class Observed(msgspec.Struct, frozen=True):
    """One run of the original network: what the symbols stood for, and the shapes that came out."""

    extents: Mapping[str, int]
    shapes: tuple[tuple[int, ...], ...]


def with_batch(specs: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Renames the symbolic dimension at axis 0 to ``batch``, everywhere.

    Where inputs have different symbols at axis 0, or another axis is called ``batch``, nothing is renamed.
    """
    given = tuple(specs)
    leading = {s.shape[0] for s in given if s.shape and isinstance(s.shape[0], str)}
    # somebody who calls another axis the batch means it: [time, batch, features] has its rows in the middle
    if len(leading) != 1 or (BATCH in symbols(given) and BATCH not in leading):
        return given
    (batch,) = leading
    return tuple(msgspec.structs.replace(s, shape=tuple(BATCH if d == batch else d for d in s.shape)) for s in given)


def check_declared(specs: Sequence[TensorSpec], source: str) -> None:
    """Refuses declared inputs that cannot be: none at all, or a name twice.

    Raises:
        InvalidSettings: showing how inputs are declared.
    """
    if not specs:
        raise InvalidSettings(f"{source} does not say what its inputs are: declare each one, for example {EXAMPLE}")
    names = [s.name for s in specs]
    if len(set(names)) != len(names):
        raise InvalidSettings(f"two inputs are declared under one name ({', '.join(names)}): give each its own")


def symbols(specs: Iterable[TensorSpec]) -> tuple[str, ...]:
    """The symbolic dimensions, each once, in order of appearance."""
    return tuple(dict.fromkeys(d for s in specs for d in s.shape if isinstance(d, str)))


def trials(specs: Sequence[TensorSpec]) -> Iterator[dict[str, int]]:
    """Extents to try for the symbols, the likeliest first; 2 for the batch, because 1 and 0 are special to exporters.

    Extents differ from symbol to symbol, so that an output axis shows which one it follows.
    """
    free = [s for s in symbols(specs) if s != BATCH]
    base = {BATCH: 2} if BATCH in symbols(specs) else {}
    if not free:
        yield base
        return
    for extent in _EXTENTS:
        step = extent if extent >= 32 else 1
        yield base | {s: extent + step * i for i, s in enumerate(free)}
        if len(free) > 1:
            yield base | dict.fromkeys(free, extent)


def other_extents(extents: Mapping[str, int]) -> dict[str, int]:
    """Other values for the same symbols: one more row, twice as much of everything else."""
    return {s: n + 1 if s == BATCH else 2 * n for s, n in extents.items()}


def example(specs: Iterable[TensorSpec], extents: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    """Seeded inputs: normal numbers; ones for integers (an index that nearly every table has); empty strings."""
    random = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for spec in specs:
        shape = tuple(extents[d] if isinstance(d, str) else d for d in spec.shape)
        if spec.dtype is DType.STRING:
            made[spec.name] = np.full(shape, b"", dtype=object)
        elif spec.dtype.numpy.kind == "f":
            made[spec.name] = random.standard_normal(shape).astype(spec.dtype.numpy)
        else:
            made[spec.name] = np.ones(shape, dtype=spec.dtype.numpy)
    return made


def rows_of(specs: Iterable[TensorSpec], arrays: Mapping[str, Array], row: int) -> dict[str, Array]:
    """One row of the inputs that have rows, the others as they are."""
    return {s.name: arrays[s.name][row : row + 1] if s.shape[:1] == (BATCH,) else arrays[s.name] for s in specs}


def follow(name: str, index: int, rank: int, runs: Sequence[Observed]) -> tuple[Dim, ...]:
    """How the axes of output ``index`` behave: an extent, the symbol that it followed in every run, or a new symbol.

    Args:
        name: of the output; a new symbol is called ``name_axis``.
        index: position of the output.
        rank: of the output.
        runs: with different extents, if there are symbols.
    """
    dims: list[Dim] = []
    for axis in range(rank):
        seen = [run.shapes[index][axis] for run in runs]
        if len(set(seen)) == 1:
            dims.append(seen[0])
            continue
        same = [s for s in runs[0].extents if all(n == run.extents[s] for n, run in zip(seen, runs, strict=True))]
        dims.append(same[0] if same else f"{name}_{axis}")
    return tuple(dims)
