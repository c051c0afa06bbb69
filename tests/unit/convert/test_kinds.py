"""What is said about files and folders of every sort, and which converter gets them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.convert.detect import detect
from portside.convert.keras2onnx import Keras2Onnx
from portside.convert.kinds import Kind, look
from portside.convert.onnx2onnx import Onnx2Onnx
from portside.convert.pickles import globals_of
from portside.convert.torch2onnx import Torch2Onnx
from portside.errors import InvalidSettings, SourceNotRecognised
from portside.model.source import Source

CONVERTERS = (Onnx2Onnx(), Torch2Onnx(), Keras2Onnx())


def archive(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name in names:
            made.writestr(name, pickle.dumps(OrderedDict()) if name.endswith("data.pkl") else "x")
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("a.onnx", b"\x08\x08\x12\x04test", Kind.ONNX, "an ONNX graph"),
        ("a.bin", b"\x08\x0a\x12\x04test", Kind.ONNX, "an ONNX graph"),
        ("a.onnx", b"", Kind.OTHER, "an empty file"),
        ("a.onnx", b"version https://git-lfs.github.com/spec/v1\n", Kind.OTHER, "a Git LFS pointer"),
        ("a.onnx", b"<!DOCTYPE html>", Kind.OTHER, "markup text"),
        ("a.pt", archive("a/data.pkl", "a/code/net.py", "a/constants.pkl"), Kind.TORCHSCRIPT, "a TorchScript"),
        ("a.pt", archive("a/archive_format", "a/models/model.json"), Kind.EXPORTED_PROGRAM, "a torch.export"),
        ("a.pt2", archive("a/data/aotinductor/model/x.so"), Kind.OTHER, "an AOTInductor package"),
        ("a.pth", archive("a/data.pkl", "a/data/0", "a/data/1"), Kind.STATE_DICT, "with 2 tensors"),
        ("a.keras", archive("config.json", "metadata.json", "model.weights.h5"), Kind.KERAS, "a Keras 3 model"),
        ("a.zip", archive("one.txt", "two.txt"), Kind.OTHER, "a ZIP archive with 'one.txt', 'two.txt'"),
        ("a.npz", archive("x.npy"), Kind.OTHER, "a numpy archive"),
        ("a.zip", b"PK\x03\x04 cut off", Kind.OTHER, "cannot be read"),
        ("a.h5", b"\x89HDF\r\n\x1a\n....", Kind.HDF5, "a Keras HDF5 file"),
        ("a.tflite", b"\x20\0\0\0TFL3....", Kind.OTHER, "a TensorFlow Lite flatbuffer"),
        ("a.safetensors", struct.pack("<Q", 40) + b'{"w":{}}', Kind.STATE_DICT, "a safetensors file"),
        ("deploy.prototxt", b'name: "net"\nlayer {\n  name: "data"\n}\n', Kind.OTHER, "a Caffe prototxt"),
        ("yolo.cfg", b"[net]\nbatch=1\n", Kind.OTHER, "a Darknet configuration"),
        ("yolo.weights", b"\0\0\0\0\2\0\0\0", Kind.OTHER, "Darknet weights"),
        ("frozen.pb", b"\x0a\x10\x12\x00", Kind.OTHER, "a TensorFlow protobuf file"),
        ("cat.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", Kind.OTHER, "a JPEG picture"),
        ("cat.png", b"\x89PNG\r\n\x1a\n", Kind.OTHER, "a PNG picture"),
        ("cat.webp", b"RIFF\0\0\0\0WEBPVP8 ", Kind.OTHER, "a WebP picture"),
        ("x.npy", b"\x93NUMPY\x01\0", Kind.OTHER, "a numpy array"),
        ("net.py", b"import torch\n", Kind.OTHER, "Python source"),
        ("net.json", b'{"format": "graph-model"}', Kind.OTHER, "JSON text"),
        ("notes.txt", b"hello\n", Kind.OTHER, "a text file"),
        ("blob", b"\x01\x02\x03\xff\x00", Kind.OTHER, "a binary file of no known kind"),
        ("net.xml", b'<?xml version="1.0"?><net name="x">', Kind.OTHER, "OpenVINO"),
        ("m.tar.gz", b"\x1f\x8b\x08", Kind.OTHER, "a gzip archive"),
        ("model.pkl", pickle.dumps({"a": 1}), Kind.PICKLED_MODULE, "a Python pickle"),
        ("model.gguf", b"GGUF\x03\0\0\0", Kind.OTHER, "a GGUF language model"),
        ("lib.so", b"\x7fELF\x02", Kind.OTHER, "a program or library"),
    ],
)
def test_files(tmp_path: Path, name: str, content: bytes, kind: Kind, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    seen = look(tmp_path / name)
    assert seen.kind is kind
    assert words in seen.what


@pytest.mark.parametrize(
    ("names", "kind", "what", "hint"),
    [
        (("saved_model.pb", "variables/index"), Kind.SAVED_MODEL, "SavedModel", ""),
        ((), Kind.OTHER, "an empty folder", ""),
        (("a.onnx", "b.txt"), Kind.OTHER, "a folder with 'a.onnx', 'b.txt'", "'a.onnx'"),
        (("1/saved_model.pb", "2/saved_model.pb"), Kind.OTHER, "a folder with", "'2'"),
        (("config.json", "model.safetensors"), Kind.OTHER, "Hugging Face", "ONNX"),
        (tuple(f"{i}.txt" for i in range(9)), Kind.OTHER, "and 6 more", ""),
    ],
)
def test_folders(tmp_path: Path, names: tuple[str, ...], kind: Kind, what: str, hint: str) -> None:
    (tmp_path / "it").mkdir()
    for name in names:
        (tmp_path / "it" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "it" / name).write_text("x")
    seen = look(tmp_path / "it")
    assert seen.kind is kind
    assert what in seen.what
    assert hint in seen.hint


@given(st.binary(max_size=300), st.sampled_from(["x", "x.onnx", "x.pt", "x.pb", "x.h5", "x.keras"]))
def test_no_content_breaks_the_look(tmp_path_factory: Any, content: bytes, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"look-{name}"
    for start in (b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):
        path.write_bytes(start + content)
        assert look(path).what


def test_pickle_names_are_read_without_running_it(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return (Path.touch, (tmp_path / "ran",))

    assert any("touch" in name or "pathlib" in name for name in globals_of(pickle.dumps(Evil(), 2)).foreign)
    assert globals_of(pickle.dumps(Evil(), 5)).foreign
    assert not globals_of(pickle.dumps(OrderedDict(a=np.float32(1)), 2)).foreign
    assert not (tmp_path / "ran").exists()


def test_whole_pickled_modules_are_told_from_state_dicts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    network = torch.nn.Linear(3, 2)
    for zipped in (True, False):
        torch.save(network, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
        torch.save(network.state_dict(), tmp_path / "state.pth", _use_new_zipfile_serialization=zipped)
        whole, state = look(tmp_path / "whole.pth"), look(tmp_path / "state.pth")
        assert (whole.kind, whole.what) == (
            Kind.PICKLED_MODULE,
            "a pickled Python object (torch.nn.modules.linear.Linear)",
        )
        assert (state.kind, state.what) == (Kind.STATE_DICT, "a PyTorch state dict with 2 tensors")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("{folder}/cat.jpg", ("'cat.jpg' is a JPEG picture",)),
        ("{folder}/nope.onnx", ("no file or folder 'nope.onnx'", "check the spelling")),
        ("torch.nn.Linear", ("package.module:callable",)),
        ("{folder}/state.pth", ("state dict with 1 tensors", "--checkpoint")),
    ],
)
def test_unknown_sources_say_what_they_are_and_what_is_read(
    tmp_path: Path, location: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "state.pth").write_bytes(archive("s/data.pkl", "s/data/0"))
    with pytest.raises(SourceNotRecognised) as caught:
        detect(Source(location.format(folder=tmp_path)), CONVERTERS)
    for text in (*words, "ONNX", "TorchScript", "SavedModel", "portside[torch]", "portside[tensorflow]"):
        assert text in caught.value.message
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize(("location", "converter"), [("torch.nn:Linear", "torch2onnx"), ("a.b:C.d", "torch2onnx")])
def test_import_paths_go_to_torch(location: str, converter: str) -> None:
    assert detect(Source(location), CONVERTERS).name == converter


def test_a_checkpoint_beside_a_whole_model_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08\x12\x04test")
    with pytest.raises(InvalidSettings, match=r"package\.module:callable"):
        detect(Source(str(tmp_path / "net.onnx"), "weights.pth"), CONVERTERS)
