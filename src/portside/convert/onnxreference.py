"""The reference implementation of ONNX operators (package ``onnx``), as the original of an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from portside.convert.onnxinputs import graph_inputs
from portside.errors import ConversionFailed
from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec

if TYPE_CHECKING:
    import onnx


class OnnxReference:
    """An unmodified ONNX file in the reference implementation."""

    def __init__(self, model: onnx.ModelProto, signature: Signature) -> None:
        import onnx

        self._framework = f"ONNX reference {onnx.__version__}"
        self._names = [v.name for v in graph_inputs(model)]
        self._signature = signature
        # a file with a batch of one that was opened is asked row by row
        self._one_row = signature.batch_dim is not None and any(_fixed_one(v) for v in graph_inputs(model))
        self._evaluator = _evaluator(model)

    @property
    def framework(self) -> str:
        """For example ``ONNX reference 1.23.2``."""
        return self._framework

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See :meth:`portside.convert.base.Reference.run`."""
        rows = self._signature.check(inputs)
        if not self._one_row:
            return self._run(inputs)
        batch = self._signature.batch_dim
        parts = [
            self._run({s.name: _row(s, inputs[s.name], row, batch) for s in self._signature.inputs})
            for row in range(rows)
        ]
        return {
            s.name: np.concatenate([p[s.name] for p in parts]) if s.shape[:1] == (batch,) else parts[0][s.name]
            for s in self._signature.outputs
        }

    def set_threads(self, threads: int) -> None:
        """Does nothing: the reference implementation has no threads of its own."""

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        feed = {name: inputs[s.name] for name, s in zip(self._names, self._signature.inputs, strict=True)}
        try:
            outputs = _run(self._evaluator, feed)
        except Exception as e:  # the library raises many kinds
            raise ConversionFailed(
                f"the reference implementation of ONNX cannot run this graph: {type(e).__name__}", detail=str(e)
            ) from e
        return {
            s.name: np.asarray(array, dtype=s.dtype.numpy)
            for s, array in zip(self._signature.outputs, outputs, strict=True)
        }


def evaluate(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> Sequence[Array]:
    """Runs a model once. Raises whatever the reference implementation raises."""
    return _run(_evaluator(model), inputs)


def _evaluator(model: onnx.ModelProto) -> Any:  # noqa: ANN401 -- the library's evaluator
    from onnx.reference import ReferenceEvaluator

    try:
        return ReferenceEvaluator(model)
    except Exception as e:  # the library raises many kinds
        raise ConversionFailed(
            "the reference implementation of ONNX does not know some operator of this graph (custom operators cannot "
            "be checked against an original): convert from the framework that it was exported from",
            detail=str(e),
        ) from e


def _run(evaluator: Any, inputs: Mapping[str, Array]) -> list[Array]:  # noqa: ANN401 -- the library's evaluator
    feed = {name: _decoded(array) if array.dtype == object else array for name, array in inputs.items()}
    with np.errstate(all="ignore"):
        return [_encoded(np.asarray(array)) for array in evaluator.run(None, feed)]


def _decoded(array: Array) -> Array:
    # objects, because that is how the library holds the strings of the graph itself
    texts = np.empty(array.shape, dtype=object)
    items: list[bytes] = array.ravel().tolist()
    texts.reshape(-1)[:] = [item.decode("utf-8") for item in items]
    return texts


def _encoded(array: Array) -> Array:
    if array.dtype.kind not in "UO":
        return array
    encoded = np.empty(array.shape, dtype=DType.STRING.numpy)
    encoded.reshape(-1)[:] = [str(item).encode("utf-8") for item in array.ravel()]
    return encoded


def _fixed_one(value: onnx.ValueInfoProto) -> bool:
    dims = value.type.tensor_type.shape.dim
    return bool(dims) and dims[0].HasField("dim_value") and dims[0].dim_value == 1


def _row(spec: TensorSpec, array: Array, row: int, batch: str | None) -> Array:
    return array[row : row + 1] if spec.shape[:1] == (batch,) else array
