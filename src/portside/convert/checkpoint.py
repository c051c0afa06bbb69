"""Puts a checkpoint's tensors into a module, strictly, and says briefly what does not fit."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from portside.convert.kinds import Kind, look
from portside.errors import ConversionFailed, InvalidSettings

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_SHOWN = 4


def load_weights(module: Any, path: Path, torch: Any) -> None:  # noqa: ANN401 -- the library is optional
    """Loads a state dict (or a training checkpoint that holds one) into a module.

    Args:
        module: an ``nn.Module``; changed in place.
        path: the checkpoint.
        torch: the library.

    Raises:
        InvalidSettings: the file is missing, or not a checkpoint of tensors.
        ConversionFailed: keys are missing or unexpected, or shapes differ.
    """
    state = unwrap(read(path, torch), torch)
    own = module.state_dict()
    state = strip_prefix(state, own)
    # the counter of seen batches is no weight, and older checkpoints lack it
    missing = [k for k in own if k not in state and not k.endswith(".num_batches_tracked")]
    unexpected = [k for k in state if k not in own]
    shapes = [
        f"{k} is {list(v.shape)}, expected {list(own[k].shape)}"
        for k, v in state.items()
        if k in own and torch.is_tensor(v) and torch.is_tensor(own[k]) and v.shape != own[k].shape
    ]
    problems = [
        f"{len(keys)} {kind} ({_some(keys)})"
        for kind, keys in (("keys missing", missing), ("keys unexpected", unexpected), ("shapes different", shapes))
        if keys
    ]
    if problems:
        raise ConversionFailed(
            f"the checkpoint {path.name!r} does not fit {type(module).__name__}: {'; '.join(problems)}; check that it "
            "belongs to this network and to the arguments it is called with"
        )
    module.load_state_dict(state, strict=False)


def read(path: Path, torch: Any) -> Any:  # noqa: ANN401 -- whatever a checkpoint holds
    """Loads a checkpoint without running code from it. Raises InvalidSettings."""
    seen = look(path)
    if seen.kind is not Kind.STATE_DICT:
        hint = f": {seen.hint}" if seen.hint else ""
        raise InvalidSettings(f"the checkpoint {path.name!r} is {seen.what}, expected a PyTorch state dict{hint}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as e:
        raise InvalidSettings(
            f"the checkpoint {path.name!r} cannot be read as tensors only (nothing else is loaded, because it could "
            "run code): save model.state_dict() with torch.save",
            detail=str(e),
        ) from e


def unwrap(loaded: Any, torch: Any) -> dict[str, Any]:  # noqa: ANN401 -- whatever a checkpoint holds
    """The state dict inside a checkpoint. Raises InvalidSettings."""
    if isinstance(loaded, Mapping):
        if loaded and all(torch.is_tensor(v) for v in loaded.values()):
            return dict(loaded)
        for key in _WRAPPERS:
            inner = loaded.get(key)
            if isinstance(inner, Mapping) and any(torch.is_tensor(v) for v in inner.values()):
                return dict(inner)
        if any(torch.is_tensor(v) for v in loaded.values()):
            return dict(loaded)
    keys = f" with the keys {_some(list(map(str, loaded)))}" if isinstance(loaded, Mapping) else ""
    raise InvalidSettings(
        f"the checkpoint holds a {type(loaded).__name__}{keys}, expected a state dict, or one under one of the keys "
        f"{', '.join(_WRAPPERS)}"
    )


def strip_prefix(state: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Takes off what wrappers for training put before every key, unless the module has such keys itself."""
    for prefix in _PREFIXES:
        if state and all(k.startswith(prefix) for k in state) and not any(k.startswith(prefix) for k in own):
            return strip_prefix({k.removeprefix(prefix): v for k, v in state.items()}, own)
    return state


def _some(keys: Sequence[str]) -> str:
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
