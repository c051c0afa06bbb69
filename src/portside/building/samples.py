"""Reads the user's real samples: pictures, or arrays in numpy's own formats."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from portside.errors import InvalidImage, InvalidSettings, InvalidTensor, PayloadTooLarge
from portside.model.processing import Fit, ImageInput
from portside.model.signature import Signature, check_tensor
from portside.model.tensors import Array, TensorSpec
from portside.processing.image import decode

Pixels = npt.NDArray[np.uint8]

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
"""File name endings that count as pictures."""
ENOUGH_PICTURES = 32
"""With fewer photographs than this, parts of them are cut out and mirrored as further samples."""

RAW_PICTURES = 8
"""How many picture files are kept as they are, for the check of the processing itself."""

_MOST_PATHS = 200_000
_PICTURE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Samples:
    """Real inputs, one row each.

    Attributes:
        pixels: uint8[rows, height, width, channels], for a model with image processing; else ``None``.
        arrays: by input name, rows first, for a model without.
        names: where each row came from, for a person.
        skipped: files that could not be read, with the reason.
        raw: the first few picture files as they are.
    """

    pixels: Pixels | None = None
    arrays: Mapping[str, Array] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    raw: tuple[bytes, ...] = ()

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return len(self.names)


def read_samples(path: Path, signature: Signature, image: ImageInput | None, limit: int) -> Samples:
    """Reads at most ``limit`` samples, evenly spread over what is there.

    A model with image processing takes a picture file or a folder of pictures (searched to any depth), or an ``.npy``
    of pixels that already have the target size. Any other model takes an ``.npz`` with one array an input, an
    ``.npy`` if it has one input, or a folder of ``.npz`` files whose rows are joined. The first axis is the rows.

    Raises:
        InvalidSettings: nothing there, nothing readable, or it does not fit the model.
    """
    if not path.exists():
        raise InvalidSettings(f"there are no samples at {path.name!r}: check the spelling")
    if image is None:
        return _read_arrays(path, signature, limit)
    if path.suffix.lower() == ".npy":
        return _read_pixels(path, image, limit)
    return _read_pictures(path, image, limit)


def _read_pictures(path: Path, image: ImageInput, limit: int) -> Samples:
    files = find(path, PICTURES)
    if not files:
        raise InvalidSettings(
            f"there is no picture in {path.name!r}: expected files that end in {', '.join(sorted(PICTURES))}"
        )
    chosen = [files[i] for i in _spread(len(files), limit)]
    views = max(1, -(-min(ENOUGH_PICTURES, limit) // len(chosen)))
    rows: list[Pixels] = []
    names: list[str] = []
    skipped: list[str] = []
    raw: list[bytes] = []
    for file in chosen:
        name = file.name if file == path else file.relative_to(path).as_posix()
        try:
            data = _bytes(file)
            found = _views(data, image, views)
        except (InvalidImage, PayloadTooLarge) as e:
            skipped.append(f"{name}: {e.message}")
            continue
        raw += [data] if len(raw) < RAW_PICTURES else []
        rows += [pixels for _, pixels in found]
        names += [f"{name} {view}".rstrip() for view, _ in found]
    if not rows:
        raise InvalidSettings(f"none of the {len(chosen)} pictures in {path.name!r} can be read; {skipped[0]}")
    return Samples(np.stack(rows[:limit]), {}, tuple(names[:limit]), tuple(skipped), tuple(raw))


def _views(data: bytes, image: ImageInput, count: int) -> list[tuple[str, Pixels]]:
    """The picture as the service will see it, then mirrored, its centre, and its quarters (and those mirrored)."""
    views = [("", decode(data, image, exact=True))]
    if count > 1:
        centre = msgspec.structs.replace(image, fit=Fit.CROP, crop_fraction=0.6)
        quarters = msgspec.structs.replace(image, fit=Fit.STRETCH, height=2 * image.height, width=2 * image.width)
        large = decode(data, quarters, exact=True)
        parts = [("(centre)", decode(data, centre, exact=True))]
        for number, (top, left) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1)), start=1):
            y, x = top * image.height, left * image.width
            parts.append((f"(quarter {number})", large[y : y + image.height, x : x + image.width]))
        views += parts
        views += [(f"{name} mirrored".lstrip(), pixels[:, ::-1]) for name, pixels in list(views)]
    return views[:count]


def _read_pixels(path: Path, image: ImageInput, limit: int) -> Samples:
    array = _load(path)
    wanted = (image.height, image.width, image.channels)
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape[1:] != wanted or not len(array):
        given = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else "several arrays"
        raise InvalidSettings(f"the samples in {path.name!r} are {given}, expected pixels uint8[rows, {_list(wanted)}]")
    rows = _spread(len(array), limit)
    return Samples(pixels=array[rows].astype(np.uint8), names=tuple(f"row {i}" for i in rows))


def _read_arrays(path: Path, signature: Signature, limit: int) -> Samples:
    files = [path] if path.is_file() else find(path, frozenset({".npz", ".npy"}))
    if not files or (path.is_file() and path.suffix.lower() not in {".npz", ".npy"}):
        hint = " (pictures need a declaration of how they are prepared)" if find(path, PICTURES) else ""
        raise InvalidSettings(
            f"there is no .npz or .npy file in {path.name!r}: expected arrays named {_inputs(signature)}{hint}"
        )
    parts = [_by_name(file, signature) for file in files]
    arrays = {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in signature.inputs}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise InvalidSettings(f"the samples have different numbers of rows, or none: {_list(lengths.items())}")
    rows = _spread(next(iter(lengths.values())), limit)
    return Samples(arrays={name: array[rows] for name, array in arrays.items()}, names=tuple(f"row {i}" for i in rows))


def _by_name(file: Path, signature: Signature) -> dict[str, Array]:
    loaded = _load(file)
    if isinstance(loaded, np.ndarray):
        if len(signature.inputs) != 1:
            raise InvalidSettings(
                f"{file.name!r} holds one array, but the model has the inputs {_inputs(signature)}: give an .npz file"
            )
        loaded = {signature.inputs[0].name: loaded}
    known = {spec.name for spec in signature.inputs}
    if set(loaded) != known:
        raise InvalidSettings(
            f"{file.name!r} holds arrays named {_list(sorted(loaded))}, the model's inputs are {_inputs(signature)}"
        )
    return {spec.name: _fitting(loaded[spec.name], spec, signature, file) for spec in signature.inputs}


def _fitting(array: Array, spec: TensorSpec, signature: Signature, file: Path) -> Array:
    """The array in the model's element type, its first axis being the rows."""
    if array.dtype != spec.dtype.numpy and np.can_cast(array.dtype, spec.dtype.numpy, casting="same_kind"):
        array = array.astype(spec.dtype.numpy)
    batched = signature.batch_dim is not None and spec.shape[:1] == (signature.batch_dim,)
    shown = spec if batched else TensorSpec(spec.name, spec.dtype, ("rows", *spec.shape))
    try:
        check_tensor(shown, array, {})
    except InvalidTensor as e:
        raise InvalidSettings(f"the samples in {file.name!r} do not fit: {e.message}") from e
    return array


def _load(file: Path) -> Array | dict[str, Array]:
    try:
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as e:
        raise InvalidSettings(
            f"{file.name!r} is not a readable .npy or .npz file (object arrays are not read): save it with numpy.savez",
            detail=str(e),
        ) from e


def _bytes(file: Path) -> bytes:
    try:
        if file.stat().st_size > _PICTURE_BYTES:
            raise PayloadTooLarge(f"over {_PICTURE_BYTES} bytes")
        return file.read_bytes()
    except OSError as e:
        raise InvalidImage(f"cannot be read: {e.strerror}") from e


def find(path: Path, suffixes: frozenset[str]) -> list[Path]:
    """The files below ``path`` (or ``path`` itself) with one of these endings, sorted; hidden ones are left out."""
    if path.is_file():
        return [path] if path.suffix.lower() in suffixes else []
    return sorted(p for p in _walk(path) if p.suffix.lower() in suffixes and not p.name.startswith("."))


def _walk(folder: Path) -> Iterator[Path]:
    for number, path in enumerate(folder.rglob("*")):
        if number >= _MOST_PATHS:
            raise InvalidSettings(f"{folder.name!r} holds over {_MOST_PATHS} files: name a smaller folder of samples")
        if path.is_file():
            yield path


def _spread(count: int, limit: int) -> list[int]:
    """At most ``limit`` of the numbers below ``count``, evenly spread, ascending."""
    if count <= limit:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def _inputs(signature: Signature) -> str:
    return _list(f"'{spec.name}'" for spec in signature.inputs)


def _list(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)
