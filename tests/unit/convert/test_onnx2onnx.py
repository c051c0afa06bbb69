"""ONNX files as they come: odd names, odd batches, weights elsewhere, newer than the engines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from portside.convert.onnx2onnx import Onnx2Onnx
from portside.errors import ConversionFailed, InvalidSettings, MissingExtra, PortsideError, SourceNotRecognised
from portside.model.source import Converted, Source, parse_input

Graph = Callable[..., Path]

DOUBLE = "net (float[N,4] x) => (float[N,4] y) { y = Add(x, x) }"


def convert(path: Path, folder: Path, *inputs: str, **more: Any) -> Converted:
    target = folder / "out"
    target.mkdir(exist_ok=True)
    return Onnx2Onnx().convert(Source(str(path), inputs=tuple(map(parse_input, inputs)), **more), target)


def refused(kind: type[PortsideError], path: Path, folder: Path, *inputs: str, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        convert(path, folder, *inputs, **more)
    assert str(folder) not in caught.value.message, "a message shows no paths"
    assert not list((folder / "out").iterdir()), "nothing half-done is left"
    return caught.value.message


def specs(converted: Converted) -> list[str]:
    return [str(s) for s in (*converted.signature.inputs, *converted.signature.outputs)]


def test_colon_zero_is_taken_off_names(graph: Graph, tmp_path: Path) -> None:
    def rename(model: Any) -> None:
        model.graph.input[0].name = "serving_default_x:0"
        model.graph.node[0].input[:] = ["serving_default_x:0"] * 2
        model.graph.output[0].name = "StatefulPartitionedCall:0"
        model.graph.node[0].output[:] = ["StatefulPartitionedCall:0"]

    path = graph(DOUBLE, change=rename)
    converted = convert(path, tmp_path)
    assert specs(converted) == ["serving_default_x: float32[batch, 4]", "StatefulPartitionedCall: float32[batch, 4]"]
    reference = Onnx2Onnx().reference(Source(str(path)), converted)
    answer = reference.run({"serving_default_x": np.ones((2, 4), np.float32)})
    assert answer["StatefulPartitionedCall"].tolist() == [[2] * 4] * 2


def test_the_only_input_and_the_outputs_can_be_named(graph: Graph, tmp_path: Path) -> None:
    converted = convert(graph(DOUBLE), tmp_path, "numbers=float32[batch,4]", output_names=("twice",))
    assert specs(converted) == ["numbers: float32[batch, 4]", "twice: float32[batch, 4]"]


def test_weights_among_the_inputs_are_not_inputs(graph: Graph, tmp_path: Path) -> None:
    path = graph("net (float[N,4] x, float[4] w) => (float[N,4] y) <float[4] w = {1,2,3,4}> { y = Mul(x, w) }")
    model = onnx.load(str(path))
    assert "w" in {i.name for i in model.graph.input}
    converted = convert(path, tmp_path)
    assert [s.name for s in converted.signature.inputs] == ["x"]
    written = onnx.load(str(tmp_path / "out" / converted.graph))
    assert [i.name for i in written.graph.input] == ["x"]


def test_unnamed_leading_dimensions_are_the_batch(graph: Graph, tmp_path: Path) -> None:
    def forget(model: Any) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].ClearField("dim_param")
        model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = -1

    path = graph("net (float[N,4] a, float[N,4] b) => (float[N,4] y) { y = Add(a, b) }", change=forget)
    converted = convert(path, tmp_path)
    assert specs(converted) == ["a: float32[batch, 4]", "b: float32[batch, 4]", "y: float32[batch, 4]"]


def test_a_fixed_batch_stays_fixed_unless_asked(graph: Graph, tmp_path: Path) -> None:
    converted = convert(graph("net (float[1,4] x) => (float[1,4] y) { y = Add(x, x) }"), tmp_path)
    assert specs(converted) == ["x: float32[1, 4]", "y: float32[1, 4]"]
    assert converted.signature.batch_dim is None


@pytest.mark.parametrize(
    "body",
    [
        "net (float[1,4] x) => (float[1,2,2] y) <int64[3] s = {1,2,2}> { y = Reshape(x, s) }",
        "net (float[1,4] x) => (float[1,4] y) <int64[1] z = {0}> { m = ReduceSum(x, z)  y = Sub(x, m) }",
    ],
    ids=["reshape to one row", "rows are mixed"],
)
def test_a_batch_that_cannot_be_opened_is_refused(graph: Graph, tmp_path: Path, body: str) -> None:
    message = refused(InvalidSettings, graph(body), tmp_path, "x=float32[batch,4]")
    assert "x: float32[1, 4]" in message


def test_rows_that_are_mixed_mean_no_batch_axis(graph: Graph, tmp_path: Path) -> None:
    path = graph("net (float[N,4] x) => (float[N,4] y) { y = CumSum(x, axis) }".replace(
        "{ y", "<int64 axis = {0}> { y"))  # fmt: skip
    assert convert(path, tmp_path).signature.batch_dim is None


def test_time_before_batch_is_no_batch_axis(graph: Graph, tmp_path: Path) -> None:
    path = graph("net (float[time,batch,4] x) => (float[time,batch,4] y) { y = Relu(x) }")
    converted = convert(path, tmp_path)
    assert specs(converted)[0] == "x: float32[time, batch, 4]"
    assert converted.signature.batch_dim is None


def test_custom_operators_convert_but_have_no_reference(graph: Graph, tmp_path: Path) -> None:
    path = graph("net (float[N,4] x) => (float[N,4] y) { y = own.Secret(x) }")
    converted = convert(path, tmp_path)
    assert converted.signature.batch_dim == "batch"
    with pytest.raises(ConversionFailed, match="reference implementation"):
        Onnx2Onnx().reference(Source(str(path)), converted)


def test_output_of_unknown_extent_gets_a_name(graph: Graph, tmp_path: Path) -> None:
    path = graph("net (float[N,4] x) => (int64[2,M] where) { where = NonZero(x) }")
    assert specs(convert(path, tmp_path))[1] == "where: int64[2, where_1]"


@pytest.mark.parametrize(
    ("body", "inputs", "words"),
    [
        (DOUBLE, ("x=float32[batch,5]",), "float32[batch, 4]"),
        (DOUBLE, ("x=int64[batch,4]",), "float32[batch, 4]"),
        (DOUBLE, ("x=float32[batch,4]", "z=float32[batch,4]"), "2 inputs are declared"),
        ("net (float[N] a, float[N] b) => (float[N] y) { y = Add(a, b) }", ("a=float32[N]", "c=float32[N]"), "b: "),
        ("net (float[3,4] x) => (float[3,4] y) { y = Relu(x) }", ("x=float32[batch,4]",), "float32[3, 4]"),
    ],
)
def test_declared_inputs_that_contradict_the_graph(
    graph: Graph, tmp_path: Path, body: str, inputs: tuple[str, ...], words: str
) -> None:
    assert words in refused(InvalidSettings, graph(body), tmp_path, *inputs)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("net () => (float[1] y) { y = Constant<value = float[1] {1}>() }", "no inputs"),
        ("net (seq(float[N]) x) => (float[M] y) { y = ConcatFromSequence<axis = 0>(x) }", "not a plain tensor"),
        ("net (bfloat16[N] x) => (bfloat16[N] y) { y = Relu(x) }", "not a plain tensor"),
        ("net (float[N,4] x) => (float[N,4] y) { y = NoSuchOperator(x) }", "not valid ONNX"),
        ("net (float[N,4] x) => (float[N,4] y) { y = Relu(missing) }", "not valid ONNX"),
    ],
)
def test_graphs_that_cannot_be_served(graph: Graph, tmp_path: Path, body: str, words: str) -> None:
    assert words in refused(ConversionFailed, graph(body), tmp_path)


@pytest.mark.parametrize("content", [b"\x08\x08 then rubbish", b"\x08\x07", b"\x08\x07\x12\x04"])
def test_damaged_files_are_not_recognised(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    assert "net.onnx" in refused(SourceNotRecognised, tmp_path / "net.onnx", tmp_path)


def external(graph: Graph, location: str, length: int = 16) -> Path:
    def move(model: Any) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("float_data")
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
            weight.external_data.add(key=key, value=value)

    return graph("net (float[N,4] x) => (float[N,4] y) <float[4] w = {1,2,3,4}> { y = Mul(x, w) }", change=move)


@pytest.mark.parametrize("location", ["../secret.bin", "{absolute}", "link.bin", "inner/../../secret.bin"])
def test_weights_outside_the_folder_are_never_read(graph: Graph, tmp_path: Path, location: str) -> None:
    secret = tmp_path.parent / "secret.bin"
    secret.write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "link.bin").symlink_to(secret)
    message = refused(ConversionFailed, external(graph, location.format(absolute=secret)), tmp_path)
    assert "outside the folder" in message


def test_weights_that_are_missing_or_short(graph: Graph, tmp_path: Path) -> None:
    path = external(graph, "weights.bin")
    assert "'weights.bin'" in refused(ConversionFailed, path, tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"\0" * 7)
    assert "cannot be read" in refused(ConversionFailed, path, tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.full(4, 3, np.float32).tobytes())
    written = onnx.load(str(tmp_path / "out" / convert(path, tmp_path).graph), load_external_data=False)
    assert onnx.numpy_helper.to_array(written.graph.initializer[0]).tolist() == [3, 3, 3, 3]


def test_newer_models_are_brought_down_or_refused(graph: Graph, tmp_path: Path) -> None:
    converted = convert(graph(DOUBLE, opset=22, ir_version=12), tmp_path)
    assert (converted.ir_version, converted.opset) == (10, 20)
    (tmp_path / "out" / converted.graph).unlink()
    newer = "net (float[N,4] x) => (float[N,4] y) { y = Swish(x) }"
    assert "opset 24" in refused(ConversionFailed, graph(newer, opset=24, ir_version=11), tmp_path)


def test_without_onnx_the_extra_is_named(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = graph(DOUBLE)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"portside\[onnx\]"):
        convert(path, tmp_path)


def test_full_disk_is_reported(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = graph(DOUBLE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").mkdir()  # the graph cannot be written there
    with pytest.raises(PortsideError, match="cannot be written"):
        convert(path, tmp_path)


def test_large_weights_go_into_a_file_of_their_own(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    def enlarge(model: Any) -> None:
        weight = np.arange(4096, dtype=np.float32).reshape(4, 1024)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))

    path = graph("net (float[N,4] x) => (float[N,1024] y) { y = MatMul(x, w) }", change=enlarge)
    monkeypatch.setattr("portside.convert.graph._EMBED_BYTES", 4096)
    converted = convert(path, tmp_path)
    assert converted.files == ("model.onnx", "model.onnx.data")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(converted.files)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / converted.graph))
    assert session.run(None, {"x": np.eye(4, dtype=np.float32)})[0][3, 1023] == 4095


def test_shapes_of_large_models_are_still_inferred(graph: Graph, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("portside.convert.graph._LIGHT_BYTES", 0)

    def forget(model: Any) -> None:
        model.graph.output[0].type.tensor_type.ClearField("shape")
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 7), np.float32), "w"))

    path = graph("net (float[N,4] x) => (float[N,9] y) { y = MatMul(x, w) }", change=forget)
    assert specs(convert(path, tmp_path))[1] == "y: float32[batch, 7]"
