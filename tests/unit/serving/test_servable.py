from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from portside.errors import InvalidTensor
from portside.serving.servable import encoded_items


async def test_idle_waits_for_every_hold(make: SimpleNamespace) -> None:
    servable = make.servable()
    await servable.idle()
    servable.hold()
    servable.hold()
    waiters = [asyncio.ensure_future(servable.idle()) for _ in range(2)]
    await asyncio.sleep(0)
    servable.release()
    await asyncio.sleep(0)
    assert not any(w.done() for w in waiters)
    servable.release()
    await asyncio.wait_for(asyncio.gather(*waiters), 30)
    assert str(servable) == "line:1"


def _strings(*items: object, shape: tuple[int, ...] | None = None) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    array = np.empty(len(items), object)
    array[:] = items
    return array if shape is None else array.reshape(shape)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_encoded_items_row_by_row(shape: tuple[int, ...]) -> None:
    assert encoded_items("x", _strings(b"a", b"b", shape=shape)) == [b"a", b"b"]
    assert encoded_items("x", _strings(b"a", shape=())) == [b"a"]


@pytest.mark.parametrize(
    "array",
    [_strings(), _strings(b"a", b"b", shape=(1, 2)), _strings(b"a", shape=(1, 1, 1)), _strings("text"), _strings(None)],
)
def test_encoded_items_refuses(array: np.ndarray[tuple[int, ...], np.dtype[np.object_]]) -> None:
    with pytest.raises(InvalidTensor, match="input 'x'"):
        encoded_items("x", array)
