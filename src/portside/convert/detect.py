"""Finds the converter for a source, or says what the source is and what would be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from portside.convert.base import Converter
from portside.convert.kinds import Kind, look
from portside.errors import InvalidSettings, SourceNotRecognised
from portside.model.source import Source

SUPPORTED: tuple[tuple[str, str], ...] = (
    ("ONNX (.onnx)", "onnx"),
    ("a PyTorch network as package.module:callable with --checkpoint, TorchScript (.pt), torch.export (.pt2)", "torch"),
    ("Keras (.keras, .h5), TensorFlow SavedModel folders", "tensorflow"),
)
"""What is read, and the extra that reads it."""


_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_ENDINGS = frozenset({".onnx", ".pt", ".pth", ".pt2", ".keras", ".h5", ".hdf5", ".pb", ".tflite"})


def detect(source: Source, converters: Sequence[Converter]) -> Converter:
    """The first converter that recognises the source.

    Args:
        source: what the user named.
        converters: asked in this order; none of them imports a framework for the answer.

    Raises:
        InvalidSettings: a checkpoint for a file that needs none.
        SourceNotRecognised: what was seen, what to do about it, what is supported, and which extras to install.
    """
    if source.checkpoint is not None and not source.is_import_path:
        raise InvalidSettings(
            f"a checkpoint was given for {Path(source.location).name!r}: it belongs to a network that is named by "
            "import path (package.module:callable); leave it out for files that hold the whole model"
        )
    for converter in converters:
        if converter.recognise(source) is not None:
            return converter
    path = Path(source.location)
    seen = look(path)
    if seen.kind is not Kind.MISSING:
        found = f"{path.name!r} is {seen.what}, which cannot be converted"
        hint = seen.hint
    elif _DOTTED.fullmatch(source.location) and path.suffix not in _ENDINGS:
        found = f"there is no file or folder {path.name!r}"
        hint = "for Python code, put a colon before the callable: package.module:callable"
    else:
        found, hint = f"there is no file or folder {path.name!r}", "check the spelling"
    raise SourceNotRecognised(f"{found}{f': {hint}' if hint else ''}. {supported()}", detail=source.location)


def supported() -> str:
    """A sentence about everything that is read, and how to install it."""
    kinds = "; ".join(f"{what} [portside[{extra}]]" for what, extra in SUPPORTED)
    return f"Supported are {kinds} (install what is in brackets: pip install 'portside[torch]')"
