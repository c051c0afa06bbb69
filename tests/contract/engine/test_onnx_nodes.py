"""The standard ONNX node tests over each engine, through our session port.

What cannot pass stands in ``onnx_node_skips.toml``, with the reason. A test that is listed and passes is an error of
the list; one that fails without being listed is an error of the engine.

Two rules need no list: a test whose inputs or outputs are not plain tensors of our element types cannot be put to the
port, and a test of an opset that the engine refuses outright (probed with a graph of one node) cannot be loaded.
"""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.case.test_case import TestCase as NodeTest

from portside.engine.base import Engine
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.errors import PortsideError
from portside.model.config import EngineConfig
from portside.model.tensors import Array, DType

CHUNKS = 6
IR_CEILING = 10
ENGINES: Mapping[str, Engine] = {"onnxruntime": OnnxRuntimeEngine(), "openvino": OpenVinoEngine()}


@pytest.fixture(scope="module")
def node_tests() -> list[NodeTest]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        # Expected values are computed on loading, overflows and divisions by zero included.
        warnings.simplefilter("ignore")
        return sorted(load_model_tests(kind="node"), key=lambda t: t.name)


def load_skips(engine: str) -> tuple[dict[str, str], set[str]]:
    """Reasons by test name, and the names in groups that hold on some machines only."""
    data = tomllib.loads(Path(__file__).with_name("onnx_node_skips.toml").read_text(encoding="utf-8"))
    reasons, uncertain = {}, set()
    for group in data[engine]:
        for name in group["tests"]:
            assert name not in reasons, f"{name} is listed twice"
            reasons[name] = group["reason"]
        if group.get("depends_on_machine", False):
            uncertain.update(group["tests"])
    return reasons, uncertain


def opset_of(model: onnx.ModelProto) -> int:
    return max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=0)


def opset_ceiling(engine: Engine, folder: Path) -> int:
    """The newest opset of which the engine loads a graph."""
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", [value], [out])
    path = folder / "probe.onnx"
    for opset in range(onnx.defs.onnx_opset_version(), 12, -1):
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
        try:
            engine.load(path, EngineConfig(engine.name))
        except PortsideError:
            continue
        return opset
    raise AssertionError("the engine loads no opset")


def is_plain(model: onnx.ModelProto, engine: Engine) -> bool:
    """Whether every input and output is a tensor of an element type that the engine exchanges with us."""
    constants = {t.name for t in model.graph.initializer}
    for value in (*(i for i in model.graph.input if i.name not in constants), *model.graph.output):
        if value.type.WhichOneof("value") != "tensor_type":
            return False
        name = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        known = {"FLOAT": "FLOAT32", "DOUBLE": "FLOAT64"}.get(name, name)
        if known not in DType.__members__ or (known == "STRING" and isinstance(engine, OpenVinoEngine)):
            return False
    return True


def ours(value: Any) -> Array:
    """A value of a test as the port wants it: strings are bytes."""
    array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    if array.dtype.kind not in "OSU":
        return array
    strings = np.empty(array.shape, object)
    strings.reshape(-1)[:] = [s if isinstance(s, bytes) else str(s).encode() for s in array.reshape(-1)]
    return strings


def differences(engine: Engine, test: NodeTest, path: Path) -> Iterator[str]:
    """What goes wrong when a test is run; nothing for a test that passes."""
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    model.ir_version = min(model.ir_version, IR_CEILING)
    path.write_bytes(model.SerializeToString())
    try:
        session = engine.load(path, EngineConfig(engine.name))[0]
        for given, wanted in test.data_sets:
            if len(given) != len(session.input_names):
                yield f"the engine kept the inputs {list(session.input_names)} only"
                return
            outputs = session.run(dict(zip(session.input_names, map(ours, given), strict=True)))
            for name, want in zip(session.output_names, map(ours, wanted), strict=True):
                yield from _difference(name, outputs[name], want, test)
    except PortsideError as e:
        yield f"{e.message} [{(e.detail or '')[:300]}]"


def _difference(name: str, got: Array, want: Array, test: NodeTest) -> Iterator[str]:
    if got.dtype != want.dtype or got.shape != want.shape:
        yield f"{name} is {got.dtype}{list(got.shape)}, expected {want.dtype}{list(want.shape)}"
    elif got.dtype == object:
        if not np.array_equal(got, want):
            yield f"{name} holds other strings"
    elif not np.allclose(got, want, rtol=test.rtol, atol=test.atol, equal_nan=got.dtype.kind == "f"):
        close = np.allclose(got, want, rtol=0.01, atol=1 if got.dtype.kind in "iu" else 0.001, equal_nan=True)
        yield f"{name} has {'nearly the same' if close else 'other'} values"


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("name", ENGINES)
def test_nodes(name: str, chunk: int, node_tests: list[NodeTest], tmp_path: Path) -> None:
    engine = ENGINES[name]
    ceiling = opset_ceiling(engine, tmp_path)
    reasons, uncertain = load_skips(name)
    wrong, passed = [], 0
    for test in node_tests[chunk::CHUNKS]:
        if opset_of(test.model) > ceiling or not is_plain(test.model, engine):
            assert test.name not in reasons, f"{test.name} is left out by rule and need not be listed"
            continue
        found = next(differences(engine, test, tmp_path / "model.onnx"), None)
        passed += found is None
        if found is None and test.name in reasons and test.name not in uncertain:
            wrong.append(f"{test.name} passes, but is listed: {reasons[test.name]}")
        elif found is not None and test.name not in reasons:
            wrong.append(f"{test.name}: {found}")
    assert not wrong, "\n".join(wrong)
    assert passed > 150


@pytest.mark.parametrize("name", ENGINES)
def test_the_list_names_existing_tests_only(name: str, node_tests: list[NodeTest]) -> None:
    reasons, _ = load_skips(name)
    assert reasons.keys() <= {t.name for t in node_tests}
    assert all(reasons.values())
