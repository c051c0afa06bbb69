from __future__ import annotations

import pytest

from portside.building.failure import Failure, describe, revive
from portside.errors import ConversionFailed, InvalidSettings, MissingExtra, PortsideError


def every_class(kind: type[PortsideError]) -> list[type[PortsideError]]:
    return [kind, *(each for sub in kind.__subclasses__() for each in every_class(sub))]


@pytest.mark.parametrize("kind", [k for k in every_class(PortsideError) if k is not MissingExtra])
def test_every_error_comes_back_as_itself(kind: type[PortsideError]) -> None:
    error = revive(describe(kind("what", detail="where"), "convert", ConversionFailed))
    assert type(error) is kind
    assert (error.message, error.detail, str(error), error.code) == ("what", "where", "what", kind.code)


def test_a_missing_extra_keeps_its_install_line() -> None:
    before = MissingExtra("reading a PyTorch model", "torch", detail="No module named 'torch'")
    after = revive(describe(before, "convert", ConversionFailed))
    assert isinstance(after, MissingExtra)
    assert (after.message, after.extra, after.detail) == (before.message, "torch", before.detail)


def test_a_foreign_exception_keeps_its_words_out_of_the_message() -> None:
    try:
        raise ValueError("/secret/path is bad")
    except ValueError as e:
        failure = describe(e, "convert", ConversionFailed)
    error = revive(failure)
    assert type(error) is ConversionFailed
    assert "the step 'convert' stopped with ValueError" in error.message
    assert "/secret/path" not in error.message
    assert error.detail is not None
    assert "/secret/path is bad" in error.detail
    assert "Traceback" in error.detail


@pytest.mark.parametrize("kind", ["", "Nonsense", "annotations", "ErrorCode", "Exception"])
def test_a_name_that_is_no_error_becomes_the_root(kind: str) -> None:
    assert type(revive(Failure(kind, "what"))) is PortsideError


def test_a_subclass_that_is_not_in_the_tree_becomes_its_nearest_ancestor_there() -> None:
    class Own(InvalidSettings):
        pass

    assert type(revive(describe(Own("what"), "convert", ConversionFailed))) is InvalidSettings
