from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portside.errors import InvalidTensor, PayloadTooLarge
from portside.model.tensors import Array, DType
from portside.protocol import jsontext, tensorjson
from portside.protocol.base import Limits

NUMBERS = [d for d in DType if d not in {DType.BOOL, DType.STRING}]
MOST = 10_000
NAN, INF = math.nan, math.inf


def read(value: object, dtype: DType) -> Array:
    return tensorjson.read(value, dtype, MOST)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize(
    "value", [3, [1, 2], [[1, 2, 3]], [[1], [2]], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [], [[], []]]
)
def test_lists_become_an_array_of_their_shape(dtype: DType, value: Any) -> None:
    array = read(value, dtype)
    expected = np.array(value, dtype.numpy)
    assert array.dtype == dtype.numpy
    assert array.shape == expected.shape
    assert np.array_equal(array, expected)


def test_booleans_and_strings() -> None:
    assert read([[True], [False]], DType.BOOL).tolist() == [[True], [False]]
    assert read(["ä", {"b64": "/w=="}], DType.STRING).tolist() == ["ä".encode(), b"\xff"]
    assert read("x", DType.STRING).shape == ()


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (["1"], DType.FLOAT32, 'JSON Value: "1" Type: String is not of expected type: float'),
        ([1, True], DType.FLOAT32, "JSON Value: true Type: True is not of expected type: float"),
        ([False], DType.INT64, "Type: False is not of expected type: int64"),
        ([1, None], DType.FLOAT64, "JSON Value: null Type: Null is not of expected type: double"),
        ([1, 1.0], DType.INT32, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ([{}], DType.FLOAT16, "JSON Value: {} Type: Object is not of expected type: half"),
        ([1], DType.BOOL, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ([1], DType.STRING, "JSON Value: 1 Type: Number is not of expected type: string"),
        ([255, 256], DType.UINT8, "JSON Value: 256 Type: Number is not of expected type: uint8 (out of range)"),
        ([-1], DType.UINT64, "(out of range)"),
        ([2**63], DType.INT64, "(out of range)"),
        ([1e39], DType.FLOAT32, "JSON Value: 1e+39 Type: Number is not of expected type: float (out of range)"),
        ([1.0] * 100 + [-1e39], DType.FLOAT32, "JSON Value: -1e+39"),
        ([10**400], DType.FLOAT64, "is not of expected type: double (out of range)"),
        ([1.5] * 99 + [10**400], DType.FLOAT64, "is not of expected type: double (out of range)"),
        ([70000], DType.FLOAT16, "JSON Value: 70000 Type: Number is not of expected type: half (out of range)"),
        ([[1, 2], [1, 2, 3]], DType.FLOAT32, "Encountered list at unexpected size: 3 at level: 1 expected size: 2"),
        ([[[1], [2]], [[3], []]], DType.FLOAT32, "Encountered list at unexpected size: 0 at level: 2 expected size: 1"),
        ([[1], 2], DType.FLOAT32, "JSON Value: 2 Type: Number stands beside lists at level: 1"),
        ([1, [2]], DType.FLOAT32, "JSON Value: [2] Type: Array is not of expected type: float"),
        ([{"b64": "YQ=="}, 1], DType.UINT8, "is not of expected type: uint8"),
        ([{"b64": "YQ==", "x": 1}], DType.STRING, "is not a base64 object"),
        ([{"b64": 1}], DType.STRING, "expected type: string (base64"),
        ([{"b64": "§"}], DType.STRING, "is not valid base64"),
        ([{"b64": "Y"}], DType.STRING, "is not valid base64"),
        ([{"b64": "YQ==YQ=="}], DType.STRING, "is not valid base64"),
        (["\ud800"], DType.STRING, "is not valid Unicode"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(value: object, dtype: DType, message: str) -> None:
    with pytest.raises(InvalidTensor) as caught:
        read(value, dtype)
    assert message in caught.value.message
    assert len(caught.value.message) < 500


def test_numbers_that_are_none_pass_in_floats_only() -> None:
    assert np.array_equal(read([NAN, INF, -INF], DType.FLOAT16), np.array([NAN, INF, -INF], np.float16), equal_nan=True)
    assert np.isinf(read([INF] * 100, DType.FLOAT32)).all()
    with pytest.raises(InvalidTensor, match="JSON Value: NaN"):
        read([NAN], DType.INT32)


@pytest.mark.parametrize("count", [1, 100])
def test_the_largest_float_reads_back(count: int) -> None:
    largest = np.finfo(np.float32).max
    value = json.loads(tensorjson.write(np.full(count, largest)))
    assert (read(value, DType.FLOAT32) == largest).all()


def test_pictures_pass_as_strings_whatever_the_type() -> None:
    array = read([{"b64": "YQ"}, {"b64": "YWI="}], DType.UINT8)
    assert array.dtype == object
    assert array.tolist() == [b"a", b"ab"]


@pytest.mark.parametrize("text", ["YWI=", "YWI", "YW\nI=\n", " Y W I = ", "YWI=="])
def test_base64_as_other_programs_write_it(text: str) -> None:
    assert tensorjson.decode_b64({"b64": text}) == b"ab"


def test_too_many_elements_and_too_many_dimensions() -> None:
    for value in ([1] * 101, [[1] * 51] * 2, [[[1] * 101]]):
        with pytest.raises(PayloadTooLarge, match="at most 100"):
            tensorjson.read(value, DType.INT8, 100)
    deep: list[object] = [1]
    for _ in range(40):
        deep = [deep]
    with pytest.raises(InvalidTensor, match="32 levels"):
        read(deep, DType.INT8)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([0.1, 1e30, 1e-7], np.float32), b"[0.1,1e+30,1e-7]"),
        (np.array([[1.5, NAN], [INF, -INF]], np.float32), b"[[1.5,NaN],[Infinity,-Infinity]]"),
        (np.array([NAN], np.float16), b"[NaN]"),
        (np.array(NAN), b"NaN"),
        (np.array(1.5, np.float32), b"1.5"),
        (np.array([True, False]), b"[true,false]"),
        (np.array([[1, 2], [3, 4]], np.int8).T, b"[[1,3],[2,4]]"),
        (np.array([1, 2], ">i4"), b"[1,2]"),
        (np.zeros((2, 0), np.float32), b"[[],[]]"),
        (np.array([2**64 - 1], np.uint64), b"[18446744073709551615]"),
        (np.array([b"null", b"\xc3\xa4"], object), '["null","ä"]'.encode()),
        (np.array([b"a", b"\xff"], object), b'[{"b64":"YQ=="},{"b64":"/w=="}]'),
        (np.array(["text"], object), b'["text"]'),
        (np.array(b"a", object), b'"a"'),
    ],
)
def test_arrays_as_text(array: Array, text: bytes) -> None:
    assert tensorjson.write(array) == text


def test_strings_as_base64_on_request() -> None:
    assert tensorjson.write(np.array([[b"a"]], object), b64=True) == b'[[{"b64":"YQ=="}]]'


@given(
    st.sampled_from([*NUMBERS, DType.BOOL]).flatmap(
        lambda d: hnp.arrays(d.numpy, hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=5))
    )
)
@settings(max_examples=500, deadline=None)
def test_what_is_written_reads_back_the_same(array: Array) -> None:
    value = jsontext.loads(tensorjson.write(array), Limits())
    back = read(value, DType.of(array))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")


@given(
    array=hnp.arrays(np.dtype(object), hnp.array_shapes(max_dims=3, max_side=4), elements=st.binary(max_size=9)),
    b64=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_strings_read_back_the_same(array: Array, *, b64: bool) -> None:
    value = jsontext.loads(tensorjson.write(array, b64=b64), Limits())
    assert np.array_equal(read(value, DType.STRING), array)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just({"b64": "YQ=="}),
    lambda c: st.lists(c, max_size=4) | st.dictionaries(st.sampled_from(["b64", "x"]), c, max_size=2),
)


@given(JUNK, st.sampled_from(list(DType)))
@settings(max_examples=1500, deadline=None)
def test_any_value_is_a_tensor_or_our_error(value: object, dtype: DType) -> None:
    try:
        array = read(value, dtype)
    except InvalidTensor:
        return
    assert array.dtype in {dtype.numpy, np.dtype(object)}
