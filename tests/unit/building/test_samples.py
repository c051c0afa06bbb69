from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portside.building.samples import ENOUGH_PICTURES, read_samples
from portside.errors import InvalidSettings
from portside.model.processing import Colour, ImageInput
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec

IMAGE = ImageInput("x", 8, 6)
PICTURES = Signature((TensorSpec("x", DType.FLOAT32, ("batch", 3, 8, 6)),), (), "batch")
ONE = Signature((TensorSpec("x", DType.FLOAT32, ("batch", 4)),), (), "batch")
TWO = Signature(
    (TensorSpec("a", DType.FLOAT32, ("batch", 4)), TensorSpec("b", DType.INT64, ("batch",))),
    (TensorSpec("y", DType.FLOAT32, ("batch", 2)),),
    "batch",
)
UNBATCHED = Signature((TensorSpec("x", DType.FLOAT32, (2, 3)),), ())


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (32, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_pictures_are_found_at_any_depth_in_order_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("b/2.png", "a.png", "b/1.PNG", ".hidden.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    samples = read_samples(tmp_path, PICTURES, IMAGE, 3)
    assert samples.names == ("a.png", "b/1.PNG", "b/2.png")
    assert samples.pixels is not None
    assert samples.pixels.shape == (3, 8, 6, 3)
    assert samples.pixels.dtype == np.uint8


def test_few_pictures_are_cut_and_mirrored_into_more(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 2)
    samples = read_samples(tmp_path, PICTURES, IMAGE, 64)
    again = read_samples(tmp_path, PICTURES, IMAGE, 64)
    assert samples.pixels is not None
    assert again.pixels is not None
    assert np.array_equal(samples.pixels, again.pixels)
    assert samples.names[0] == "a.png"
    assert 20 <= samples.rows <= ENOUGH_PICTURES
    assert len(set(samples.names)) == samples.rows
    assert len({row.tobytes() for row in samples.pixels}) == samples.rows
    assert samples.raw == ((tmp_path / "a.png").read_bytes(), (tmp_path / "b.png").read_bytes())


def test_many_pictures_are_not_cut_and_the_limit_is_spread(tmp_path: Path) -> None:
    for number in range(40):
        picture(tmp_path / f"{number:02}.png", number)
    assert read_samples(tmp_path, PICTURES, IMAGE, 64).rows == 40
    names = read_samples(tmp_path, PICTURES, IMAGE, 4).names
    assert names == ("00.png", "10.png", "20.png", "30.png")


def test_one_picture_file_is_enough(tmp_path: Path) -> None:
    samples = read_samples(picture(tmp_path / "cat.png"), PICTURES, IMAGE, 1)
    assert samples.names == ("cat.png",)


def test_unreadable_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff but no more")
    samples = read_samples(tmp_path, PICTURES, IMAGE, 2)
    assert samples.names == ("good.png",)
    assert len(samples.skipped) == 1
    assert samples.skipped[0].startswith("bad.jpg: ")


def test_grey_pictures(tmp_path: Path) -> None:
    grey = ImageInput("x", 8, 6, colour=Colour.GREY, mean=(0.0,), std=(1.0,))
    samples = read_samples(picture(tmp_path / "a.png"), PICTURES, grey, 5)
    assert samples.pixels is not None
    assert samples.pixels.shape == (5, 8, 6, 1)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no picture in 'samples'"),
        ({"a.txt": b"x"}, "no picture in 'samples'"),
        ({"a.png": b"not a picture"}, "none of the 1 pictures in 'samples' can be read"),
        ({"a.png": b""}, "none of the 1 pictures"),
    ],
)
def test_a_folder_without_usable_pictures_is_refused(tmp_path: Path, files: dict[str, bytes], said: str) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with pytest.raises(InvalidSettings, match=said) as caught:
        read_samples(folder, PICTURES, IMAGE, 64)
    assert str(tmp_path) not in caught.value.message


def test_pixels_that_have_the_size_already(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "rows.npy", pixels)
    samples = read_samples(tmp_path / "rows.npy", PICTURES, IMAGE, 64)
    assert np.array_equal(samples.pixels, pixels)
    np.save(tmp_path / "rows.npy", pixels.astype(np.float32))
    with pytest.raises(InvalidSettings, match=r"expected pixels uint8\[rows, 8, 6, 3\]"):
        read_samples(tmp_path / "rows.npy", PICTURES, IMAGE, 64)


def test_arrays_by_name(tmp_path: Path) -> None:
    a, b = np.arange(40, dtype=np.float64).reshape(10, 4), np.arange(10, dtype=np.int32)
    np.savez(tmp_path / "rows.npz", a=a, b=b)
    samples = read_samples(tmp_path / "rows.npz", TWO, None, 5)
    assert samples.pixels is None
    assert samples.arrays["a"].dtype == np.float32
    assert samples.arrays["b"].dtype == np.int64
    assert samples.arrays["b"].tolist() == [0, 2, 4, 6, 8]
    assert np.array_equal(samples.arrays["a"], a[::2].astype(np.float32))
    assert samples.names == ("row 0", "row 2", "row 4", "row 6", "row 8")


def test_one_array_for_one_input_and_a_folder_of_them(tmp_path: Path) -> None:
    rows = np.ones((3, 4), np.float32)
    np.save(tmp_path / "1.npy", rows)
    np.savez(tmp_path / "2.npz", x=2 * rows)
    assert read_samples(tmp_path / "1.npy", ONE, None, 64).rows == 3
    joined = read_samples(tmp_path, ONE, None, 64)
    assert joined.arrays["x"][:, 0].tolist() == [1, 1, 1, 2, 2, 2]


def test_a_model_without_a_batch_still_takes_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((7, 2, 3), np.float32))
    assert read_samples(tmp_path / "rows.npy", UNBATCHED, None, 64).arrays["x"].shape == (7, 2, 3)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.ones((2, 4), np.float32)}, "holds arrays named a, the model's inputs are 'a', 'b'"),
        ({"a": np.ones((2, 4), np.float32), "b": np.ones(3, np.int64)}, "different numbers of rows"),
        ({"a": np.ones((2, 5), np.float32), "b": np.ones(2, np.int64)}, "axis 1 must be 4"),
        ({"a": np.ones((2, 4), np.float32), "b": np.ones(2, np.float32)}, "input 'b' is float32"),
        ({"a": np.ones((0, 4), np.float32), "b": np.ones(0, np.int64)}, "is empty"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "rows.npz", **arrays)
    with pytest.raises(InvalidSettings, match=said):
        read_samples(tmp_path / "rows.npz", TWO, None, 64)


def test_one_array_for_two_inputs_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((2, 4), np.float32))
    with pytest.raises(InvalidSettings, match=r"give an \.npz file"):
        read_samples(tmp_path / "rows.npy", TWO, None, 64)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not really", b"\x93NUMPY", b"text"])
def test_broken_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rows.npz").write_bytes(data)
    with pytest.raises(InvalidSettings, match="not a readable"):
        read_samples(tmp_path / "rows.npz", ONE, None, 64)


def test_pickled_arrays_are_never_read(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidSettings, match="not a readable"):
        read_samples(tmp_path / "rows.npy", ONE, None, 64)


def test_pictures_for_a_model_without_their_declaration(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(InvalidSettings, match="pictures need a declaration"):
        read_samples(tmp_path, ONE, None, 64)


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="no samples at 'nothing'"):
        read_samples(tmp_path / "nothing", ONE, None, 64)
