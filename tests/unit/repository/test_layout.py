from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.repository import layout


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], 1),
        (["1", "2", "10"], 11),
        (["aliases.json", ".lock", ".publish-ab12"], 1),
        (["1", ".retired-7"], 8),
        ([".trash-9-ab12", "3"], 10),
        (["007", "1x", "x1", "-4", "1.5", "٣"], 1),
    ],
)
def test_next_version_is_above_all_that_were_used(entries: list[str], expected: int) -> None:
    assert layout.next_version(entries) == expected


@given(st.lists(st.integers(1, 10**12), min_size=1, unique=True), st.data())
def test_next_version_needs_only_the_highest_mark(versions: list[int], data: st.DataObject) -> None:
    """Whatever way the highest number went, and whatever marks were tidied away, it is not given out again."""
    spell = st.sampled_from([str, layout.retired_name, layout.trash_name])
    entries = [data.draw(spell)(v) for v in versions]
    tidied = [e for e in entries if e not in layout.outdated_marks(entries)]
    assert layout.next_version(tidied) == max(versions) + 1


@pytest.mark.parametrize("name", ["0", "01", "-1", "1.0", "1e3", "١", "", " 1", "1\n", "9" * 19])
def test_only_plain_numbers_are_versions(name: str) -> None:
    assert layout.version_of(name) is None
    assert layout.version_of("42") == 42


def test_leftovers_are_told_from_what_stays() -> None:
    for entry in (layout.staging_name(), layout.names_staging_name(), layout.trash_name(3)):
        assert layout.is_leftover(entry)
    for entry in ("1", "aliases.json", ".lock", layout.retired_name(3), ".publish", ".git"):
        assert not layout.is_leftover(entry)


def test_of_the_marks_only_the_highest_counts() -> None:
    assert layout.outdated_marks([".retired-10", "3", ".retired-9", ".retired-2"]) == [".retired-2", ".retired-9"]
    assert layout.outdated_marks([".retired-10"]) == []
