from __future__ import annotations

from typing import Any

import msgspec
import pytest

from portside.building.recipe import Recipe, TimeLimits, check_recipe
from portside.errors import InvalidRequest, InvalidSettings
from portside.model.config import EngineName, Goal
from portside.model.manifest import encode
from portside.model.processing import Classification, ImageInput, Processing
from portside.model.source import Source, parse_input

RECIPE = Recipe("cats", Source("pkg.net:Cats", checkpoint="cats.pt"))


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(
        name="cats",
        source=Source("pkg.net:Cats", "cats.pt", (1, "a"), {"width": 0.5}, (parse_input("x=float32[batch,3,8,6]"),)),
        processing=Processing(ImageInput("", 8, 6), Classification("", labels=("cat", "dog"))),
        samples="photos",
        goal=Goal.THROUGHPUT,
        engines=(EngineName.OPENVINO,),
        limits=TimeLimits(convert_s=5),
    )
    assert msgspec.json.decode(encode(recipe), type=Recipe) == recipe
    assert msgspec.json.decode(encode(RECIPE), type=Recipe) == RECIPE


def test_a_plain_recipe_is_fine() -> None:
    check_recipe(RECIPE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sample_limit": 0}, "sample_limit is 0"),
        ({"cores": 0}, "cores is 0"),
        ({"budget_s": 0.0}, "budget_s is 0"),
        ({"engines": ()}, "no engine"),
        ({"precisions": ()}, "no precision|no engine or no precision"),
        ({"limits": TimeLimits(convert_s=0)}, "convert_s is 0"),
        ({"limits": TimeLimits(tune_s=float("nan"))}, "tune_s is nan"),
    ],
)
def test_what_cannot_be_built_is_said_at_once(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        check_recipe(msgspec.structs.replace(RECIPE, **change))


@pytest.mark.parametrize("name", ["", "../cats", "a/b", "-x"])
def test_names_that_could_leave_the_repository(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_recipe(msgspec.structs.replace(RECIPE, name=name))
