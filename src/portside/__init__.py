"""Portside: from a trained model to a verified, tuned, versioned service.

The public API is small: :func:`build`, :func:`load`, :func:`serve`. Everything is imported on first use, so that
``import portside`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version as _version

__version__ = _version("portside")

_PUBLIC = {
    "build": "portside.app.api",
    "load": "portside.app.api",
    "serve": "portside.app.api",
    "Model": "portside.app.api",
    "Source": "portside.model.source",
    "Processing": "portside.model.processing",
    "ImageInput": "portside.model.processing",
    "Classification": "portside.model.processing",
    "PortsideError": "portside.errors",
}

__all__ = ["Classification", "ImageInput", "Model", "PortsideError", "Processing", "Source", "build", "load", "serve"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'portside' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
