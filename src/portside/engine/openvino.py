"""ONNX graphs and OpenVINO IR on OpenVINO's CPU plug-in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from portside.engine.base import Session
from portside.engine.foreign import refused_inputs
from portside.engine.host import isa_flags
from portside.engine.recognise import cannot_load, check_kind
from portside.engine.shapes import ShapeGuard
from portside.errors import EngineFailed, Unsupported
from portside.model.artifact import Format
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.signature import Signature
from portside.model.tensors import Array, Dim, DType, TensorSpec

_RUNTIME = "OpenVINO"
_BF16_ISA = frozenset({"avx512_bf16", "amx_bf16"})
_HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16"}
_DTYPES = {
    "boolean": DType.BOOL, "u8": DType.UINT8, "u16": DType.UINT16, "u32": DType.UINT32, "u64": DType.UINT64,
    "i8": DType.INT8, "i16": DType.INT16, "i32": DType.INT32, "i64": DType.INT64,
    "f16": DType.FLOAT16, "f32": DType.FLOAT32, "f64": DType.FLOAT64,
}  # fmt: skip


class OpenVinoEngine:
    """OpenVINO, float32 or the processor's bfloat16.

    An instance of one thread is a compiled model of its own, run on its caller's thread: a run that is handed to a
    stream's thread and back leaves a fifth of two cores idle. A graph that leaves only its rows open is compiled for
    one row as well. Both cost copies of the weights, so where these would take more than ``copies_bytes``, first the
    one-row graphs are left out, then instances are streams of one compiled model.

    Args:
        isa: the processor's flags; ``None`` asks the system.
        copies_bytes: most that further copies of the weights may take.
    """

    def __init__(self, isa: Iterable[str] | None = None, copies_bytes: int = 256 * 1024 * 1024) -> None:
        self._isa = frozenset(isa_flags() if isa is None else isa)
        self._copies_bytes = copies_bytes

    @property
    def name(self) -> EngineName:
        """Which engine this is."""
        return EngineName.OPENVINO

    @property
    def formats(self) -> frozenset[Format]:
        """ONNX and OpenVINO IR."""
        return frozenset({Format.ONNX, Format.OPENVINO})

    def version(self) -> str:
        """Version of the library. Raises EngineFailed if it is not installed."""
        return str(_library().__version__).split("-", 1)[0]

    def precisions(self) -> frozenset[Precision]:
        """float32, and bfloat16 where the processor multiplies it natively."""
        native = bool(self._isa & _BF16_ISA)
        return frozenset({Precision.FP32, Precision.BF16} if native else {Precision.FP32})

    def load(self, entry: Path, config: EngineConfig) -> Sequence[Session]:
        """See :meth:`portside.engine.base.Engine.load`."""
        if config.precision not in self.precisions():
            raise Unsupported(f"this processor has no {config.precision.value} arithmetic: choose fp32")
        check_kind(_RUNTIME, entry)
        library = _library()
        try:
            model = library.Core().read_model(str(entry))
        except Exception as e:  # the library raises many kinds; all become answers
            raise cannot_load(f"{_RUNTIME} {self.version()}", entry, e) from e
        signature = _signature(model)
        guard = ShapeGuard(model.clone()) if _has_open_extents(signature) else None
        try:
            pairs = self._compile(library, model, config)
        except Exception as e:  # the library raises many kinds; all become answers
            raise cannot_load(f"{_RUNTIME} {self.version()}", entry, e) from e
        return [OpenVinoSession(library.Tensor, whole, single, signature, guard) for whole, single in pairs]

    def _compile(self, library: Any, model: Any, config: EngineConfig) -> list[tuple[Any, Any]]:  # noqa: ANN401
        """What runs the graph, an instance each: with any number of rows, and with a single one (or ``None``)."""
        core, weights_bytes, single = library.Core(), _weights_bytes(model), _one_row(model)
        own = config.instances if config.threads == 1 else 1
        if weights_bytes * (own - 1) > self._copies_bytes:
            own = 1
        if weights_bytes * (2 * own - 1) > self._copies_bytes:
            single = None
        streams = config.instances // own
        properties = _properties(config, streams)
        pairs = []
        for _ in range(own):
            compiled = [core.compile_model(each, "CPU", properties) if each else None for each in (model, single)]
            for _ in range(streams):
                whole, one = (each.create_infer_request() if each else None for each in compiled)
                pairs.append((whole, one))
        return pairs


class _Request:
    """One of the library's requests with the buffers it reads from. One caller at a time."""

    def __init__(self, tensor: Any, request: Any, signature: Signature) -> None:  # noqa: ANN401
        self._tensor = tensor
        self._request = request
        self._inputs = tuple((s.name, s.dtype.numpy) for s in signature.inputs)
        self._buffers: dict[str, Array] = {}

    def give(self, inputs: Mapping[str, Array]) -> bool:
        """Takes the inputs over; whether their shapes are not those of the last time."""
        moved = False
        for index, (name, dtype) in enumerate(self._inputs):
            array = inputs[name]
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape != array.shape:
                if array.dtype != dtype:
                    raise ValueError("wrong dtype")
                buffer = np.empty(array.shape, array.dtype)
                self._request.set_input_tensor(index, self._tensor(buffer, shared_memory=True))
                self._buffers[name] = buffer
                moved = True
            np.copyto(buffer, array, casting="no")
        return moved

    def infer(self) -> tuple[Array, ...]:
        """Runs the graph; the outputs are copies, for the library's own buffers are overwritten by the next run."""
        outputs: tuple[Array, ...] = self._request.infer().to_tuple()
        return outputs

    def forget(self) -> None:
        """After a failure nothing is known about what the library still holds."""
        self._buffers.clear()


class OpenVinoSession:
    """One instance of a graph.

    Args:
        tensor: the library's class of tensors.
        whole: the library's request that runs any number of rows; of this session alone.
        single: one compiled for exactly one row, which is about a tenth faster; or ``None``.
        signature: as the library sees the graph.
        guard: for a graph with open extents beside the rows; shared by the sessions of one load.
    """

    def __init__(
        self,
        tensor: Any,  # noqa: ANN401 -- the library has no types
        whole: Any,  # noqa: ANN401
        single: Any,  # noqa: ANN401
        signature: Signature,
        guard: ShapeGuard | None,
    ) -> None:
        self._whole = _Request(tensor, whole, signature)
        self._single = None if single is None else _Request(tensor, single, signature)
        self._one_row = tuple(
            (s.name, tuple(1 if isinstance(d, str) else d for d in s.shape)) for s in signature.inputs
        )
        self._guard = guard
        self._signature = signature
        self._inputs = tuple(s.name for s in signature.inputs)
        self._outputs = tuple(s.name for s in signature.outputs)

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
        request = self._whole
        try:
            if len(inputs) != len(self._inputs):
                raise ValueError("wrong number of inputs")
            if self._single is not None and all(inputs[name].shape == shape for name, shape in self._one_row):
                request = self._single
            if request.give(inputs) and self._guard is not None:
                self._guard.check([inputs[name] for name in self._inputs])
            results = request.infer()
        except Exception as e:  # the library raises many kinds; all become answers
            request.forget()
            raise refused_inputs(_RUNTIME, self._signature, inputs, e) from e
        return dict(zip(self._outputs, results, strict=True))


def _library() -> Any:  # noqa: ANN401 -- the library has no types
    try:
        import openvino
    except ImportError as e:
        raise EngineFailed(f"{_RUNTIME} is not installed: pip install openvino", detail=str(e)) from e
    return openvino


def _one_row(model: Any) -> Any:  # noqa: ANN401 -- the library has no types
    """The same graph for exactly one row; ``None`` if rows are not all that its inputs leave open."""
    shapes = {}
    for index, port in enumerate(model.inputs):
        extents = list(port.get_partial_shape())
        if any(extent.is_dynamic for extent in extents[1:]):
            return None
        if extents and extents[0].is_dynamic:
            shapes[index] = [1, *(extent.get_length() for extent in extents[1:])]
    if not shapes:
        return None
    single = model.clone()
    try:
        single.reshape(shapes)
    except Exception:  # noqa: BLE001 -- the library raises many kinds; the graph then runs as it is
        return None
    return single


def _weights_bytes(model: Any) -> int:  # noqa: ANN401 -- the library has no types
    constants = (op.output(0) for op in model.get_ops() if op.get_type_name() == "Constant")
    return sum(math.prod(c.get_shape()) * c.get_element_type().size for c in constants)


def _properties(config: EngineConfig, streams: int) -> dict[str, str | int | bool]:
    total = streams * config.threads
    # One stream of one thread loses the error of a failed run and answers with the previous run's result; without a
    # stream the same run, on the caller's thread and as fast, raises.
    return {
        # Said even for float32: left out, the library chooses bfloat16 on processors that have it.
        "INFERENCE_PRECISION_HINT": _HINTS[config.precision],
        "NUM_STREAMS": streams if total > 1 else 0,
        "INFERENCE_NUM_THREADS": total,
        # Pinned streams of two models, or of two processes, all land on the same first cores.
        "ENABLE_CPU_PINNING": False,
    }


def _has_open_extents(signature: Signature) -> bool:
    return any(isinstance(extent, str) for spec in signature.inputs for extent in spec.shape[1:])


def _signature(model: Any) -> Signature:  # noqa: ANN401 -- the library has no types
    return Signature(
        tuple(_spec(port, "input") for port in model.inputs),
        tuple(_spec(port, "output") for port in model.outputs),
    )


def _spec(port: Any, kind: str) -> TensorSpec:  # noqa: ANN401 -- the library has no types
    name = _name(port)
    dtype = _DTYPES.get(port.get_element_type().get_type_name())
    if dtype is None:
        raise Unsupported(
            f"the graph's {kind} '{name}' is {port.get_element_type().get_type_name()}, which {_RUNTIME} cannot "
            "exchange with us: choose ONNX Runtime"
        )
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise Unsupported(f"the graph's {kind} '{name}' has an open rank: only fixed ranks can be served")
    dims: list[Dim] = [d.get_length() if d.is_static else f"{name}.{axis}" for axis, d in enumerate(shape)]
    return TensorSpec(name, dtype, tuple(dims))


def _name(port: Any) -> str:  # noqa: ANN401 -- the library has no types
    """A tensor that is input and output has both names; the node's own name tells which one is meant."""
    names = port.get_names()
    own = str(port.get_node().get_friendly_name()).removesuffix("/sink_port_0")
    return own if own in names or not names else str(min(names))
