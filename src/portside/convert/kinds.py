"""What a file or folder is, judged by what is inside, without any framework."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Sequence, Set
from enum import Enum
from pathlib import Path

import msgspec

from portside.convert.pickles import globals_of

_HEAD_BYTES = 4096
_PICKLE_BYTES = 64 * 1024 * 1024
_TORCH_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*\Z")


class Kind(Enum):
    """Families of sources. ``OTHER`` is everything that no converter reads."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    EXPORTED_PROGRAM = "exported-program"
    STATE_DICT = "state-dict"
    PICKLED_MODULE = "pickled-module"
    KERAS = "keras"
    HDF5 = "hdf5"
    SAVED_MODEL = "saved-model"
    MISSING = "missing"
    OTHER = "other"


class Look(msgspec.Struct, frozen=True):
    """What was seen.

    Attributes:
        kind: the family.
        what: a noun phrase for a person ("a TorchScript archive").
        hint: what to do about it, a sentence without its full stop; empty if there is nothing to say.
    """

    kind: Kind
    what: str
    hint: str = ""


_STATE_HINT = (
    "the network's code is missing from it: name the code as package.module:callable and give this file as the "
    "checkpoint (--checkpoint)"
)
_PICKLE_HINT = (
    "loading it would run whatever code it holds, so it is refused: save model.state_dict() and name the network's "
    "code as package.module:callable, or export it with torch.export.save"
)
_SAFETENSORS_HINT = (
    "the network's code is missing from it: save the weights with torch.save as well, name the code as "
    "package.module:callable and give that file as the checkpoint (--checkpoint)"
)
_PICTURE = "it can be sent to a model, but it is not one"
_UNPACK = "unpack it and name what is inside"
_MAGIC: tuple[tuple[int, bytes, Look], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", Look(Kind.HDF5, "a Keras HDF5 file")),
    (4, b"TFL3", Look(Kind.OTHER, "a TensorFlow Lite flatbuffer", "convert the model that it was made from")),
    (0, b"\xff\xd8\xff", Look(Kind.OTHER, "a JPEG picture", _PICTURE)),
    (0, b"\x89PNG\r\n", Look(Kind.OTHER, "a PNG picture", _PICTURE)),
    (0, b"GIF8", Look(Kind.OTHER, "a GIF picture", _PICTURE)),
    (8, b"WEBP", Look(Kind.OTHER, "a WebP picture", _PICTURE)),
    (0, b"%PDF", Look(Kind.OTHER, "a PDF document")),
    (0, b"GGUF", Look(Kind.OTHER, "a GGUF language model")),
    (0, b"\x93NUMPY", Look(Kind.OTHER, "a numpy array", "arrays are samples (--samples), not a model")),
    (0, b"\x1f\x8b", Look(Kind.OTHER, "a gzip archive", _UNPACK)),
    (0, b"BZh", Look(Kind.OTHER, "a bzip2 archive", _UNPACK)),
    (0, b"\xfd7zXZ", Look(Kind.OTHER, "an xz archive", _UNPACK)),
    (0, b"version https://git-lfs", Look(Kind.OTHER, "a Git LFS pointer", "fetch the file itself: git lfs pull")),
    (0, b"\x7fELF", Look(Kind.OTHER, "a program or library")),
    (0, b"<?xml", Look(Kind.OTHER, "XML (an OpenVINO IR?)", "convert the model it was made from")),
    (0, b"<net", Look(Kind.OTHER, "an OpenVINO IR", "convert the model it was made from")),
    (0, b"<", Look(Kind.OTHER, "markup text", "was a web page saved in place of the file?")),
)
_TEXTS = (
    (rb"^\s*layers?\s*\{", "a Caffe prototxt"),
    (rb"^\[(net|network|convolutional)\]", "a Darknet configuration"),
)
_ENDINGS: dict[str, str] = {
    ".caffemodel": "Caffe weights",
    ".pdmodel": "a PaddlePaddle model",
    ".pdiparams": "PaddlePaddle weights",
    ".weights": "Darknet weights",
    ".mlmodel": "a Core ML model",
    ".params": "MXNet weights",
    ".engine": "a TensorRT engine",
    ".plan": "a TensorRT engine",
    ".mar": "a TorchServe archive",
    ".joblib": "a joblib pickle (scikit-learn?)",
    ".ckpt": "a training checkpoint",
    ".index": "the index of a TensorFlow checkpoint",
}


def look(path: Path) -> Look:
    """Looks at the first bytes, names inside an archive, or names inside a folder. Never raises."""
    try:
        if path.is_dir():
            return _folder(path)
        if not path.exists():
            return Look(Kind.MISSING, "nothing: there is no such file or folder", "check the spelling")
        with path.open("rb") as f:
            head = f.read(_HEAD_BYTES)
        if head.startswith(b"PK\x03\x04"):
            return _archive(path)
        return _file(path, head)
    except (OSError, zipfile.BadZipFile) as e:
        return Look(
            Kind.OTHER, "something that cannot be read", f"the system says: {getattr(e, 'strerror', None) or e}"
        )


def _file(path: Path, head: bytes) -> Look:
    for test in (_by_magic, _by_first_field, _by_ending, _by_text):
        if seen := test(path, head):
            return seen
    return Look(Kind.OTHER, "a binary file of no known kind")


def _by_magic(path: Path, head: bytes) -> Look | None:
    if head.startswith(b"\x80"):
        return _pickle(path, head)
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 28:
        return Look(Kind.STATE_DICT, "a safetensors file: weights only", _SAFETENSORS_HINT)
    for offset, start, seen in _MAGIC:
        if head[offset:].startswith(start):
            return seen
    return None if head else Look(Kind.OTHER, "an empty file", "was it written or downloaded completely?")


def _by_first_field(path: Path, head: bytes) -> Look | None:
    """An ONNX file is a protobuf message whose first field is the IR version, a small number."""
    if path.suffix.lower() == ".onnx":
        return Look(Kind.ONNX, "an ONNX graph" if head[0] == 0x08 else "an ONNX graph, by its name")
    other = path.suffix.lower() in {*_ENDINGS, ".pb"} or len(head) < 2
    return None if other or head[0] != 0x08 or not 3 <= head[1] < 64 else Look(Kind.ONNX, "an ONNX graph")


def _by_ending(path: Path, head: bytes) -> Look | None:
    del head
    ending = path.suffix.lower()
    if ending == ".pb":
        beside = "name the folder it is in" if path.name == "saved_model.pb" else "export it as a SavedModel"
        return Look(Kind.OTHER, "a TensorFlow protobuf file", beside)
    return Look(Kind.OTHER, _ENDINGS[ending]) if ending in _ENDINGS else None


def _by_text(path: Path, head: bytes) -> Look | None:
    if _TEXT.match(head) is None:
        return None
    for pattern, what in _TEXTS:
        if re.search(pattern, head, re.MULTILINE):
            return Look(Kind.OTHER, what)
    if path.suffix.lower() == ".py":
        return Look(Kind.OTHER, "Python source", "name the callable in it: package.module:callable")
    return Look(Kind.OTHER, "JSON text" if head.lstrip()[:1] in {b"{", b"["} else "a text file")


def _archive(path: Path) -> Look:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        inner = {name.split("/", 1)[-1] for name in names}
        for seen, test in _ARCHIVES:
            if test({*names, *inner}):
                return seen
        pickles = [n for n in names if n.endswith("/data.pkl")]
        if pickles:
            with archive.open(pickles[0]) as f:
                return _checkpoint(f.read(_PICKLE_BYTES), sum(n.startswith("data/") for n in inner))
    return Look(Kind.OTHER, f"a ZIP archive with {_sample(names)}", "unpack it and name what is inside")


_ARCHIVES: tuple[tuple[Look, Callable[[Set[str]], bool]], ...] = (
    (
        Look(Kind.KERAS, "a Keras 3 model"),
        lambda names: "config.json" in names and any(n.endswith((".weights.h5", ".weights.json")) for n in names),
    ),
    (
        Look(Kind.OTHER, "an AOTInductor package", "save the exported program itself with torch.export.save"),
        lambda names: (
            any(n.startswith("data/aotinductor/") for n in names) and not any(n.startswith("models/") for n in names)
        ),
    ),
    (
        Look(Kind.EXPORTED_PROGRAM, "a torch.export program"),
        lambda names: bool(names & {"archive_format", "serialized_exported_program.json"}),
    ),
    (
        Look(Kind.TORCHSCRIPT, "a TorchScript archive"),
        lambda names: "constants.pkl" in names and any(n.startswith("code/") for n in names),
    ),
    (
        Look(Kind.OTHER, "a numpy archive", "arrays are samples (--samples), not a model"),
        lambda names: any(n.endswith(".npy") for n in names),
    ),
)


def _pickle(path: Path, head: bytes) -> Look:
    if not head.startswith(_TORCH_MAGIC):
        return Look(Kind.PICKLED_MODULE, "a Python pickle", _PICKLE_HINT)
    with path.open("rb") as f:
        return _checkpoint(f.read(_PICKLE_BYTES), None)


def _checkpoint(pickle: bytes, storages: int | None) -> Look:
    seen = globals_of(pickle)
    if seen.foreign:
        return Look(Kind.PICKLED_MODULE, f"a pickled Python object ({seen.foreign[0]})", _PICKLE_HINT)
    count = storages if storages is not None else seen.tensors
    return Look(Kind.STATE_DICT, f"a PyTorch state dict with {count} tensors", _STATE_HINT)


def _folder(path: Path) -> Look:
    names = sorted(p.name for p in path.iterdir())[:1000]
    if "saved_model.pb" in names:
        return Look(Kind.SAVED_MODEL, "a TensorFlow SavedModel")
    if not names:
        return Look(Kind.OTHER, "an empty folder")
    if "Manifest.json" in names and path.suffix == ".mlpackage":
        return Look(Kind.OTHER, "a Core ML package")
    if "config.json" in names and any(n.endswith(".safetensors") for n in names):
        return Look(Kind.OTHER, "a Hugging Face model folder", "export it to ONNX first")
    models = [n for n in names if n.endswith((".onnx", ".keras", ".h5", ".hdf5", ".pt2", ".pt", ".pth"))]
    hint = f"name a file in it, for example {models[0]!r}" if models else ""
    nested = [n for n in names if (path / n / "saved_model.pb").is_file()]
    if nested:
        hint = f"name the SavedModel in it: {nested[-1]!r}"
    return Look(Kind.OTHER, f"a folder with {_sample(names)}", hint)


def _sample(names: Sequence[str]) -> str:
    shown = ", ".join(repr(n) for n in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "nothing"
