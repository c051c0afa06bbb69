from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from portside.engine.base import Engine
from portside.errors import InvalidSettings
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.evidence import CaseKind, Evidence, Verdict
from portside.model.manifest import encode
from portside.model.processing import Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.optimize.base import Graph
from portside.optimize.normalise import FuseNormalisation
from portside.verify.check import check

ORT = EngineConfig(EngineName.ONNXRUNTIME, Precision.FP32, 1, 1)
Engines = Mapping[EngineName, Engine]


def reasons(evidence: Evidence) -> str:
    return " | ".join(evidence.reasons)


@pytest.mark.parametrize("name", list(EngineName))
def test_a_faithful_candidate_passes_on_every_engine(
    name: EngineName, mlp: Any, subject: Any, engines: Engines
) -> None:
    evidence = check(subject(mlp), mlp.cases(), engines, EngineConfig(name, Precision.FP32, 2, 1))
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert evidence.reasons == ()
    assert evidence.selftest.passed
    assert evidence.real_rows == 20
    assert {row.kind for row in evidence.outputs} == set(CaseKind)
    assert all(row.max_abs <= row.limit for row in evidence.outputs)
    assert evidence.config == str(EngineConfig(name, Precision.FP32, 2, 1))


def test_a_candidate_with_fused_normalisation_passes(cnn: Any, subject: Any, engines: Engines) -> None:
    graph = FuseNormalisation().apply(Graph(cnn.copy(), cnn.signature, cnn.processing))
    given = subject(cnn, graph.proto, signature=graph.signature, processing=graph.processing)
    evidence = check(given, cnn.cases(), engines, ORT)
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert "pictures keep their best class" in evidence.checks["processing"]


def test_evidence_survives_json(cnn: Any, subject: Any, engines: Engines) -> None:
    evidence = check(subject(cnn), cnn.cases(), engines, ORT)
    assert msgspec.json.decode(encode(evidence), type=Evidence) == evidence


def test_the_same_check_twice_says_the_same(cnn: Any, subject: Any, engines: Engines) -> None:
    given, cases = subject(cnn), cnn.cases()
    assert check(given, cases, engines, ORT) == check(given, cases, engines, ORT)


# Planted faults. Each is something that real converters and optimisers have got wrong.


def weight(proto: onnx.ModelProto, name: str, change: Callable[[Any], Any]) -> onnx.ModelProto:
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            changed = np.ascontiguousarray(change(numpy_helper.to_array(tensor)), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(changed, name))
    return proto


def behind(proto: onnx.ModelProto, output: str, op: str, *constants: Any, **attributes: Any) -> onnx.ModelProto:
    """Puts a node behind an output."""
    for node in proto.graph.node:
        for names in (node.output, node.input):
            for index, name in enumerate(names):
                if name == output:
                    names[index] = "inner"
    names = []
    for index, constant in enumerate(constants):
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(constant), f"constant{index}"))
        names.append(f"constant{index}")
    proto.graph.node.append(helper.make_node(op, ["inner", *names], [output], **attributes))
    return proto


def nan_where_large(proto: onnx.ModelProto) -> onnx.ModelProto:
    return behind(proto, "features", "Log")


def wrong_name(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = "score"
    return proto


def dropped(proto: onnx.ModelProto) -> onnx.ModelProto:
    del proto.graph.output[1]
    return proto


def fixed_batch(proto: onnx.ModelProto) -> onnx.ModelProto:
    for port in (*proto.graph.input, *proto.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    return proto


def wrong_batch_axis(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return behind(proto, "scores", "Transpose", perm=[1, 0])


def mixed_rows(proto: onnx.ModelProto) -> onnx.ModelProto:
    """What batch normalisation does that was left in training mode."""
    proto.graph.node.append(helper.make_node("ReduceMean", ["inner", "axes"], ["mean"], keepdims=1))
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray([0], np.int64), "axes"))
    behind(proto, "scores", "Identity")
    proto.graph.node.pop()
    proto.graph.node.append(helper.make_node("Sub", ["inner", "mean"], ["scores"]))
    nodes = {node.output[0]: node for node in proto.graph.node}
    order = [n for n in proto.graph.node if n.output[0] not in {"mean", "scores"}]
    del proto.graph.node[:]
    proto.graph.node.extend([*order, nodes["mean"], nodes["scores"]])
    return proto


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "swapped channels": (lambda p: weight(p, "c1", lambda w: w[:, ::-1]), "off by up to"),
    "transposed weight": (lambda p: weight(p, "d1", lambda w: w.T), "off by up to"),
    "one weight scaled": (lambda p: weight(p, "c2", lambda w: w * 1.5), "off by up to"),
    "one element of a weight lost": (
        lambda p: weight(p, "d2", lambda w: w * (np.arange(80) != 33).reshape(8, 10)),
        "off",
    ),
    "a bias forgotten": (lambda p: weight(p, "bias", lambda w: w * 0), "off by up to"),
    "NaN in one output": (nan_where_large, "output 'features' on real inputs has NaN"),
    "dropped output": (dropped, "lacks the output 'features'"),
    "wrong output name": (wrong_name, "lacks the output 'scores' of its signature; it has 'score' instead"),
    "wrong batch axis": (wrong_batch_axis, "float32[10, 8]"),
    "batch of one only": (fixed_batch, "cannot be run"),
    "rows of a batch mixed": (mixed_rows, "mixes the rows of a batch"),
    "output cut off": (lambda p: behind(p, "scores", "Mul", np.float32(0)), "'scores' is the same for every input"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught_and_blamed_on_the_passes(
    fault: str, cnn: Any, subject: Any, engines: Engines
) -> None:
    plant, word = FAULTS[fault]
    evidence = check(subject(cnn, plant(cnn.copy())), cnn.cases(), engines, ORT)
    assert evidence.verdict is Verdict.FAIL
    assert word in reasons(evidence)
    assert "the graph passes broke it" in reasons(evidence) or "is right" in reasons(evidence)


def test_a_wrong_normalisation_in_the_graph_is_caught(cnn: Any, subject: Any, engines: Engines) -> None:
    image = msgspec.structs.replace(cnn.processing.image, mean=(0.485, 0.456, 0.406))
    graph = FuseNormalisation().apply(
        Graph(cnn.copy(), cnn.signature, Processing(image, cnn.processing.classification))
    )
    given = subject(cnn, graph.proto, signature=graph.signature, processing=graph.processing)
    evidence = check(given, cnn.cases(), engines, ORT)
    assert evidence.verdict is Verdict.FAIL
    assert "off by up to" in reasons(evidence)


def test_a_wrong_normalisation_outside_the_graph_is_caught(cnn: Any, subject: Any, engines: Engines) -> None:
    image = msgspec.structs.replace(cnn.processing.image, mean=cnn.processing.image.mean[::-1])
    given = subject(cnn, processing=Processing(image, cnn.processing.classification))
    assert check(given, cnn.cases(), engines, ORT).verdict is Verdict.FAIL


def test_a_wrong_conversion_is_blamed_on_the_conversion(cnn: Any, subject: Any, engines: Engines) -> None:
    broken = weight(cnn.copy(), "d1", lambda w: w.T)
    evidence = check(subject(cnn, broken, converted=broken), cnn.cases(), engines, ORT)
    assert evidence.verdict is Verdict.FAIL
    assert "the conversion broke it" in reasons(evidence)
    assert "beyond the limit" in evidence.checks["conversion"]


def test_a_file_that_no_engine_loads_fails_with_a_reason(cnn: Any, subject: Any, engines: Engines) -> None:
    given = subject(cnn)
    given.candidate.path.write_bytes(b"not a graph")
    evidence = check(given, cnn.cases(), engines, ORT)
    assert evidence.verdict is Verdict.FAIL
    assert "cannot be loaded" in reasons(evidence)
    assert not evidence.selftest.passed


def test_without_real_samples_nothing_is_decided(cnn: Any, mlp: Any, subject: Any, engines: Engines) -> None:
    for net in (cnn, mlp):
        empty = type(net.samples)()
        evidence = check(subject(net), net.cases(empty), engines, ORT)
        assert evidence.verdict is Verdict.INCONCLUSIVE
        assert "give real samples" in reasons(evidence)
        assert evidence.real_rows == 0
        assert evidence.selftest.passed


def test_without_the_original_nothing_is_decided(mlp: Any, subject: Any, engines: Engines) -> None:
    cases = [msgspec.structs.replace(case, expected=None) for case in mlp.cases()]
    evidence = check(subject(mlp), cases, engines, ORT)
    assert evidence.verdict is Verdict.INCONCLUSIVE
    assert "nobody asked the original" in reasons(evidence)


def test_a_verifier_that_cannot_see_the_spoiled_copy_decides_nothing(subject: Any, engines: Engines, mlp: Any) -> None:
    """The last weights are zero: whatever else is scaled, the answers stay."""
    silent = mlp.copy()
    weight(silent, "w2", lambda w: w * 0)
    behind(silent, "y", "Add", np.float32([1, 2, 3]))
    net = dataclasses.replace(mlp, proto=silent)
    evidence = check(subject(net), net.cases(), engines, ORT)
    assert evidence.verdict is Verdict.INCONCLUSIVE
    assert "proves nothing" in reasons(evidence)


def test_a_graph_without_weights_is_spoiled_at_its_output(mlp: Any, subject: Any, engines: Engines) -> None:
    port = onnx.helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"])],
        "net",
        [port("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [port("y", onnx.TensorProto.FLOAT, ["batch", 4])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    signature = Signature(mlp.signature.inputs, (TensorSpec("y", DType.FLOAT32, ("batch", 4)),), "batch")
    net = type(mlp)(proto, signature, Processing(), mlp.samples)
    evidence = check(subject(net), net.cases(), engines, ORT)
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert "the graph has no weights" in evidence.selftest.corrupted


def test_a_graph_with_chance_in_it_fails(mlp: Any, subject: Any, engines: Engines) -> None:
    noisy = mlp.copy()
    noisy.graph.node.append(helper.make_node("RandomNormalLike", ["y"], ["chance"], scale=0.1))
    behind(noisy, "y", "Identity")
    noisy.graph.node.pop()
    for node in noisy.graph.node:
        if node.op_type == "RandomNormalLike":
            node.input[0] = "inner"
    noisy.graph.node.append(helper.make_node("Add", ["inner", "chance"], ["y"]))
    evidence = check(subject(mlp, noisy), mlp.cases(), engines, ORT)
    assert evidence.verdict is Verdict.FAIL
    assert "between two runs" in reasons(evidence)


def test_reduced_precision_is_judged_by_its_own_rule(cnn: Any, subject: Any, engines: Engines) -> None:
    if Precision.BF16 not in engines[EngineName.OPENVINO].precisions():
        pytest.skip("this processor has no bfloat16")
    reduced = EngineConfig(EngineName.OPENVINO, Precision.BF16, 1, 1)
    evidence = check(subject(cnn), cnn.cases(), engines, reduced)
    real = next(row for row in evidence.outputs if row.kind is CaseKind.REAL and row.name == "scores")
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert real.max_abs > 1e-4, "it was not run in bfloat16"
    assert evidence.selftest.passed


@pytest.mark.parametrize("fault", ["swapped channels", "transposed weight", "one weight scaled"])
def test_reduced_precision_is_no_excuse(fault: str, cnn: Any, subject: Any, engines: Engines) -> None:
    if Precision.BF16 not in engines[EngineName.OPENVINO].precisions():
        pytest.skip("this processor has no bfloat16")
    broken = FAULTS[fault][0](cnn.copy())
    reduced = EngineConfig(EngineName.OPENVINO, Precision.BF16, 1, 1)
    assert check(subject(cnn, broken), cnn.cases(), engines, reduced).verdict is Verdict.FAIL


def test_one_engine_alone_is_enough(mlp: Any, subject: Any, engines: Engines) -> None:
    for name in EngineName:
        alone = {name: engines[name]}
        evidence = check(subject(mlp), mlp.cases(), alone, EngineConfig(name, Precision.FP32, 1, 1))
        assert evidence.verdict is Verdict.PASS, evidence.reasons


def test_what_cannot_be_checked_is_refused(mlp: Any, subject: Any, engines: Engines) -> None:
    with pytest.raises(InvalidSettings, match="0 cases"):
        check(subject(mlp), [], engines, ORT)
    alone = {EngineName.OPENVINO: engines[EngineName.OPENVINO]}
    with pytest.raises(InvalidSettings, match="'onnxruntime' is not there"):
        check(subject(mlp), mlp.cases(), alone, ORT)


# Other kinds of networks.


def small(
    mlp: Any,
    nodes: list[Any],
    inputs: list[TensorSpec],
    outputs: list[TensorSpec],
    arrays: dict[str, Any],
    **weights: Any,
) -> Any:
    kinds = {DType.FLOAT32: onnx.TensorProto.FLOAT, DType.INT64: onnx.TensorProto.INT64}
    ports = [
        [helper.make_tensor_value_info(s.name, kinds[s.dtype], s.shape) for s in specs] for specs in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()]
    proto = helper.make_model(
        helper.make_graph(nodes, "net", *ports, tensors), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    batch = "batch" if inputs[0].shape[:1] == ("batch",) else None
    signature = Signature(tuple(inputs), tuple(outputs), batch)
    return dataclasses.replace(mlp, proto=proto, signature=signature, samples=type(mlp.samples)(arrays=arrays))


@pytest.fixture
def words(mlp: Any) -> Any:
    """Numbers of words in, the best class and its scores out; any length."""
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("ReduceMean", ["e", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
    ]
    return small(
        mlp,
        nodes,
        [TensorSpec("ids", DType.INT64, ("batch", "length"))],
        [TensorSpec("scores", DType.FLOAT32, ("batch", 5)), TensorSpec("best", DType.INT64, ("batch",))],
        {"ids": rng.integers(0, 90, (12, 7))},
        table=rng.normal(size=(100, 8)).astype(np.float32),
        axes=np.asarray([1]),
        w=rng.normal(size=(8, 5)).astype(np.float32),
    )


@pytest.mark.parametrize("name", list(EngineName))
def test_whole_numbers_in_and_out(name: EngineName, words: Any, subject: Any, engines: Engines) -> None:
    evidence = check(subject(words), words.cases(), engines, EngineConfig(name, Precision.FP32, 1, 1))
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert {row.name for row in evidence.outputs} == {"scores", "best"}
    assert all(row.top1 is None for row in evidence.outputs if row.name == "best")


def test_a_wrong_whole_number_is_caught(words: Any, subject: Any, engines: Engines) -> None:
    worst = words.copy()
    worst.graph.node[-1].op_type = "ArgMin"
    evidence = check(subject(words, worst), words.cases(), engines, ORT)
    assert evidence.verdict is Verdict.FAIL
    assert "output 'best' on real inputs: " in reasons(evidence)
    assert "of the elements differ" in reasons(evidence)


def test_a_network_for_pictures_of_any_size(mlp: Any, subject: Any, engines: Engines) -> None:
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["t"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["t"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    free = small(
        mlp,
        nodes,
        [TensorSpec("x", DType.FLOAT32, ("batch", 2, "height", "width"))],
        [TensorSpec("y", DType.FLOAT32, ("batch", 6))],
        {"x": rng.normal(size=(4, 2, 10, 12)).astype(np.float32)},
        c=rng.normal(size=(6, 2, 3, 3)).astype(np.float32),
    )
    cases = free.cases()
    assert check(subject(free), cases, engines, ORT).verdict is Verdict.PASS
    turned = free.copy()
    turned.graph.node[0].input[0] = "turned"
    turned.graph.node.insert(0, helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 1, 3, 2]))
    assert check(subject(free, turned), cases, engines, ORT).verdict is Verdict.FAIL


def test_a_network_without_a_batch(mlp: Any, subject: Any, engines: Engines) -> None:
    rng = np.random.default_rng(4)
    single = small(
        mlp,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [TensorSpec("x", DType.FLOAT32, (4,))],
        [TensorSpec("y", DType.FLOAT32, (3,))],
        {"x": rng.normal(size=(6, 4)).astype(np.float32)},
        w=rng.normal(size=(4, 3)).astype(np.float32),
    )
    evidence = check(subject(single), single.cases(), engines, ORT)
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert evidence.real_rows == 6
    assert evidence.checks["batching"] == "not checked: no case has several rows"


def test_nan_where_the_original_has_nan_is_right(mlp: Any, subject: Any, engines: Engines) -> None:
    logs = small(
        mlp,
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Log", ["h"], ["y"])],
        [TensorSpec("x", DType.FLOAT32, ("batch", 4))],
        [TensorSpec("y", DType.FLOAT32, ("batch", 3))],
        {"x": np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)},
        w=np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32),
    )
    with np.errstate(all="ignore"):
        cases = logs.cases()
    evidence = check(subject(logs), cases, engines, ORT)
    assert evidence.verdict is Verdict.PASS, evidence.reasons
    assert msgspec.json.decode(encode(evidence), type=Evidence) == evidence
