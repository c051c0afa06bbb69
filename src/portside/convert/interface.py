"""Names of outputs, and what a network was observed to do: what every converter decides alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from portside.convert.shapes import BATCH, Observed, example, other_extents, rows_of, symbols, trials, with_batch
from portside.errors import ConversionFailed, InvalidSettings
from portside.model.signature import Signature
from portside.model.tensors import Array, Dim, TensorSpec

Run = Callable[[Mapping[str, Array]], Sequence[Array]]
"""The original network: inputs by name, outputs in order; raises whatever its framework raises."""


def output_names(own: Sequence[str], given: Sequence[str], inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Names for the outputs: those the caller gave, the network's own, or ``output`` (``output_0``, … for several).

    Args:
        own: what the network calls them; an empty string where it has no name.
        given: ``Source.output_names``.
        inputs: an output with the name of an input gets ``_output`` behind it (a graph has one space of names).

    Raises:
        InvalidSettings: another number of names than outputs, or one of them twice or empty.
    """
    if given:
        if len(given) != len(own) or len(set(given)) != len(given) or not all(given):
            raise InvalidSettings(
                f"{len(given)} output names were given ({', '.join(given)}), the network has {len(own)} outputs: "
                "give each of them one name of its own"
            )
        if clash := set(given) & {s.name for s in inputs}:
            raise InvalidSettings(f"output name {clash.pop()!r} is the name of an input: choose another")
    wanted = given or [name or (f"output_{i}" if len(own) > 1 else "output") for i, name in enumerate(own)]
    taken = {s.name for s in inputs}
    names: list[str] = []
    for name in wanted:
        unique = f"{name}_output" if name in taken else name
        while unique in taken:
            unique += "_"
        taken.add(unique)
        names.append(unique)
    return tuple(names)


def declared(own: Sequence[TensorSpec], given: Sequence[TensorSpec], *, may_open: bool) -> tuple[TensorSpec, ...]:
    """What the source says about its inputs, refined by what the caller declared.

    A single input may get another name; several are matched by name. Open dimensions may be named or fixed.

    Args:
        own: the source's, in its order.
        given: ``Source.inputs``; nothing leaves ``own`` as it is.
        may_open: whether a batch that the source fixes at 1 may be declared open.

    Raises:
        InvalidSettings: another number, name, element type or extent than the source has.
    """
    if not given:
        return tuple(own)
    shown = ", ".join(str(s) for s in own)
    by_name = {s.name: s for s in with_batch(given)}
    if len(given) != len(own) or len(by_name) != len(given):
        raise InvalidSettings(f"{len(given)} inputs are declared, the model has {len(own)}: {shown}")
    if len(own) > 1 and set(by_name) != {s.name for s in own}:
        raise InvalidSettings(f"the declared inputs are {', '.join(by_name)}, those of the model are {shown}")
    wishes = [by_name[s.name] for s in own] if len(own) > 1 else list(by_name.values())
    for spec, wish in zip(own, wishes, strict=True):
        if not _fits(spec, wish, may_open=may_open):
            raise InvalidSettings(
                f"input '{wish}' was declared, but the model takes '{spec}': leave the declaration out, or export the "
                "model again with these dimensions open"
            )
    return tuple(wishes)


def _fits(spec: TensorSpec, wish: TensorSpec, *, may_open: bool) -> bool:
    if spec.dtype is not wish.dtype or len(spec.shape) != len(wish.shape):
        return False

    def possible(axis: int, old: Dim, new: Dim) -> bool:
        if isinstance(old, int) and isinstance(new, str):
            # only a batch of one can be opened with any hope: rows are independent there
            return may_open and axis == 0 and old == 1 and new == BATCH
        return isinstance(old, str) or old == new

    return all(possible(a, old, new) for a, (old, new) in enumerate(zip(spec.shape, wish.shape, strict=True)))


def observe(run: Run, inputs: Sequence[TensorSpec]) -> tuple[list[Observed], Mapping[str, Array]]:
    """Runs the original at one or two sets of extents, to see which output axes follow which input axes.

    Returns:
        the runs, and the inputs of the first one (an exporter's example).

    Raises:
        ConversionFailed: the network takes none of the extents tried, or only one batch size.
    """
    error: Exception | None = None
    for extents in trials(inputs):
        given = example(inputs, extents)
        try:
            first = _observed(run, given, extents)
        except Exception as e:  # noqa: BLE001 -- the network is the user's code: anything may come
            error = error or e
            continue
        runs = [first]
        if symbols(inputs):
            runs.append(_second(run, inputs, extents))
        return runs, given
    shown = ", ".join(str(s) for s in inputs)
    raise ConversionFailed(
        f"the network cannot run on inputs as declared ({shown}): {_first_line(error)}; check their order, element "
        "types and extents, and give dimensions that it fixes as numbers",
        detail=str(error),
    )


def rows_are_independent(run: Run, signature: Signature, given: Mapping[str, Array]) -> bool:
    """Whether each row gets the same answer alone as together with another: only then may requests share a batch.

    Args:
        run: the original network, or the graph.
        signature: with a batch axis.
        given: inputs of two rows.
    """
    try:
        together = run(given)
        alone = [run(rows_of(signature.inputs, given, row)) for row in range(2)]
    except Exception:  # noqa: BLE001 -- the network is the user's code, and one that cannot do it is not independent
        return False
    return all(
        _close(whole[row : row + 1], single)
        for row, answers in enumerate(alone)
        for spec, whole, single in zip(signature.outputs, together, answers, strict=True)
        if spec.shape[:1] == (signature.batch_dim,)
    )


def _close(one: Array, other: Array) -> bool:
    """Equal up to rounding: what mixes rows is wrong by more than a thousandth."""
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool((one == other).all())
    first, second = one.astype(np.float64), other.astype(np.float64)
    scale = float(np.nanmax(np.abs(second), initial=0.0))
    return bool(np.allclose(first, second, rtol=1e-3, atol=1e-3 * scale if np.isfinite(scale) else 0, equal_nan=True))


def _second(run: Run, inputs: Sequence[TensorSpec], extents: Mapping[str, int]) -> Observed:
    other = other_extents(extents)
    try:
        return _observed(run, example(inputs, other), other)
    except Exception as e:  # the network is the user's code: anything may come
        was = ", ".join(f"{name}={n}" for name, n in extents.items())
        now = ", ".join(f"{name}={n}" for name, n in other.items())
        raise ConversionFailed(
            f"the network runs with {was}, but not with {now}: {_first_line(e)}; "
            "declare the dimensions that it fixes as numbers",
            detail=str(e),
        ) from e


def _observed(run: Run, given: Mapping[str, Array], extents: Mapping[str, int]) -> Observed:
    return Observed(extents, tuple(np.shape(output) for output in run(given)))


def _first_line(error: Exception | None) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
