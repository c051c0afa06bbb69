"""Every plug-in there is, by name. The tables are built anew on each call; nothing heavy is imported by it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from portside.building.toolbox import Toolbox
from portside.convert.base import Converter
from portside.convert.keras2onnx import Keras2Onnx
from portside.convert.onnx2onnx import Onnx2Onnx
from portside.convert.torch2onnx import Torch2Onnx
from portside.engine.base import Engine
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.model.config import EngineName
from portside.optimize.base import Pass
from portside.optimize.batchnorm import FoldBatchNorm
from portside.optimize.normalise import FuseNormalisation
from portside.optimize.simplify import Simplify

STEP_COMMAND = (sys.executable, "-P", "-m", "portside.app.step")
"""Starts one step of a build with :func:`toolbox`. ``-P``: a file in the working folder that happens to be called like
a module of ours or of the standard library must not take its place."""


def converters() -> Sequence[Converter]:
    """In the order in which they are asked whether they read a source."""
    return (Onnx2Onnx(), Torch2Onnx(), Keras2Onnx())


def engines() -> Mapping[EngineName, Engine]:
    """The engines, by name."""
    return {engine.name: engine for engine in (OnnxRuntimeEngine(), OpenVinoEngine())}


def passes() -> Sequence[Pass]:
    """Graph passes that every build runs, in order."""
    return (Simplify(), FoldBatchNorm())


def fusing_passes() -> Sequence[Pass]:
    """Passes that move processing into the graph."""
    return (FuseNormalisation(),)


def toolbox() -> Toolbox:
    """All of it, for a build and for the processes of its steps."""
    return Toolbox(converters(), engines(), passes(), fusing_passes(), STEP_COMMAND)
