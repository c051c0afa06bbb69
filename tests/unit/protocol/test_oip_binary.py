from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from portside.errors import InvalidRequest, InvalidTensor, PayloadTooLarge, PortsideError
from portside.model.tensors import Array, DType, TensorSpec
from portside.protocol import oip_binary, oip_rest
from portside.protocol.base import Limits
from portside.protocol.oip_binary import Cursor
from portside.protocol.oip_rest import HEADER_LENGTH


def read(data: bytes, dtype: DType, *shape: int) -> Array:
    count = int(np.prod(shape))
    return oip_binary.read(Cursor(data, 0), len(data), TensorSpec("x", dtype, shape), shape, count)


ARRAYS = st.sampled_from([d for d in DType if d is not DType.STRING]).flatmap(
    lambda d: hnp.arrays(d.numpy, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4))
)
STRINGS = hnp.arrays(np.dtype(object), hnp.array_shapes(max_dims=3, max_side=4), elements=st.binary(max_size=20))


@given(ARRAYS | STRINGS)
@settings(max_examples=500, deadline=None)
def test_what_is_written_reads_back_the_same(array: Array) -> None:
    back = read(oip_binary.write(array), DType.of(array), *array.shape)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")


def test_bytes_are_little_endian_and_row_major() -> None:
    assert oip_binary.write(np.array([[1, 2], [3, 4]], ">i2").T) == b"\1\0\3\0\2\0\4\0"
    assert oip_binary.write(np.array(["ä"], object)) == b"\2\0\0\0" + "ä".encode()


@pytest.mark.parametrize(
    ("data", "dtype", "shape", "message"),
    [
        (b"\0" * 15, DType.FLOAT32, (4,), "has 15 bytes of binary data, but float32[4] takes 16"),
        (b"\0" * 17, DType.FLOAT32, (4,), "takes 16 (4 elements of 4 bytes)"),
        (b"\0\1\2", DType.BOOL, (3,), "bytes other than 0 and 1"),
        (b"", DType.STRING, (1,), "expected 1 strings in 0 bytes"),
        (b"\1\0\0", DType.STRING, (1,), "expected 1 strings in 3 bytes"),
        (b"\2\0\0\0a", DType.STRING, (1,), "string 0 says it has 2 bytes, but only 1 are left"),
        (b"\xff\xff\xff\xff", DType.STRING, (1,), "says it has 4294967295 bytes"),
        (b"\1\0\0\0a", DType.STRING, (2,), "expected 2 strings in 5 bytes of binary data, found 1 strings in 5"),
        (b"\1\0\0\0a" * 3, DType.STRING, (2,), "found 2 strings in 10 bytes"),
    ],
)
def test_sizes_that_do_not_fit(data: bytes, dtype: DType, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InvalidTensor) as caught:
        read(data, dtype, *shape)
    assert message in caught.value.message


def test_a_body_that_is_too_short_or_too_long() -> None:
    cursor = Cursor(b"12345", 2)
    with pytest.raises(InvalidTensor, match="binary_data_size 4, but only 3 bytes are left"):
        cursor.take(4, "x")
    assert cursor.take(2, "x") == 2
    with pytest.raises(InvalidRequest, match="unexpected 1 bytes after the last tensor"):
        cursor.finish()
    assert cursor.take(1, "x") == 4
    cursor.finish()


def raw(world: Any, signature: Any, body: bytes, limits: Limits | None = None) -> Array:
    request, wish = oip_rest.decode(body, {HEADER_LENGTH: b"0"}, signature, world.ref, limits or world.limits)
    assert wish.wants_bytes("y")
    assert list(request.inputs) == ["x"]
    return request.inputs["x"]


def test_raw_bodies(world: Any) -> None:
    assert raw(world, world.one, struct.pack("<4f", 1, 2, 3, 4)).tolist() == [[1, 2, 3, 4]]
    open_axis = world.of(DType.INT16, "batch", "n", 2)
    assert raw(world, open_axis, b"\1\0\2\0\3\0\4\0").tolist() == [[[1, 2], [3, 4]]]
    assert raw(world, world.of(DType.STRING, "batch"), b"any\0bytes").tolist() == [b"any\0bytes"]
    assert raw(world, world.of(DType.STRING, "batch", 1), b"").tolist() == [[b""]]
    assert raw(world, world.of(DType.UINT8, 3), b"\1\2\3").tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("dtype", "shape", "body", "message"),
    [
        (
            DType.FLOAT32,
            ("batch", 4),
            b"\0" * 15,
            "15 bytes, but input x: float32[batch, 4] as a batch of one takes 16",
        ),
        (DType.FLOAT32, ("batch", 4), b"", "takes 16 bytes"),
        (DType.FLOAT32, ("batch", "n", 2), b"\0" * 12, "takes a multiple of 8 bytes"),
        (DType.FLOAT32, ("batch", "n"), b"", "takes a multiple of 4 bytes"),
        (DType.FLOAT32, ("batch", "n", "k"), b"\0" * 16, "more than one dimension is open"),
        (DType.STRING, ("batch", 2), b"a", "takes several strings"),
    ],
)
def test_raw_bodies_that_do_not_fit(
    world: Any, dtype: DType, shape: tuple[int | str, ...], body: bytes, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        raw(world, world.of(dtype, *shape), body)
    assert message in caught.value.message


def test_raw_bodies_need_one_input_and_have_bounds(world: Any) -> None:
    with pytest.raises(InvalidRequest, match="this one has 2"):
        raw(world, world.two, b"")
    with pytest.raises(PayloadTooLarge):
        raw(world, world.of(DType.UINT8, "n"), b"12345", Limits(elements=4))


@given(st.binary(max_size=64), st.sampled_from(list(DType)), st.lists(st.integers(1, 4), max_size=3))
@settings(max_examples=2000, deadline=None)
def test_any_bytes_are_a_tensor_or_our_error(data: bytes, dtype: DType, shape: list[int]) -> None:
    try:
        array = read(data, dtype, *shape)
    except PortsideError:
        return
    assert array.shape == tuple(shape)
    assert array.dtype == dtype.numpy
