from __future__ import annotations

from types import SimpleNamespace

import pytest

from portside.errors import AliasNotFound, ModelNotFound, Unavailable, VersionNotFound
from portside.model.ref import ModelRef
from portside.serving.router import Route, Router


async def test_resolves_current_version_and_alias(make: SimpleNamespace) -> None:
    one = make.servable(manifest=make.manifest(version=1))
    two = make.servable(manifest=make.manifest(version=2))
    router = Router()
    router.swap(
        {"m": Route(two, {1: one, 2: two}, {"stable": one}, {"stable": 1, "next": 3}, {3: "it is being loaded"})}
    )
    assert router.resolve(ModelRef("m")) is two
    assert router.resolve(ModelRef("m", version=1)) is one
    assert router.resolve(ModelRef("m", alias="stable")) is one
    with pytest.raises(Unavailable, match="version 3 of model 'm' is not ready: it is being loaded"):
        router.resolve(ModelRef("m", alias="next"))
    with pytest.raises(Unavailable, match="version 3"):
        router.resolve(ModelRef("m", version=3))
    with pytest.raises(VersionNotFound, match=r"version 9 .* loaded are: 1, 2"):
        router.resolve(ModelRef("m", version=9))
    with pytest.raises(AliasNotFound, match=r"no alias 'none': its aliases are: 'next', 'stable'"):
        router.resolve(ModelRef("m", alias="none"))


def test_an_unknown_model_is_named_and_cut() -> None:
    router = Router()
    router.swap({})
    with pytest.raises(ModelNotFound, match=r"Request for unknown model: 'x' is not found; served are: none$"):
        router.resolve(ModelRef("x"))
    with pytest.raises(ModelNotFound) as caught:
        router.resolve(ModelRef("x" * 10_000))
    assert len(caught.value.message) < 300
    router.swap({f"m{i}": Route() for i in range(10)})
    with pytest.raises(ModelNotFound, match=r"served are: 'm0', 'm1', .*'m9'$"):
        router.resolve(ModelRef("x"))
    router.swap({f"m{i:02}": Route() for i in range(11)})
    with pytest.raises(ModelNotFound, match=r"served are: 'm00', .*'m09', …$"):
        router.resolve(ModelRef("x"))


def test_an_alias_of_a_version_that_is_gone() -> None:
    router = Router()
    router.swap({"m": Route(targets={"a": 4})})
    with pytest.raises(VersionNotFound, match="loaded are: none"):
        router.resolve(ModelRef("m", alias="a"))


def test_nothing_ready_says_why() -> None:
    router = Router()
    router.swap({"m": Route(pending={3: "its digest differs", 2: "it is being loaded"}), "n": Route()})
    with pytest.raises(Unavailable, match=r"version 2: it is being loaded; version 3: its digest differs"):
        router.resolve(ModelRef("m"))
    with pytest.raises(Unavailable, match="none is published"):
        router.resolve(ModelRef("n"))


def test_before_the_first_table_and_after_the_last() -> None:
    router = Router()
    with pytest.raises(Unavailable, match="starting"):
        router.resolve(ModelRef("m"))
    router.close()
    with pytest.raises(Unavailable, match="shutting down"):
        router.resolve(ModelRef("m"))
