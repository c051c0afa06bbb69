"""One suite over every engine: what a session promises to its caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from portside.engine.base import Engine, Session
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.errors import EngineFailed, InvalidTensor, Unsupported
from portside.model.artifact import Format
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.tensors import DType

Save = Callable[..., Path]
FLOAT = onnx.TensorProto.FLOAT
NUMBERS = [d for d in DType if d is not DType.STRING]


def config(engine: Engine, precision: Precision = Precision.FP32, threads: int = 1, instances: int = 1) -> EngineConfig:
    return EngineConfig(engine.name, precision, threads, instances)


def open_one(engine: Engine, path: Path) -> Session:
    return engine.load(path, config(engine))[0]


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def test_names_and_answers(engine: Engine, mlp: Path) -> None:
    session = open_one(engine, mlp)
    assert tuple(session.input_names) == ("x",)
    assert tuple(session.output_names) == ("y",)
    x = rows(5)
    (want,) = ReferenceEvaluator(onnx.load(mlp)).run(None, {"x": x})
    np.testing.assert_allclose(session.run({"x": x})["y"], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda d: d.value)
def test_every_element_type_goes_through(engine: Engine, save: Save, dtype: DType) -> None:
    kind = helper.np_dtype_to_tensor_dtype(dtype.numpy)
    path = save([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, ["n", 3])], [("y", kind, ["n", 3])])
    x = np.array([[0, 1, 2], [1, 0, 100]]).astype(dtype.numpy)
    y = open_one(engine, path).run({"x": x})["y"]
    assert y.dtype == dtype.numpy
    np.testing.assert_array_equal(y, x)


def test_the_batch_may_change_from_run_to_run(engine: Engine, mlp: Path) -> None:
    session = open_one(engine, mlp)
    x = rows(9)
    whole = session.run({"x": x})["y"]
    for start, stop in ((0, 1), (0, 9), (3, 5), (8, 9), (0, 1), (2, 9)):
        part = session.run({"x": x[start:stop]})["y"]
        np.testing.assert_allclose(part, whole[start:stop], rtol=1e-5, atol=1e-6)


def test_inputs_may_be_read_only_or_strided_and_are_not_changed(engine: Engine, mlp: Path) -> None:
    session = open_one(engine, mlp)
    x = rows(3)
    want = session.run({"x": x})["y"]
    frozen = np.frombuffer(x.tobytes(), np.float32).reshape(3, 4)
    assert not frozen.flags.writeable
    np.testing.assert_array_equal(session.run({"x": frozen})["y"], want)
    np.testing.assert_array_equal(session.run({"x": np.asfortranarray(x)})["y"], want)
    np.testing.assert_array_equal(session.run({"x": np.repeat(x, 2, axis=1)[:, ::2]})["y"], want)
    np.testing.assert_array_equal(x, rows(3))


def test_an_operator_that_could_work_in_place_leaves_the_input_alone(engine: Engine, save: Save) -> None:
    path = save(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["x"], ["z"])],
        [("x", FLOAT, ["n", 64, 64])],
        [("y", FLOAT, ["n", 64, 64]), ("z", FLOAT, ["n", 64, 64])],
    )
    x = np.full((2, 64, 64), -1, np.float32)
    outputs = open_one(engine, path).run({"x": x})
    assert list(outputs) == ["y", "z"]
    assert (x == -1).all()
    assert (outputs["y"] == 0).all()
    assert (outputs["z"] == -1).all()
    outputs["z"][...] = 5
    assert (x == -1).all()


def test_outputs_belong_to_the_caller(engine: Engine, mlp: Path) -> None:
    session = open_one(engine, mlp)
    first = session.run({"x": rows(2, seed=1)})["y"]
    kept = first.copy()
    for seed in range(2, 6):
        session.run({"x": rows(2, seed=seed)})
    np.testing.assert_array_equal(first, kept)
    first[...] = 0
    np.testing.assert_array_equal(session.run({"x": rows(2, seed=1)})["y"], kept)
    del session
    first += 1
    assert (first == 1).all()


@pytest.mark.parametrize(("threads", "instances"), [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2)])
def test_sessions_run_at_the_same_time(engine: Engine, mlp: Path, threads: int, instances: int) -> None:
    sessions = engine.load(mlp, config(engine, threads=threads, instances=instances))
    assert len(sessions) == instances
    lone = open_one(engine, mlp)
    want = [lone.run({"x": rows(1 + i % 3, seed=i)})["y"] for i in range(instances)]
    wrong: list[int] = []

    def drive(index: int) -> None:
        for _ in range(100):
            got = sessions[index].run({"x": rows(1 + index % 3, seed=index)})["y"]
            if not np.allclose(got, want[index], rtol=1e-5, atol=1e-6):
                wrong.append(index)

    workers = [threading.Thread(target=drive, args=(i,)) for i in range(instances)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert not wrong


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": np.zeros((1, 5), np.float32)}, "expected float32"),
        ({"x": np.zeros(4, np.float32)}, "shape"),
        ({"x": np.zeros((1, 4), np.float64)}, "float64"),
        ({"z": np.zeros((1, 4), np.float32)}, "unexpected input 'z'"),
        ({"x": np.zeros((1, 4), np.float32), "z": np.zeros(1)}, "unexpected input 'z'"),
        ({}, "missing input 'x'"),
        ({"x": np.array([[b"a", b"b", b"c", b"d"]], object)}, "string"),
    ],
)
def test_a_bad_request_is_refused_and_the_next_is_answered(
    engine: Engine, mlp: Path, inputs: dict[str, np.ndarray], words: str
) -> None:
    session = open_one(engine, mlp)
    want = session.run({"x": rows(1)})["y"]
    with pytest.raises(InvalidTensor, match=words):
        session.run(inputs)
    np.testing.assert_array_equal(session.run({"x": rows(1)})["y"], want)


@pytest.mark.parametrize(("threads", "instances"), [(1, 1), (2, 1), (1, 2)])
def test_a_failed_run_never_answers_with_an_older_result(
    engine: Engine, save: Save, threads: int, instances: int
) -> None:
    path = save(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        [("a", FLOAT, ["n", "k"]), ("b", FLOAT, ["m", "p"])],
        [("y", FLOAT, ["n", "p"])],
    )
    for session in engine.load(path, config(engine, threads=threads, instances=instances)):
        for _ in range(3):
            y = session.run({"a": np.ones((2, 3), np.float32), "b": np.ones((3, 5), np.float32)})["y"]
            assert (y == 3).all()
            with pytest.raises(InvalidTensor):
                session.run({"a": np.ones((2, 3), np.float32), "b": np.ones((4, 5), np.float32)})


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
@pytest.mark.parametrize("instances", [1, 2])
def test_a_row_of_another_length_than_the_weights(engine: Engine, save: Save, operator: str, instances: int) -> None:
    path = save(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        [("x", FLOAT, ["n", "k"])],
        [("y", FLOAT, ["n", 3])],
        w=np.ones((4, 3), np.float32),
    )
    for session in engine.load(path, config(engine, instances=instances)):
        for rows_given, length in ((1, 4), (2, 5), (2, 4), (2, 3), (7, 4), (2, 5)):
            x = np.ones((rows_given, length), np.float32)
            if length == 4:
                assert session.run({"x": x})["y"].tolist() == [[4, 4, 4]] * rows_given
            else:
                with pytest.raises(InvalidTensor):
                    session.run({"x": x})


def test_an_input_that_the_graph_ignores_is_still_an_input(engine: Engine, save: Save) -> None:
    path = save(
        [helper.make_node("Relu", ["x"], ["y"])],
        [("x", FLOAT, ["n"]), ("unused", onnx.TensorProto.INT64, ["n"])],
        [("y", FLOAT, ["n"])],
    )
    session = open_one(engine, path)
    assert tuple(session.input_names) == ("x", "unused")
    assert session.run({"x": np.ones(2, np.float32), "unused": np.ones(2, np.int64)})["y"].tolist() == [1, 1]


def test_scalars_and_empty_arrays(engine: Engine, save: Save) -> None:
    path = save(
        [helper.make_node("Mul", ["x", "s"], ["y"])], [("x", FLOAT, ["n"]), ("s", FLOAT, [])], [("y", FLOAT, ["n"])]
    )
    session = open_one(engine, path)
    scale = np.array(3, np.float32)
    assert session.run({"x": np.ones(2, np.float32), "s": scale})["y"].tolist() == [3, 3]
    assert session.run({"x": np.ones(0, np.float32), "s": scale})["y"].shape == (0,)
    assert session.run({"x": np.ones(1, np.float32), "s": scale})["y"].tolist() == [3]


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04..", b"\x08\x0a\x12\x07"])
def test_a_file_that_is_no_model(engine: Engine, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineFailed, match=r"cannot load 'model\.onnx'") as caught:
        engine.load(path, config(engine))
    assert str(tmp_path) not in caught.value.message


def test_a_truncated_model(engine: Engine, mlp: Path) -> None:
    mlp.write_bytes(mlp.read_bytes()[:-100])
    with pytest.raises(EngineFailed, match="an ONNX graph"):
        engine.load(mlp, config(engine))


def test_a_missing_file(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="unreadable"):
        engine.load(tmp_path / "gone.onnx", config(engine))


def test_an_operator_that_nobody_knows(engine: Engine, tmp_path: Path) -> None:
    value, out = (helper.make_tensor_value_info(n, FLOAT, [1]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Frobnicate", ["x"], ["y"], domain="example")], "g", [value], [out])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "model.onnx")
    with pytest.raises(EngineFailed, match="cannot load"):
        engine.load(tmp_path / "model.onnx", config(engine))


def test_what_is_not_a_tensor_is_unsupported(engine: Engine, save: Save) -> None:
    kind = onnx.TensorProto.BFLOAT16
    path = save([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, ["n"])], [("y", kind, ["n"])])
    with pytest.raises(Unsupported, match="'x'"):
        engine.load(path, config(engine))


def test_weights_in_a_second_file(engine: Engine, mlp: Path, tmp_path: Path) -> None:
    want = open_one(engine, mlp).run({"x": rows(2)})["y"]
    path = tmp_path / "split.onnx"
    onnx.save(onnx.load(mlp), path, save_as_external_data=True, location="split.onnx.data", size_threshold=0)
    np.testing.assert_allclose(open_one(engine, path).run({"x": rows(2)})["y"], want, rtol=1e-6)
    (tmp_path / "split.onnx.data").unlink()
    with pytest.raises(EngineFailed):
        engine.load(path, config(engine))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_instances_share_weights_and_dropping_them_frees(
    engine: Engine, save: Save, request: pytest.FixtureRequest
) -> None:
    side, megabyte = 3072, 2**20
    # each instance has one for any number of rows and one for a single row: seven copies are within the bound
    copies = 8 if request.node.callspec.params["engine"] == "openvino" else 1
    weight = np.ones((side, side), np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save([node], [("x", FLOAT, ["n", side])], [("y", FLOAT, ["n", side])], w=weight)
    open_one(engine, path)
    before = resident_bytes()
    for _ in range(4):
        sessions = engine.load(path, config(engine, instances=4))
        for session in sessions:
            session.run({"x": np.ones((1, side), np.float32)})
        shared = resident_bytes() - before
        del sessions, session
    freed = resident_bytes() - before
    assert shared < (2 + copies) * weight.nbytes + 20 * megabyte
    assert freed < 2 * weight.nbytes


def test_one_row_and_many_take_turns_in_one_session(engine: Engine, mlp: Path) -> None:
    rows = np.random.default_rng(3).normal(size=(6, 4)).astype(np.float32)
    (session,) = engine.load(mlp, config(engine))
    whole = session.run({"x": rows})["y"]
    for start, stop in ((0, 1), (1, 4), (4, 5), (5, 6), (0, 6), (2, 3), (2, 5)):
        part = session.run({"x": rows[start:stop]})["y"]
        assert part.shape == (stop - start, 3)
        np.testing.assert_allclose(part, whole[start:stop], atol=1e-6)


def test_float32_is_always_possible_and_exact(engine: Engine, save: Save) -> None:
    assert Precision.FP32 in engine.precisions()
    # 1 + 2^-12 and 1 are the same number in bfloat16.
    weight = np.full((64, 64), 1 + 2**-12, np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save([node], [("x", FLOAT, ["n", 64])], [("y", FLOAT, ["n", 64])], w=weight)
    x = np.zeros((8, 64), np.float32)
    x[:, 0] = 1
    y = open_one(engine, path).run({"x": x})["y"]
    np.testing.assert_array_equal(y, np.full((8, 64), 1 + 2**-12, np.float32))


def test_both_engines_at_once_in_one_process(mlp: Path) -> None:
    engines: list[Engine] = [OnnxRuntimeEngine(), OpenVinoEngine()]
    sessions = [s for e in engines for s in e.load(mlp, config(e, threads=2))]
    want = sessions[0].run({"x": rows(4)})["y"]
    wrong: list[float] = []

    def drive(session: Session) -> None:
        for _ in range(200):
            error = float(np.abs(session.run({"x": rows(4)})["y"] - want).max())
            if error > 1e-5:
                wrong.append(error)

    workers = [threading.Thread(target=drive, args=(s,)) for s in sessions]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert not wrong


def test_who_they_are(engine: Engine) -> None:
    assert engine.name in EngineName
    assert Format.ONNX in engine.formats
    assert engine.version()[0].isdigit()


class TestOnnxRuntime:
    def test_it_has_float32_and_onnx_only(self, mlp: Path) -> None:
        engine = OnnxRuntimeEngine()
        with pytest.raises(Unsupported, match="fp32"):
            engine.load(mlp, config(engine, Precision.BF16))
        with pytest.raises(Unsupported, match="OpenVINO"):
            engine.load(mlp.with_suffix(".xml"), config(engine))

    def test_a_graph_that_is_too_new_is_named_with_its_versions(self, mlp: Path) -> None:
        model = onnx.load(mlp)
        model.ir_version = 99
        onnx.save(model, mlp)
        with pytest.raises(EngineFailed, match="IR version 99 and opset 18"):
            open_one(OnnxRuntimeEngine(), mlp)

    def test_strings_are_utf_8_bytes(self, save: Save) -> None:
        kind = onnx.TensorProto.STRING
        path = save([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, ["n", 2])], [("y", kind, ["n", 2])])
        engine = OnnxRuntimeEngine()
        session = open_one(engine, path)
        x = np.array([["ä€😀".encode(), b""], [b"nul\0 inside", b"plain"]], object)
        y = session.run({"x": x})["y"]
        assert y.dtype == object
        assert y.tolist() == x.tolist()
        with pytest.raises(InvalidTensor, match="UTF-8"):
            session.run({"x": np.array([[b"\xff", b""]], object)})
        with pytest.raises(InvalidTensor, match="bytes"):
            session.run({"x": np.array([[1, 2]], object)})
        assert session.run({"x": x})["y"].tolist() == x.tolist()

    def test_sequences_are_unsupported(self, tmp_path: Path) -> None:
        value = helper.make_tensor_value_info("x", FLOAT, [2])
        out = helper.make_tensor_sequence_value_info("y", FLOAT, None)
        graph = helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["y"])], "g", [value], [out])
        path = tmp_path / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
        with pytest.raises(Unsupported, match="seq"):
            open_one(OnnxRuntimeEngine(), path)


class TestOpenVino:
    def test_bfloat16_follows_the_processor(self, mlp: Path) -> None:
        assert OpenVinoEngine(["avx2"]).precisions() == {Precision.FP32}
        assert OpenVinoEngine(["amx_bf16"]).precisions() == {Precision.FP32, Precision.BF16}
        plain = OpenVinoEngine(["avx2", "avx512f"])
        with pytest.raises(Unsupported, match="bf16"):
            plain.load(mlp, config(plain, Precision.BF16))

    def test_bfloat16_is_near(self, save: Save) -> None:
        engine = OpenVinoEngine()
        if Precision.BF16 not in engine.precisions():
            pytest.skip("this processor has no bfloat16")
        weight = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        path = save([node], [("x", FLOAT, ["n", 256])], [("y", FLOAT, ["n", 256])], w=weight)
        x = np.random.default_rng(1).normal(size=(4, 256)).astype(np.float32)
        exact = open_one(engine, path).run({"x": x})["y"]
        session = engine.load(path, config(engine, Precision.BF16))[0]
        y = session.run({"x": x})["y"]
        assert y.dtype == np.float32
        error = float(np.abs(y - exact).max())
        assert 0 < error < 0.05 * float(np.abs(exact).max())

    def test_it_loads_its_own_format(self, mlp: Path, tmp_path: Path) -> None:
        import openvino

        openvino.save_model(openvino.Core().read_model(mlp), tmp_path / "ir.xml", compress_to_fp16=False)
        engine = OpenVinoEngine()
        assert Format.OPENVINO in engine.formats
        session = open_one(engine, tmp_path / "ir.xml")
        assert tuple(session.input_names) == ("x",)
        want = open_one(engine, mlp).run({"x": rows(2)})["y"]
        np.testing.assert_array_equal(session.run({"x": rows(2)})["y"], want)
        (tmp_path / "bad.xml").write_text("<?xml version='1.0'?><net/>")
        with pytest.raises(EngineFailed, match=r"bad\.xml"):
            open_one(engine, tmp_path / "bad.xml")

    def test_strings_are_left_to_the_other_engine(self, save: Save) -> None:
        kind = onnx.TensorProto.STRING
        path = save([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, ["n"])], [("y", kind, ["n"])])
        with pytest.raises(Unsupported, match="ONNX Runtime"):
            open_one(OpenVinoEngine(), path)

    def test_a_tensor_that_is_input_and_output_keeps_both_names(self, save: Save) -> None:
        path = save(
            [helper.make_node("Identity", ["b"], ["a"]), helper.make_node("Identity", ["b"], ["c"])],
            [("b", FLOAT, ["n"])],
            [("a", FLOAT, ["n"]), ("c", FLOAT, ["n"])],
        )
        session = open_one(OpenVinoEngine(), path)
        assert tuple(session.input_names) == ("b",)
        assert tuple(session.output_names) == ("a", "c")


def test_a_model_s_numpy_weights_survive(tmp_path: Path, engine: Engine) -> None:
    """float16 in and out, as exported half-precision graphs have it."""
    half = onnx.TensorProto.FLOAT16
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float16) * 2, "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", half, ["n", 4])],
        [helper.make_tensor_value_info("y", half, ["n", 4])],
        [weight],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    y = open_one(engine, path).run({"x": np.ones((1, 4), np.float16)})["y"]
    assert y.dtype == np.float16
    assert y.tolist() == [[2, 2, 2, 2]]
