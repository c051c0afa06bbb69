"""Small graphs and modules for the converters' own tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Module = Callable[[str], str]
Graph = Callable[..., Path]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Writes Python source as an importable module of a name that no other test has; returns the name."""
    monkeypatch.syspath_prepend(tmp_path)
    count = 0

    def write(text: str) -> str:
        nonlocal count
        count += 1
        name = f"unit_{abs(hash(tmp_path)):x}_{count}"
        (tmp_path / f"{name}.py").write_text("import torch\nfrom torch import nn\n\n" + text)
        return name

    return write


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """Writes an ONNX file from ONNX's own text form; the opset is 13 unless said otherwise."""
    import onnx
    from onnx import parser

    def write(body: str, *, opset: int = 13, ir_version: int = 8, name: str = "net.onnx", **functions: Any) -> Path:
        text = f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "own" : 1]> {body}'
        model = parser.parse_model(text)
        for change in functions.values():
            change(model)
        onnx.save(model, str(tmp_path / name))
        return tmp_path / name

    return write
