from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portside.errors import InvalidRequest, PayloadTooLarge
from portside.protocol import jsontext
from portside.protocol.base import Limits

LIMITS = Limits(json_depth=5)


def nested(levels: int, inside: bytes = b"1") -> bytes:
    return b"[" * levels + inside + b"]" * levels


def test_reads_plain_json_from_bytes_and_from_a_view() -> None:
    assert jsontext.loads(b'{"a": [1, 2.5, null, true, "x"]}', LIMITS) == {"a": [1, 2.5, None, True, "x"]}
    assert jsontext.loads(memoryview(b"xx[1]")[2:], LIMITS) == [1]


def test_reads_the_bare_tokens_of_numbers_that_are_none() -> None:
    value = jsontext.loads(b'{"a": [NaN, Infinity, -Infinity, 1], "NaN": "Infinity"}', LIMITS)
    assert isinstance(value, dict)
    assert math.isnan(value["a"][0])
    assert value["a"][1:] == [math.inf, -math.inf, 1]
    assert value["NaN"] == "Infinity"


def test_of_a_repeated_key_the_last_one_counts_on_both_paths() -> None:
    assert jsontext.loads(b'{"a": 1, "a": 2}', LIMITS) == {"a": 2}
    assert jsontext.loads(b'{"a": NaN, "a": 2}', LIMITS) == {"a": 2}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" \n", "JSON Parse error: The document is empty"),
        (b'{"a":', "at offset: 5"),
        (b'{"a": 1} x', "at offset: 9"),
        (b"{'a': 1}", "at offset: 1"),
        (b'{"a": NaN', "at offset: 9"),
        (b'"NaN', "at offset: "),
        (b"\xff", "UTF-8"),
        (b"[NaN, \xff]", "not valid UTF-8 at offset: 6"),
        (b'[NaN, "\\ud800"]', "surrogate"),
        (b'["\\ud800"]', "JSON Parse error"),
        (b"[NaN, " + b"1" * 5000 + b"]", "thousands of digits"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
def test_what_is_not_json_is_refused_with_the_place(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^JSON Parse error: ") as caught:
        jsontext.loads(body, LIMITS)
    assert message in caught.value.message


@pytest.mark.parametrize("inside", [b"1", b"NaN", b'"]]]]]]"', b'"\\"]]]"', b'"\\\\"', b'{"}": "]"}'])
def test_depth_is_counted_outside_of_strings(inside: bytes) -> None:
    levels = 5 - inside.count(b"{")
    jsontext.loads(nested(levels, inside), LIMITS)
    with pytest.raises(InvalidRequest, match="more than 5 levels"):
        jsontext.loads(nested(levels + 1, inside), LIMITS)


def test_closing_brackets_in_strings_do_not_hide_depth() -> None:
    hidden = b'["]]]]]]]]",' * 20 + b"1" + b"]" * 20
    with pytest.raises(InvalidRequest, match="more than 5 levels"):
        jsontext.loads(hidden, LIMITS)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("escape", [b'\\"', b"\\\\", b'\\"x', b"\\"])
def test_a_string_that_never_ends_costs_no_more_than_its_length(escape: bytes) -> None:
    with pytest.raises(InvalidRequest, match="levels of nesting"):
        jsontext.loads(b"[" * 10 + b'"' + escape * 1_000_000, LIMITS)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert jsontext.loads(b"[" + b"[]," * 3000 + b"[]]", LIMITS) == [[]] * 3001


def test_too_many_lists_are_refused_before_they_are_built() -> None:
    with pytest.raises(PayloadTooLarge, match="a JSON document of 1000002 lists and objects"):
        jsontext.loads(b"[" + b"[],{}," * 500_000 + b"[]]", LIMITS)


def test_depth_carries_over_the_pieces_it_is_counted_in() -> None:
    wide = b"[" + b"[]," * 600_000
    jsontext.loads(wide + nested(4) + b"]", LIMITS)
    with pytest.raises(InvalidRequest, match="more than 5 levels"):
        jsontext.loads(wide + nested(5) + b"]", LIMITS)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[NaN," * 100_000])
def test_hostile_nesting_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        jsontext.loads(body, Limits())


def test_an_object_is_asked_for() -> None:
    assert jsontext.read_object(b"{}", LIMITS) == {}
    with pytest.raises(InvalidRequest, match=r"JSON Value: \[1\] Type: Array is not of expected type: object"):
        jsontext.read_object(b"[1]", LIMITS)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "Null"),
        (True, "True"),
        (False, "False"),
        (1, "Number"),
        (1.5, "Number"),
        ("", "String"),
        ([], "Array"),
        ({}, "Object"),
    ],
)
def test_types_are_named_as_json_names_them(value: object, name: str) -> None:
    assert jsontext.type_name(value) == name


@pytest.mark.parametrize(
    "value", ["x" * 10_000, [1] * 10_000, {"k" * 10_000: 1}, {"k": ["v" * 9_000] * 9}, [[[]]] * 999]
)
def test_a_description_is_short_whatever_the_value(value: object) -> None:
    assert len(jsontext.describe(value)) < 260


def test_a_value_too_deep_to_show_is_cut() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    assert jsontext.shorten(value).endswith("…")
    value = {"x": 1}
    for _ in range(5_000):
        value = {"": value}
    assert jsontext.shorten(value).endswith("…")


def test_numbers_that_are_none_are_written_as_tokens() -> None:
    body = jsontext.dumps([jsontext.number(v) for v in (1.5, math.nan, math.inf, -math.inf)])
    assert body == b"[1.5,NaN,Infinity,-Infinity]"


def test_text_that_cannot_be_written_is_escaped() -> None:
    assert jsontext.dumps(jsontext.printable("a\ud800")) == b'"a\\\\ud800"'


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
@settings(max_examples=300, deadline=None)
def test_what_the_standard_library_writes_is_read_the_same(value: object) -> None:
    assert repr(jsontext.loads(json.dumps(value).encode(), Limits())) == repr(json.loads(json.dumps(value)))


@given(st.text(alphabet='[]{}",:\\1aNnInfity- \n', max_size=40))
@settings(max_examples=2000, deadline=None)
def test_any_text_is_a_value_or_our_error(text: str) -> None:
    try:
        value = jsontext.loads(text.encode(), LIMITS)
    except InvalidRequest:
        return
    assert repr(value) == repr(json.loads(text))


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None)
def test_any_bytes_are_a_value_or_our_error(body: bytes) -> None:
    try:
        jsontext.loads(body, LIMITS)
    except InvalidRequest as e:
        e.message.encode("utf-8")
