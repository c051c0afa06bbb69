"""Loads Keras models and TensorFlow SavedModels, without running code that they bring along."""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from portside.convert.interface import declared
from portside.convert.kinds import Kind, look
from portside.convert.shapes import BATCH, with_batch
from portside.errors import ConversionFailed, InvalidSettings, MissingExtra, SourceNotRecognised
from portside.model.source import Source
from portside.model.tensors import Array, Dim, DType, TensorSpec

_CONFIG_BYTES = 64 * 1024 * 1024


class Network(msgspec.Struct, frozen=True):
    """A network that TensorFlow has loaded.

    Attributes:
        framework: name and version, for a person.
        call: tensors in the order of ``inputs`` -> output tensors in order.
        inputs: with the batch dimension named.
        outputs: the network's own names; empty strings where it has none.
        owner: keeps the variables alive that ``call`` uses.
    """

    framework: str
    call: Callable[[Sequence[Any]], Sequence[Any]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    owner: Any


def tensorflow_library() -> Any:  # noqa: ANN401 -- the library is optional
    """The ``tensorflow`` package. Raises MissingExtra."""
    try:
        import tensorflow as tf
    except ImportError as e:
        raise MissingExtra("reading Keras and TensorFlow models", "tensorflow", detail=str(e)) from e
    return tf


def load(source: Source) -> Network:
    """Loads whatever of the two it is.

    Raises:
        MissingExtra: TensorFlow is not installed.
        SourceNotRecognised: it is something else, or weights only.
        InvalidSettings: an unknown signature, or inputs that do not fit.
        ConversionFailed: it cannot be loaded, or not without running code from it.
    """
    path = Path(source.location)
    seen = look(path)
    if seen.kind is Kind.SAVED_MODEL:
        return _saved_model(source)
    if seen.kind in {Kind.KERAS, Kind.HDF5}:
        _refuse_code(path, seen.kind)
        return _keras(source)
    raise SourceNotRecognised(f"{path.name!r} is {seen.what}{f': {seen.hint}' if seen.hint else ''}")


def tensors_of(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> list[Any]:
    """The arrays as tensors, in the order of the inputs."""
    tf = tensorflow_library()
    return [tf.constant(arrays[s.name], dtype=s.dtype.value) for s in inputs]


def tensor_specs(inputs: Iterable[TensorSpec]) -> list[Any]:
    """The inputs as TensorFlow declares them."""
    tf = tensorflow_library()
    return [
        tf.TensorSpec([d if isinstance(d, int) else None for d in s.shape], s.dtype.value, name=f"input_{i}")
        for i, s in enumerate(inputs)
    ]


def set_threads(threads: int) -> None:
    """Sets TensorFlow's threads for the whole process, unless it has started them already."""
    tf = tensorflow_library()
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)


def _keras(source: Source) -> Network:
    tensorflow_library()
    import keras

    try:
        model = keras.models.load_model(source.location, compile=False, safe_mode=True)
    except Exception as e:  # the library raises many kinds
        raise ConversionFailed(
            f"Keras {keras.__version__} cannot load {Path(source.location).name!r} without code of yours (custom "
            "layers are not loaded from a file): save it with model.export(...) as a SavedModel instead",
            detail=str(e),
        ) from e
    if getattr(model, "inputs", None):  # a sequential model that was never built has none
        own = tuple(_spec(x.name, x.shape, x.dtype) for x in model.inputs)
        inputs = declared(with_batch(_shared_batch(own)), source.inputs, may_open=False)
    else:
        raise ConversionFailed(
            f"{Path(source.location).name!r} does not say what its inputs are: build the model (keras.Input as its "
            "first layer) and save it again"
        )

    def call(tensors: Sequence[Any]) -> Sequence[Any]:
        given = keras.tree.pack_sequence_as(_structure(model, "input"), list(tensors))
        packed = given[0] if isinstance(given, list | tuple) and len(given) == 1 else given
        return list(keras.tree.flatten(model(packed, training=False)))

    return Network(f"Keras {keras.__version__}", call, inputs, _keras_outputs(model), model)


def _keras_outputs(model: Any) -> tuple[str, ...]:  # noqa: ANN401 -- a Keras model
    structure = _structure(model, "output")
    if isinstance(structure, dict):
        return tuple(sorted(structure))  # the order in which trees are flattened
    names = getattr(model, "output_names", None)
    return tuple(names) if names and len(names) > 1 and len(names) == len(model.outputs) else ("",) * len(model.outputs)


def _structure(model: Any, which: str) -> Any:  # noqa: ANN401 -- a Keras model, nested tensors
    """How inputs or outputs are nested, which sequential models cannot say."""
    try:
        return getattr(model, which)
    except (AttributeError, ValueError):
        return list(getattr(model, f"{which}s"))


def _saved_model(source: Source) -> Network:
    tf = tensorflow_library()
    name = Path(source.location).name
    try:
        model = tf.saved_model.load(source.location)
    except Exception as e:  # the library raises many kinds
        raise ConversionFailed(
            f"TensorFlow {tf.__version__} cannot load the SavedModel {name!r}: it is incomplete or too old; save it "
            "again with this version",
            detail=str(e),
        ) from e
    known = sorted(model.signatures)
    if source.signature_name not in known:
        raise InvalidSettings(
            f"the SavedModel {name!r} has no signature {source.signature_name!r}; it has {', '.join(known) or 'none'}"
            f"{': choose one of them (--signature)' if known else ': save it with signatures'}"
        )
    function = model.signatures[source.signature_name]
    given = function.structured_input_signature[1]
    arguments = {key: given[key] for key in sorted(given, key=_natural)}
    own = tuple(_spec(key, spec.shape, spec.dtype.name) for key, spec in arguments.items())
    if not own:
        raise ConversionFailed(f"signature {source.signature_name!r} takes no inputs: there is nothing to ask it")
    inputs = declared(with_batch(_shared_batch(own)), source.inputs, may_open=False)
    outputs = tuple(sorted(function.structured_outputs, key=_natural))

    def call(tensors: Sequence[Any]) -> Sequence[Any]:
        answer = function(**dict(zip(arguments, tensors, strict=True)))
        return [answer[key] for key in outputs]

    names = () if list(outputs) == ["output_0"] else outputs
    return Network(f"TensorFlow {tf.__version__} SavedModel", call, inputs, names or ("",), model)


def _natural(name: str) -> list[int | str]:
    """Sorts output_2 before output_10; a loaded SavedModel has them in any order."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _spec(name: str, shape: Any, dtype: str) -> TensorSpec:  # noqa: ANN401 -- a tuple or a TensorShape
    try:
        dims: list[Dim] = [f"{name}_{axis}" if d is None else int(d) for axis, d in enumerate(shape)]
    except ValueError as e:
        raise ConversionFailed(
            f"input '{name}' has no known number of dimensions: save the model with an input signature"
        ) from e
    try:
        return TensorSpec(name.removesuffix(":0"), DType(dtype), tuple(dims))
    except ValueError as e:
        raise ConversionFailed(f"input '{name}' is {dtype}, which cannot be served: change it to a plain type") from e


def _shared_batch(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Open dimensions at axis 0 have no names in TensorFlow; they are taken for one and the same, the batch."""
    return tuple(
        msgspec.structs.replace(s, shape=(BATCH, *s.shape[1:])) if s.shape and isinstance(s.shape[0], str) else s
        for s in specs
    )


def _refuse_code(path: Path, kind: Kind) -> None:
    """Refuses files whose layers are Python code, and files of weights alone, before Keras opens them."""
    config = _keras_config(path) if kind is Kind.KERAS else _hdf5_config(path)
    if _mentions_lambda(config):
        raise ConversionFailed(
            f"{path.name!r} holds a Lambda layer, whose Python code is stored in the file and would have to be run: "
            "replace it by a layer of Keras, or save the model with model.export(...) as a SavedModel"
        )


def _keras_config(path: Path) -> object:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as f:
            return json.loads(f.read(_CONFIG_BYTES))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as e:
        raise SourceNotRecognised(f"{path.name!r} is a damaged Keras file: save it again", detail=str(e)) from e


def _hdf5_config(path: Path) -> object:
    tensorflow_library()
    import h5py

    try:
        with h5py.File(path, "r") as f:
            text = f.attrs.get("model_config")
            config = None if text is None else json.loads(text)
    except (OSError, ValueError) as e:
        raise SourceNotRecognised(f"{path.name!r} is a damaged HDF5 file: save it again", detail=str(e)) from e
    if config is None:
        raise SourceNotRecognised(
            f"{path.name!r} holds no Keras model, at most its weights: save the whole model with "
            "model.save('model.keras')"
        )
    return config


def _mentions_lambda(config: object) -> bool:
    if isinstance(config, dict):
        return config.get("class_name") == "Lambda" or any(map(_mentions_lambda, config.values()))
    return isinstance(config, list) and any(map(_mentions_lambda, config))
