from __future__ import annotations

import numpy as np
import pytest

from portside.engine.foreign import refused_inputs
from portside.errors import EngineFailed, InvalidTensor
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec

SIGNATURE = Signature((TensorSpec("x", DType.FLOAT32, ("n", 4)),), (), None)
GOOD = np.zeros((2, 4), np.float32)


class InvalidArgument(Exception):
    """Named like the class of the library."""


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "missing input 'x'"),
        ({"z": GOOD}, "unexpected input 'z'"),
        ({"x": GOOD.astype(np.float64)}, "float64"),
        ({"x": GOOD[0]}, "shape"),
        ({"x": GOOD[:, :3]}, "axis 1 must be 4"),
    ],
)
def test_what_the_signature_can_say_is_said(inputs: dict[str, np.ndarray], words: str) -> None:
    error = refused_inputs("Engine", SIGNATURE, inputs, RuntimeError("at /some/path.cc"))
    assert isinstance(error, InvalidTensor)
    assert words in error.message
    assert error.detail == "at /some/path.cc"


@pytest.mark.parametrize("cause", [InvalidArgument("x"), RuntimeError("cannot broadcast"), ValueError("bad Shape")])
def test_inputs_that_do_not_fit_each_other(cause: Exception) -> None:
    error = refused_inputs("Engine", SIGNATURE, {"x": GOOD}, cause)
    assert isinstance(error, InvalidTensor)
    assert "x float32[2, 4]" in error.message


def test_anything_else_is_the_engine_s_failure() -> None:
    error = refused_inputs("Engine", SIGNATURE, {"x": GOOD}, RuntimeError("out of memory at /path"))
    assert isinstance(error, EngineFailed)
    assert "/path" not in error.message
