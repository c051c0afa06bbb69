"""Loads what PyTorch left behind: a module by import path with its checkpoint, TorchScript, an exported program."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from portside.convert.checkpoint import load_weights
from portside.convert.shapes import check_declared, with_batch
from portside.errors import ConversionFailed, InvalidSettings, MissingExtra
from portside.model.source import Source
from portside.model.tensors import Array, DType, TensorSpec

Tensors = Sequence[Any]


class Network(msgspec.Struct, frozen=True):
    """A network that PyTorch has loaded.

    Attributes:
        framework: name, version and kind, for a person.
        module: what an exporter takes (``nn.Module``, ``ScriptModule`` or ``ExportedProgram``).
        call: inputs in the order of ``inputs`` -> whatever the network returns.
        inputs: with the batch dimension named.
        code: content that belongs to the identity of the source besides files.
    """

    framework: str
    module: Any
    call: Callable[[Tensors], Any]
    inputs: tuple[TensorSpec, ...]
    code: tuple[bytes, ...] = ()


def torch_library() -> Any:  # noqa: ANN401 -- the library is optional
    """The ``torch`` package. Raises MissingExtra."""
    try:
        import torch
    except ImportError as e:
        raise MissingExtra("reading PyTorch models", "torch", detail=str(e)) from e
    return torch


def load_module(source: Source) -> Network:
    """Calls ``package.module:callable``, loads the checkpoint into what it returns, and puts it into evaluation mode.

    Raises:
        InvalidSettings: it cannot be imported or called, is no ``nn.Module``, or inputs are not declared or do not fit.
        ConversionFailed: the checkpoint does not fit.
    """
    torch = torch_library()
    module = _construct(source, torch)
    if source.checkpoint is not None:
        load_weights(module, Path(source.checkpoint), torch)
    module.eval()
    check_declared(source.inputs, f"the network '{source.location}'")
    check_types(source.inputs)
    if source.checkpoint is None:
        _refuse_untrained(source, module, torch)
    inputs = with_batch(source.inputs)
    keywords = _keywords(inspect.signature(module.forward), [s.name for s in inputs], source.location)
    file = inspect.getsourcefile(type(module))
    code = [Path(file).read_bytes()] if file is not None and Path(file).is_file() else []
    if source.checkpoint is None:
        code += [value.numpy(force=True).tobytes() for value in module.state_dict().values() if torch.is_tensor(value)]
    return Network(
        f"PyTorch {torch.__version__} eager", module, _caller(module, keywords, len(inputs)), inputs, tuple(code)
    )


def load_script(source: Source) -> Network:
    """Loads a TorchScript archive in evaluation mode. Raises InvalidSettings, ConversionFailed."""
    torch = torch_library()
    try:
        module = torch.jit.load(source.location, map_location="cpu").eval()
    except Exception as e:  # torch raises many kinds
        raise ConversionFailed("PyTorch cannot load this TorchScript archive: save it again", detail=str(e)) from e
    check_declared(source.inputs, "a TorchScript archive")
    check_types(source.inputs)
    inputs = with_batch(source.inputs)
    names = [a.name for a in module.forward.schema.arguments[1:]]
    required = [a.name for a in module.forward.schema.arguments[1:] if not a.has_default_value()]
    keywords = _by_keyword([s.name for s in inputs], names, required, "the TorchScript module")
    return Network(f"PyTorch {torch.__version__} TorchScript", module, _caller(module, keywords, len(inputs)), inputs)


def check_types(specs: Sequence[TensorSpec]) -> None:
    """Refuses element types that PyTorch has no tensors of. Raises InvalidSettings."""
    for spec in specs:
        if spec.dtype is DType.STRING:
            raise InvalidSettings(f"input '{spec.name}' is declared as string, PyTorch has no string tensors")


def tensors_of(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> list[Any]:
    """The arrays as tensors, in the order of the inputs; memory is shared where it is writable."""
    torch = torch_library()
    return [torch.from_numpy(np.require(arrays[s.name], requirements=["C", "W"])) for s in inputs]


def array_of(tensor: Any) -> Array:  # noqa: ANN401 -- a tensor
    """A copy of a tensor; brain floats, which numpy does not have, as float32."""
    torch = torch_library()
    plain = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    return np.array(plain.numpy(force=True))


def leaves(result: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 -- whatever a network returns
    """The tensors in what a network returned, with their names ("" where a tuple gives none).

    Raises:
        ConversionFailed: it holds something else.
    """
    torch = torch_library()
    from torch.utils import _pytree

    found: list[tuple[str, Any]] = []
    for path, leaf in _pytree.tree_flatten_with_path(result)[0]:
        if leaf is None:
            continue
        name = "_".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path)
        if not torch.is_tensor(leaf):
            raise ConversionFailed(
                f"the network returns a {type(leaf).__name__}{f' ({name})' if name else ''} besides tensors: "
                "wrap it in a module that returns tensors only"
            )
        found.append(("" if name.isdigit() else name, leaf))
    if not found:
        raise ConversionFailed(f"the network returns no tensor but {type(result).__name__}")
    return found


def _construct(source: Source, torch: Any) -> Any:  # noqa: ANN401 -- the library is optional
    target = _resolve(source.location)
    if isinstance(target, torch.nn.Module):
        return target
    if not callable(target):
        raise InvalidSettings(f"'{source.location}' is a {type(target).__name__}: name a class or a function")
    try:
        module = target(*source.args, **source.kwargs)
    except Exception as e:  # the user's code: anything may come
        raise InvalidSettings(
            f"calling '{source.location}' failed with {type(e).__name__}: {e}; give its arguments as JSON "
            "(--args '[...]', --kwargs '{...}')",
            detail=repr(e),
        ) from e
    if not isinstance(module, torch.nn.Module):
        raise InvalidSettings(f"'{source.location}' returns {type(module).__name__}, expected a torch.nn.Module")
    return module


def _refuse_untrained(source: Source, module: Any, torch: Any) -> None:  # noqa: ANN401 -- the library is optional
    """Without a checkpoint the callable itself must bring the weights: the same ones on every call."""
    again = _construct(source, torch).state_dict()
    for key, value in module.state_dict().items():
        other = again.get(key)
        if torch.is_tensor(value) and not (torch.is_tensor(other) and torch.equal(value.cpu(), other.cpu())):
            raise InvalidSettings(
                f"'{source.location}' returns other weights on every call ({key}), so they are not trained ones: "
                "give the trained ones (--checkpoint FILE)"
            )


def _resolve(location: str) -> Any:  # noqa: ANN401 -- whatever it names
    package, _, path = location.partition(":")
    try:
        target: Any = importlib.import_module(package)
    except Exception as e:  # the user's code: anything may come
        missing = isinstance(e, ModuleNotFoundError) and e.name is not None and package.startswith(e.name)
        why = f"there is no module '{e.name}'" if missing and isinstance(e, ModuleNotFoundError) else f"{e}"
        raise InvalidSettings(
            f"cannot import '{package}': {why}; check the spelling, and that it is installed or lies in the folder "
            "where the command is run",
            detail=repr(e),
        ) from e
    for name in path.split("."):
        if not hasattr(target, name):
            known = [n for n, v in vars(target).items() if not n.startswith("_") and callable(v)][:8]
            raise InvalidSettings(
                f"'{package}' has no '{path}'; it has {', '.join(sorted(known)) or 'nothing callable'}"
            )
        target = getattr(target, name)
    return target


def _keywords(signature: inspect.Signature, given: Sequence[str], location: str) -> Sequence[str] | None:
    """Names to call ``forward`` with, or ``None`` for a call by position."""
    parameters = list(signature.parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    names = [p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    required = [p.name for p in parameters if p.default is p.empty and p.name in names]
    return _by_keyword(given, names, required, f"forward() of '{location}'")


def _by_keyword(given: Sequence[str], names: Sequence[str], required: Sequence[str], what: str) -> Sequence[str] | None:
    if len(given) == 1 and given[0] not in names and len(required) <= 1 and names:
        return None
    if set(given) <= set(names) and set(required) <= set(given):
        return given
    raise InvalidSettings(
        f"the declared inputs are {', '.join(given)}, but {what} takes {', '.join(names) or 'nothing'}"
        f" (of which {', '.join(required) or 'none'} must be given): declare them under these names"
    )


def _caller(module: Any, keywords: Sequence[str] | None, count: int) -> Callable[[Tensors], Any]:  # noqa: ANN401 -- a module
    """Calls a module with tensors in order; ``count`` of them."""
    if keywords is None:
        return lambda tensors: module(*tensors[:count])
    return lambda tensors: module(**dict(zip(keywords, tensors, strict=True)))
