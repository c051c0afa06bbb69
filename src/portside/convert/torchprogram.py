"""Loads programs saved by ``torch.export.save``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from portside.convert.interface import declared
from portside.convert.shapes import with_batch
from portside.convert.torchsource import Network, Tensors, torch_library
from portside.errors import ConversionFailed
from portside.model.source import Source
from portside.model.tensors import Dim, DType, TensorSpec

_TRAINING = {
    "aten.dropout.default": 2,
    "aten.dropout_.default": 2,
    "aten.feature_dropout.default": 2,
    "aten.batch_norm.default": 5,
    "aten.native_batch_norm.default": 5,
}
"""Operators that behave differently while training, and where the flag for it stands among their arguments."""


def load_program(source: Source) -> Network:
    """Loads an exported program; its inputs come from the program itself.

    ``Source.inputs`` may name the only input anew, and name or fix open dimensions.

    Raises:
        InvalidSettings: declared inputs contradict the program.
        ConversionFailed: it cannot be loaded, or it was exported in training mode.
    """
    torch = torch_library()
    try:
        program = torch.export.load(source.location)
        module = program.module()
    except Exception as e:  # torch raises many kinds
        raise ConversionFailed(
            f"PyTorch {torch.__version__} cannot load this exported program: it was saved by another version, or needs "
            "operators that are not installed here; export it again with this version",
            detail=str(e),
        ) from e
    _refuse_training(program)
    own = _inputs(program, torch)
    inputs = declared(with_batch(_named(own)), source.inputs, may_open=False)
    spec = program.call_spec.in_spec

    def call(tensors: Tensors) -> Any:  # noqa: ANN401 -- whatever the network returns
        args, kwargs = torch.utils._pytree.tree_unflatten(list(tensors), spec)  # noqa: SLF001 -- how torch itself does it
        return module(*args, **kwargs)

    return Network(f"PyTorch {torch.__version__} exported program", program, call, inputs)


def _inputs(program: Any, torch: Any) -> tuple[TensorSpec, ...]:  # noqa: ANN401 -- the library is optional
    values: dict[str, Any] = {
        node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"
    }
    specs = []
    for name in program.graph_signature.user_inputs:
        value: Any = values.get(name)
        if not torch.is_tensor(value):
            raise ConversionFailed(
                f"the exported program takes {name!r}, which is not a tensor: export it with tensors as inputs only"
            )
        dims = tuple(d if isinstance(d, int) else str(d) for d in value.shape)
        specs.append(TensorSpec(name, DType(str(value.dtype).removeprefix("torch.")), dims))
    return tuple(specs)


def _named(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Names for the open dimensions that say where they stand; the exporter's are numbers."""
    leading = {s.shape[0] for s in specs if s.shape and isinstance(s.shape[0], str)}
    names: dict[Dim, Dim] = {}
    for spec in specs:
        for axis, dim in enumerate(spec.shape):
            if isinstance(dim, str) and not (axis == 0 and len(leading) == 1):
                names.setdefault(dim, f"{spec.name}_{axis}")
    return tuple(msgspec.structs.replace(s, shape=tuple(names.get(d, d) for d in s.shape)) for s in specs)


def _refuse_training(program: Any) -> None:  # noqa: ANN401 -- the library's ExportedProgram
    for node in program.graph.nodes:
        flag = _TRAINING.get(str(node.target))
        if flag is not None and len(node.args) > flag and node.args[flag] is True:
            raise ConversionFailed(
                "the program was exported in training mode (dropout or batch statistics are on): call model.eval() "
                "before torch.export.export and save it again"
            )
