from __future__ import annotations

import pytest

from portside.repository.base import ModelState, Pin
from portside.repository.retention import expendable, holds_on


@pytest.mark.parametrize(
    ("aliases", "pin", "version", "expected"),
    [
        ({}, None, 3, ["it is the current version"]),
        ({}, None, 1, []),
        ({"b": 1, "a": 1}, None, 1, ["the alias 'a' points at it", "the alias 'b' points at it"]),
        ({}, Pin(1), 1, ["it is pinned"]),
        ({}, Pin(1), 3, []),
        ({}, Pin(1, until=2), 1, ["it is pinned"]),
        ({}, Pin(1, until=2), 3, ["it is the current version"]),
        ({}, Pin(9), 3, ["it is the current version"]),
    ],
)
def test_what_holds_a_version(aliases: dict[str, int], pin: Pin | None, version: int, expected: list[str]) -> None:
    assert holds_on(ModelState("m", (1, 2, 3), aliases, pin), version) == expected


@pytest.mark.parametrize(
    ("aliases", "pin", "keep", "expected"),
    [
        ({}, None, 1, [1, 2, 3]),
        ({}, None, 3, [1]),
        ({}, None, 9, []),
        ({"stable": 2}, None, 1, [1, 3]),
        ({}, Pin(1), 1, [2, 3]),
        ({"gone": 7}, Pin(8), 2, [1, 2]),
    ],
)
def test_what_may_go(aliases: dict[str, int], pin: Pin | None, keep: int, expected: list[int]) -> None:
    assert expendable(ModelState("m", (1, 2, 3, 4), aliases, pin), keep) == expected
