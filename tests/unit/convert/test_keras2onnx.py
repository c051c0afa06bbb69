"""What Keras files and SavedModels may hold, and what is refused."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portside.convert.keras2onnx import Keras2Onnx
from portside.errors import ConversionFailed, InvalidSettings, MissingExtra, PortsideError, SourceNotRecognised
from portside.model.source import Converted, Source, parse_input

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def keras() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras", reason="needs the extra 'tensorflow'")


@pytest.fixture(scope="module")
def tf(keras: Any) -> Any:
    return pytest.importorskip("tensorflow", reason="needs the extra 'tensorflow'")


def save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def convert(path: Path, folder: Path, *inputs: str, **more: Any) -> Converted:
    target = folder / "out"
    target.mkdir(exist_ok=True)
    return Keras2Onnx().convert(Source(str(path), inputs=tuple(map(parse_input, inputs)), **more), target)


def refused(kind: type[PortsideError], path: Path, folder: Path, *inputs: str, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        convert(path, folder, *inputs, **more)
    assert str(folder) not in caught.value.message, "a message shows no paths"
    assert not list((folder / "out").iterdir()), "nothing half-done is left"
    return caught.value.message


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_code_in_a_file_is_never_run(keras: Any, tmp_path: Path, ending: str) -> None:
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2)])
    path = save(keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(2)]), tmp_path / f"net.{ending}")
    assert "Lambda" in refused(ConversionFailed, path, tmp_path)


def test_custom_layers_are_not_loaded(keras: Any, tmp_path: Path) -> None:
    class Doubling(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    path = save(keras.Sequential([keras.Input((3,)), Doubling()]), tmp_path / "net.keras")
    assert "custom layers" in refused(ConversionFailed, path, tmp_path)


def test_weights_alone_are_no_model(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save_weights(tmp_path / "net.weights.h5")
    assert "weights" in refused(SourceNotRecognised, tmp_path / "net.weights.h5", tmp_path)


def test_damaged_files(tmp_path: Path) -> None:
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 64)
    assert "damaged" in refused(SourceNotRecognised, tmp_path / "net.h5", tmp_path)
    (tmp_path / "net.txt").write_text("hello")
    assert "text file" in refused(SourceNotRecognised, tmp_path / "net.txt", tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"rubbish")
    assert "SavedModel 'saved'" in refused(ConversionFailed, tmp_path / "saved", tmp_path)


def test_model_that_was_never_built_is_refused(keras: Any, tmp_path: Path) -> None:
    path = save(keras.Sequential([keras.layers.Dense(2)]), tmp_path / "net.keras")
    assert "keras.Input" in refused(ConversionFailed, path, tmp_path)


def test_dimensions_can_be_named_and_fixed_but_not_opened(keras: Any, tmp_path: Path) -> None:
    layers = [keras.Input((None, None, 3), name="image"), keras.layers.Conv2D(2, 1)]
    path = save(keras.Sequential(layers), tmp_path / "net.keras")
    converted = convert(path, tmp_path, "photo=float32[batch,height,16,3]")
    assert [str(s) for s in converted.signature.inputs] == ["photo: float32[batch, height, 16, 3]"]
    assert [str(s) for s in converted.signature.outputs] == ["output: float32[batch, height, 16, 2]"]
    (tmp_path / "out" / converted.graph).unlink()
    message = refused(InvalidSettings, path, tmp_path, "image=float32[batch,height,width,channels]")
    assert "image: float32[batch, image_1, image_2, 3]" in message


def test_rows_that_are_mixed_mean_no_batch_axis(tf: Any, tmp_path: Path) -> None:
    class Mixing(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def call(self, x: Any) -> Any:
            return {"y": x - tf.reduce_mean(x, 0)}

    module = Mixing()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.call})
    assert convert(tmp_path / "saved", tmp_path).signature.batch_dim is None


def test_unknown_signature_lists_the_known_ones(tf: Any, tmp_path: Path) -> None:
    class Two(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def call(self, x: Any) -> Any:
            return {"y": x}

    module = Two()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"b": module.call, "a": module.call})
    message = refused(InvalidSettings, tmp_path / "saved", tmp_path)
    assert "'serving_default'" in message
    assert "a, b" in message


def test_operators_that_onnx_lacks_are_named(tf: Any, tmp_path: Path) -> None:
    class Text(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def call(self, text: Any) -> Any:
            return {"length": tf.strings.length(text)}

    module = Text()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.call})
    assert "StringLength" in refused(ConversionFailed, tmp_path / "saved", tmp_path)


def test_outputs_that_are_inputs_keep_their_places(tf: Any, tmp_path: Path) -> None:
    import onnxruntime

    class Through(tf.Module):  # type: ignore[misc]
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2], tf.float32, name="x"),
                tf.TensorSpec([None], tf.int64, name="unused"),
            ]
        )
        def call(self, x: Any, unused: Any) -> Any:
            return {"x": x, "again": x, "output_10": x + 1, "output_2": x + 2}

    module = Through()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.call})
    converted = convert(tmp_path / "saved", tmp_path)
    assert [s.name for s in converted.signature.inputs] == ["unused", "x"]
    assert [s.name for s in converted.signature.outputs] == ["again", "output_2", "output_10", "x_output"]
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / converted.graph))
    inputs = {"x": np.ones((3, 2), np.float32), "unused": np.zeros(3, np.int64)}
    assert [a[0, 0] for a in session.run(None, inputs)] == [1, 3, 2, 1]


def test_reference_reports_failures_of_the_network_as_ours(keras: Any, tmp_path: Path) -> None:
    path = save(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), tmp_path / "net.keras")
    reference = Keras2Onnx().reference(Source(str(path)), convert(path, tmp_path))
    reference.set_threads(1)
    with pytest.raises(ConversionFailed, match="original network failed"):
        reference.run({"wrong": np.ones((1, 3), np.float32)})


def test_without_tensorflow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtra, match=r"portside\[tensorflow\]"):
        convert(tmp_path / "saved", tmp_path)
