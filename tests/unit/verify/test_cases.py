from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portside.errors import CorruptArtifact
from portside.model.evidence import CaseKind
from portside.model.processing import Colour, ImageInput, Layout, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.processing.normalise import normalise
from portside.verify.cases import Case, load_cases, make_cases, save_cases


def signature(*inputs: TensorSpec, batch: str | None = "batch") -> Signature:
    return Signature(inputs, (TensorSpec("y", DType.FLOAT32, ("batch", 2)),), batch)


ROWS = signature(TensorSpec("x", DType.FLOAT32, ("batch", 4)))


def of(cases: list[Case], kind: CaseKind) -> list[Case]:
    return [case for case in cases if case.kind is kind]


def same(a: Case, b: Case) -> None:
    assert (a.name, a.kind, list(a.inputs)) == (b.name, b.kind, list(b.inputs))
    for one, other in ((a.inputs, b.inputs), (a.expected or {}, b.expected or {})):
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])
    assert (a.expected is None) == (b.expected is None)
    assert (a.pixels is None) == (b.pixels is None)
    if a.pixels is not None:
        np.testing.assert_array_equal(a.pixels, b.pixels)


def test_the_same_seed_makes_the_same_cases() -> None:
    for a, b in zip(make_cases(ROWS, Processing(), None, 3), make_cases(ROWS, Processing(), None, 3), strict=True):
        same(a, b)
    x = [case.inputs["x"] for case in make_cases(ROWS, Processing(), None, 3) if case.kind is CaseKind.RANDOM]
    other = [case.inputs["x"] for case in make_cases(ROWS, Processing(), None, 4) if case.kind is CaseKind.RANDOM]
    assert not np.array_equal(x[0], other[0])
    assert not np.array_equal(x[0], x[1])


def test_every_case_fits_the_signature(samples: Any) -> None:
    for case in make_cases(ROWS, Processing(), samples(x=np.ones((11, 4), np.float32)), 0):
        ROWS.check(case.inputs)


def test_real_rows_all_come_in_order_and_in_batches(samples: Any) -> None:
    rows = np.arange(44, dtype=np.float32).reshape(11, 4)
    real = of(make_cases(ROWS, Processing(), samples(x=rows), 0), CaseKind.REAL)
    assert [case.name for case in real] == ["real 0-7", "real 8-10"]
    np.testing.assert_array_equal(np.concatenate([case.inputs["x"] for case in real]), rows)


def test_random_numbers_stay_in_the_range_of_the_samples(samples: Any) -> None:
    rows = np.random.default_rng(0).uniform(100, 101, (50, 4)).astype(np.float32)
    for case in of(make_cases(ROWS, Processing(), samples(x=rows), 0), CaseKind.RANDOM):
        assert case.inputs["x"].min() >= rows.min()
        assert case.inputs["x"].max() <= rows.max()


def test_edges_hold_zeros_extremes_and_tiny_values_in_many_batch_sizes(samples: Any) -> None:
    rows = np.asarray([[-2, 0, 0, 5]], np.float32)
    edges = of(make_cases(ROWS, Processing(), samples(x=rows), 0), CaseKind.EDGE)
    assert {len(case.inputs["x"]) for case in edges} >= {1, 2, 3, 8}
    contents = [set(np.unique(case.inputs["x"]).tolist()) for case in edges]
    assert {0.0} in contents
    assert {-2.0} in contents
    assert {5.0} in contents
    assert {-2.0, 5.0} in contents
    assert any(0 < max(content) < 1e-3 for content in contents)


def test_other_dimensions_are_small_and_all_different() -> None:
    spec = TensorSpec("x", DType.FLOAT32, ("batch", 3, "height", "width"))
    edges = of(make_cases(signature(spec), Processing(), None, 0), CaseKind.EDGE)
    shapes = {case.inputs["x"].shape[2:] for case in edges}
    assert len(shapes) >= 2
    assert all(height != width for height, width in shapes)


def test_sizes_of_the_samples_are_used_first(samples: Any) -> None:
    spec = TensorSpec("x", DType.FLOAT32, ("batch", "length"))
    cases = make_cases(signature(spec), Processing(), samples(x=np.ones((2, 77), np.float32)), 0)
    assert all(case.inputs["x"].shape[1] == 77 for case in of(cases, CaseKind.RANDOM))
    assert {case.inputs["x"].shape[1] for case in of(cases, CaseKind.EDGE)} > {77}


def test_equal_symbols_get_equal_extents() -> None:
    both = signature(
        TensorSpec("ids", DType.INT64, ("batch", "length")), TensorSpec("mask", DType.BOOL, ("batch", "length"))
    )
    for case in make_cases(both, Processing(), None, 0):
        both.check(case.inputs)


@pytest.mark.parametrize("dtype", [d for d in DType if d not in {DType.STRING, DType.BOOL}])
def test_every_number_type_is_filled(dtype: DType) -> None:
    given = signature(TensorSpec("x", dtype, ("batch", 3)))
    for case in make_cases(given, Processing(), None, 0):
        given.check(case.inputs)
        if dtype.numpy.kind in "iu" and dtype is not DType.UINT8:
            assert 0 <= case.inputs["x"].min() <= case.inputs["x"].max() < 10


def test_integers_of_samples_set_the_range(samples: Any) -> None:
    given = signature(TensorSpec("ids", DType.INT64, ("batch", 3)))
    cases = make_cases(given, Processing(), samples(ids=np.asarray([[7, 900, 12]])), 0)
    for case in of(cases, CaseKind.RANDOM):
        assert 7 <= case.inputs["ids"].min() <= case.inputs["ids"].max() <= 900


def test_a_model_without_a_batch_gets_one_sample_a_case(samples: Any) -> None:
    given = Signature((TensorSpec("x", DType.FLOAT32, (4,)),), (TensorSpec("y", DType.FLOAT32, (2,)),))
    cases = make_cases(given, Processing(), samples(x=np.ones((3, 4), np.float32)), 0)
    assert [case.inputs["x"].shape for case in of(cases, CaseKind.REAL)] == [(4,)] * 3
    assert all(case.inputs["x"].shape == (4,) for case in cases)


def test_inputs_without_the_batch_axis_keep_rows_apart(samples: Any) -> None:
    given = signature(TensorSpec("x", DType.FLOAT32, ("batch", 4)), TensorSpec("limit", DType.FLOAT32, (1,)))
    real = samples(x=np.ones((3, 4), np.float32), limit=np.asarray([[1], [2], [3]], np.float32))
    cases = of(make_cases(given, Processing(), real, 0), CaseKind.REAL)
    assert [case.inputs["limit"].tolist() for case in cases] == [[1], [2], [3]]
    assert all(case.inputs["x"].shape == (1, 4) for case in cases)


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("colour", [Colour.RGB, Colour.GREY])
def test_pictures_come_as_pixels_and_normalised(layout: Layout, colour: Colour, samples: Any) -> None:
    channels = 1 if colour is Colour.GREY else 3
    image = ImageInput("x", 6, 9, colour, mean=(4.0,) * channels, std=(2.0,) * channels, layout=layout)
    size = (channels, 6, 9) if layout is Layout.NCHW else (6, 9, channels)
    given = signature(TensorSpec("x", DType.FLOAT32, ("batch", *size)))
    pixels = np.random.default_rng(1).integers(0, 256, (10, 6, 9, channels), dtype=np.uint8)
    cases = make_cases(given, Processing(image), samples(pixels), 0)
    for case in cases:
        given.check(case.inputs)
        np.testing.assert_array_equal(case.inputs["x"], normalise(case.pixels, image))
    real = of(cases, CaseKind.REAL)
    np.testing.assert_array_equal(np.concatenate([case.pixels for case in real]), pixels)
    assert {len(case.pixels) for case in of(cases, CaseKind.EDGE)} >= {1, 2, 3, 8}
    assert {0, 255} <= {int(v) for case in of(cases, CaseKind.EDGE) for v in (case.pixels.min(), case.pixels.max())}


def test_a_fixed_batch_of_pictures_is_kept(samples: Any) -> None:
    given = signature(TensorSpec("x", DType.FLOAT32, (4, 3, 6, 9)), batch=None)
    pixels = np.random.default_rng(1).integers(0, 256, (6, 6, 9, 3), dtype=np.uint8)
    cases = make_cases(given, Processing(ImageInput("x", 6, 9)), samples(pixels), 0)
    assert {len(case.pixels) for case in cases} == {4}
    np.testing.assert_array_equal(cases[1].pixels, pixels[[4, 5, 0, 1]])


def test_cases_are_the_same_after_a_round_on_disk(tmp_path: Path, samples: Any) -> None:
    given = signature(
        TensorSpec("text", DType.STRING, ("batch", 2)),
        TensorSpec("flag", DType.BOOL, ("batch",)),
        TensorSpec("a/odd:name", DType.FLOAT16, ("batch", 1)),
    )
    cases = make_cases(given, Processing(), None, 0)
    words = np.asarray([[b"", "café".encode()], [b"\x00\xff", b"x" * 999]], object)
    arrays = {"text": words, "flag": np.asarray([True, False]), "a/odd:name": np.ones((2, 1), np.float16)}
    cases.append(Case("told", CaseKind.REAL, arrays, expected={"y": np.float32([[np.nan, np.inf]]), "z": words}))
    image = make_cases(
        signature(TensorSpec("x", DType.FLOAT32, ("batch", 3, 4, 5))), Processing(ImageInput("x", 4, 5)), None, 0
    )
    save_cases(tmp_path / "cases.npz", cases + image)
    loaded = load_cases(tmp_path / "cases.npz")
    assert len(loaded) == len(cases) + len(image)
    for a, b in zip(cases + image, loaded, strict=True):
        same(a, b)


def test_no_cases_are_a_file_too(tmp_path: Path) -> None:
    save_cases(tmp_path / "cases.npz", [])
    assert load_cases(tmp_path / "cases.npz") == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY", b"x" * 1000])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "cases.npz").write_bytes(content)
    with pytest.raises(CorruptArtifact, match=r"'cases\.npz' cannot be read"):
        load_cases(tmp_path / "cases.npz")


def test_a_file_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cases.npz"
    save_cases(path, make_cases(ROWS, Processing(), None, 0))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptArtifact):
        load_cases(path)


def test_pickles_are_neither_written_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "cases.npz"
    np.savez(path, index=np.asarray([{"a": 1}], object))
    with pytest.raises(CorruptArtifact):
        load_cases(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact):
        load_cases(tmp_path / "none.npz")
