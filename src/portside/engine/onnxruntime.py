"""ONNX graphs on ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portside.engine.base import Session
from portside.engine.foreign import refused_inputs
from portside.engine.recognise import cannot_load, check_kind, format_of
from portside.errors import EngineFailed, InvalidTensor, Unsupported
from portside.model.artifact import Format
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.signature import Signature
from portside.model.tensors import Array, Dim, DType, TensorSpec

_RUNTIME = "ONNX Runtime"
_DTYPES = {
    f"tensor({name})": dtype
    for name, dtype in {
        "bool": DType.BOOL, "uint8": DType.UINT8, "uint16": DType.UINT16, "uint32": DType.UINT32,
        "uint64": DType.UINT64, "int8": DType.INT8, "int16": DType.INT16, "int32": DType.INT32,
        "int64": DType.INT64, "float16": DType.FLOAT16, "float": DType.FLOAT32, "double": DType.FLOAT64,
        "string": DType.STRING,
    }.items()
}  # fmt: skip


class OnnxRuntimeEngine:
    """ONNX Runtime, float32 arithmetic.

    Instances of one thread are callers of one shared session: a run without a pool uses the calling thread only. With
    more threads every instance gets a session and a pool of its own, because callers that share a pool wait for each
    other's pieces; the weights are then held once an instance.
    """

    @property
    def name(self) -> EngineName:
        """Which engine this is."""
        return EngineName.ONNXRUNTIME

    @property
    def formats(self) -> frozenset[Format]:
        """ONNX only."""
        return frozenset({Format.ONNX})

    def version(self) -> str:
        """Version of the library. Raises EngineFailed if it is not installed."""
        return str(_library().__version__)

    def precisions(self) -> frozenset[Precision]:
        """float32: the CPU provider has no bfloat16 kernels worth having."""
        return frozenset({Precision.FP32})

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        """See :meth:`portside.engine.base.Engine.load`."""
        if config.precision not in self.precisions():
            raise Unsupported(f"{_RUNTIME} computes in fp32 on a CPU, not in {config.precision.value}: choose fp32")
        if format_of(entry) not in self.formats:
            raise Unsupported(f"{_RUNTIME} loads ONNX files only: choose OpenVINO for an OpenVINO IR")
        check_kind(_RUNTIME, entry)
        library = _library()
        library.disable_telemetry_events()
        first = _open(library, entry, config.threads)
        signature = _signature(first)
        handles = [first] * config.instances
        if config.threads > 1:
            handles[1:] = [_open(library, entry, config.threads) for _ in range(config.instances - 1)]
        return [_session(handle, signature) for handle in handles]


class OnnxRuntimeSession:
    """One caller of an ONNX Runtime session."""

    def __init__(self, handle: Any, signature: Signature) -> None:  # noqa: ANN401 -- the library has no types
        self._run = handle.run
        self._signature = signature
        self._inputs = tuple(s.name for s in signature.inputs)
        self._outputs = tuple(s.name for s in signature.outputs)
        # Built once: left to the library, the list would be built on every run.
        self._wanted = list(self._outputs)
        # Graphs with one output are the common case, and for a tiny graph building a dict from pairs shows.
        self._only = self._outputs[0] if len(self._outputs) == 1 else None

    @property
    def input_names(self) -> Sequence[str]:
        """Graph inputs, in the graph's order."""
        return self._inputs

    @property
    def output_names(self) -> Sequence[str]:
        """Graph outputs, in the graph's order."""
        return self._outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See :meth:`portside.engine.base.Session.run`."""
        try:
            if self._only is not None:
                return {self._only: self._run(self._wanted, inputs)[0]}
            return dict(zip(self._outputs, self._run(self._wanted, inputs), strict=True))
        except Exception as e:  # the library raises many kinds; all become answers
            raise refused_inputs(_RUNTIME, self._signature, inputs, e) from e


class _StringSession(OnnxRuntimeSession):
    """Adds the translation between our strings (bytes) and the library's (str), only where a graph has any."""

    def __init__(self, handle: Any, signature: Signature) -> None:  # noqa: ANN401 -- the library has no types
        super().__init__(handle, signature)
        self._strings_in = frozenset(s.name for s in signature.inputs if s.dtype is DType.STRING)
        self._strings_out = frozenset(s.name for s in signature.outputs if s.dtype is DType.STRING)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See :meth:`portside.engine.base.Session.run`."""
        given = {name: _decode(name, a) if name in self._strings_in else a for name, a in inputs.items()}
        outputs = super().run(given)
        return {name: _encode(a) if name in self._strings_out else a for name, a in outputs.items()}


def _library() -> Any:  # noqa: ANN401 -- the library has no types
    try:
        import onnxruntime
    except ImportError as e:
        raise EngineFailed(f"{_RUNTIME} is not installed: pip install onnxruntime", detail=str(e)) from e
    return onnxruntime


def _open(library: Any, entry: Path, threads: int) -> Any:  # noqa: ANN401 -- the library has no types
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads that spin take the cores from decoding, from the event loop and from other instances.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What goes wrong arrives as an exception; the library's own lines on standard error would say it twice.
    options.log_severity_level = 4
    try:
        handle = library.InferenceSession(str(entry), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # the library raises many kinds; all become answers
        raise cannot_load(f"{_RUNTIME} {library.__version__}", entry, e) from e
    handle.disable_fallback()
    return handle


def _session(handle: Any, signature: Signature) -> OnnxRuntimeSession:  # noqa: ANN401 -- the library has no types
    strings = any(s.dtype is DType.STRING for s in (*signature.inputs, *signature.outputs))
    return (_StringSession if strings else OnnxRuntimeSession)(handle, signature)


def _signature(handle: Any) -> Signature:  # noqa: ANN401 -- the library has no types
    return Signature(
        tuple(_spec(node, "input") for node in handle.get_inputs()),
        tuple(_spec(node, "output") for node in handle.get_outputs()),
    )


def _spec(node: Any, kind: str) -> TensorSpec:  # noqa: ANN401 -- the library has no types
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise Unsupported(f"the graph's {kind} '{node.name}' is a {node.type}: only plain tensors can be served")
    dims: list[Dim] = [d if isinstance(d, int | str) else f"{node.name}.{axis}" for axis, d in enumerate(node.shape)]
    return TensorSpec(node.name, dtype, tuple(dims))


def _decode(name: str, array: Array) -> Array:
    if array.dtype != object:
        return array
    texts = np.empty(array.shape, dtype=object)
    items: list[Any] = array.ravel().tolist()
    try:
        texts.reshape(-1)[:] = [item.decode("utf-8") for item in items]
    except UnicodeDecodeError as e:
        raise InvalidTensor(f"input '{name}' holds a string that is not UTF-8: {_RUNTIME} takes text only") from e
    except AttributeError as e:
        raise InvalidTensor(f"input '{name}' must hold strings (bytes)") from e
    return texts


def _encode(array: Array) -> Array:
    encoded = np.empty(array.shape, dtype=object)
    items: list[Any] = array.ravel().tolist()
    encoded.reshape(-1)[:] = [item.encode("utf-8") for item in items]
    return encoded
