"""What a model takes and gives, and the check of a request against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from portside.errors import InvalidTensor
from portside.model.tensors import Array, DType, TensorSpec


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """Named input and output tensor specs, and the batch axis.

    Attributes:
        inputs: in the graph's order.
        outputs: in the graph's order.
        batch_dim: the symbolic dimension that stands for "rows" (always axis 0 of the tensors that have it);
            ``None`` for a model without a batch axis.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch_dim: str | None = None

    def input(self, name: str) -> TensorSpec:
        """The spec of one input. Raises InvalidTensor."""
        return _find(self.inputs, name, "input")

    def output(self, name: str) -> TensorSpec:
        """The spec of one output. Raises InvalidTensor."""
        return _find(self.outputs, name, "output")

    def check(self, inputs: Mapping[str, Array]) -> int:
        """Checks names, dtypes and shapes of a whole request.

        Returns:
            the number of rows (1 for a model without a batch axis).

        Raises:
            InvalidTensor: naming the tensor, what was given and what is expected.
        """
        if len(inputs) != len(self.inputs):
            raise self._wrong_names(inputs)
        extents: dict[str, int] = {}
        for spec in self.inputs:
            array = inputs.get(spec.name)
            if array is None:
                raise self._wrong_names(inputs)
            check_tensor(spec, array, extents)
        return 1 if self.batch_dim is None else extents.get(self.batch_dim, 1)

    def check_outputs(self, names: Iterable[str]) -> None:
        """Checks a list of wanted outputs: each known, none twice. Raises InvalidTensor."""
        seen: set[str] = set()
        for name in names:
            self.output(name)
            if name in seen:
                raise InvalidTensor(f"output '{name}' already exists in request: name each wanted output once")
            seen.add(name)

    def _wrong_names(self, inputs: Mapping[str, Array]) -> InvalidTensor:
        known = [s.name for s in self.inputs]
        unknown = [n for n in inputs if n not in known]
        if unknown:
            return InvalidTensor(f"unexpected input {unknown[0]!r}: the model's inputs are {_names(known)}")
        missing = [n for n in known if n not in inputs]
        return InvalidTensor(f"missing input {missing[0]!r}: the model needs {_names(known)}")


def check_tensor(spec: TensorSpec, array: Array, extents: dict[str, int]) -> None:
    """Checks one array against its spec; ``extents`` collects what symbolic dimensions turned out to be.

    Raises:
        InvalidTensor: for a wrong dtype, rank or extent, an empty dimension, or two extents for one symbol.
    """
    if array.dtype != spec.dtype.numpy:
        given = "string" if array.dtype.kind in "OSU" else str(array.dtype)
        raise InvalidTensor(f"input '{spec.name}' is {given}, expected {_spell(spec)}")
    shape = array.shape
    if len(shape) != len(spec.shape):
        raise InvalidTensor(f"input '{spec.name}' has shape {list(shape)}, expected {_spell(spec)}")
    for axis, (given_extent, want) in enumerate(zip(shape, spec.shape, strict=True)):
        if isinstance(want, int):
            if given_extent != want:
                raise InvalidTensor(
                    f"input '{spec.name}' has shape {list(shape)}, expected {_spell(spec)} (axis {axis} must be {want})"
                )
        elif given_extent == 0:
            raise InvalidTensor(f"input '{spec.name}' has shape {list(shape)}: axis {axis} ({want}) is empty")
        elif extents.setdefault(want, given_extent) != given_extent:
            raise InvalidTensor(
                f"input '{spec.name}' has {want}={given_extent}, but another input has {want}={extents[want]}"
            )


def _find(specs: tuple[TensorSpec, ...], name: str, kind: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise InvalidTensor(f"unexpected {kind} {name!r}: the model's {kind}s are {_names(s.name for s in specs)}")


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"'{n}'" for n in names)


def _spell(spec: TensorSpec) -> str:
    kind = "string" if spec.dtype is DType.STRING else spec.dtype.value
    return f"{kind}[{', '.join(str(d) for d in spec.shape)}]"
