"""The input of one run of the offline line."""

from __future__ import annotations

import msgspec

from portside.errors import InvalidSettings
from portside.model.config import EngineName, Goal, Precision
from portside.model.processing import Processing
from portside.model.ref import check_name
from portside.model.source import Source


class TimeLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    """How long each step may take before it is ended, seconds.

    Attributes:
        convert_s: conversion and recording of the golden outputs.
        optimize_s: the graph passes.
        tune_s: the accuracy gate and the measurements.
    """

    convert_s: float = 1800.0
    optimize_s: float = 900.0
    tune_s: float = 1800.0


class Recipe(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that decides what a build makes. Written beside the result, so that it can be made again.

    Attributes:
        name: the model it is published as.
        source: what is converted.
        processing: what happens around the graph. An empty ``image.input`` or ``classification.output`` means the
            model's only input or output; the build fills it in.
        samples: a folder of pictures, an ``.npz`` (arrays by input name, rows first) or an ``.npy`` (a model with one
            input), of real data; without it the verdict cannot be better than inconclusive.
        sample_limit: most pictures or rows that are used.
        fuse: move the normalisation of pictures into the graph, so that uint8 crosses the wire.
        goal: what the tuner optimises for.
        engines: engines it may choose from.
        precisions: arithmetics it may choose from.
        cores: threads the service may use; ``None``: all that this process may.
        budget_s: about how long all measurements together may take, seconds.
        seed: of the random cases.
        force: publish even if the verdict is not ``pass``.
        limits: how long the steps may take.
    """

    name: str
    source: Source
    processing: Processing = Processing()
    samples: str | None = None
    sample_limit: int = 64
    fuse: bool = True
    goal: Goal = Goal.LATENCY
    engines: tuple[EngineName, ...] = tuple(EngineName)
    precisions: tuple[Precision, ...] = tuple(Precision)
    cores: int | None = None
    budget_s: float = 15.0
    seed: int = 0
    force: bool = False
    limits: TimeLimits = TimeLimits()


def check_recipe(recipe: Recipe) -> None:
    """Checks what can be checked before any work starts.

    Raises:
        InvalidRequest: the name cannot name a model.
        InvalidSettings: a number is out of range, or nothing is left to choose from.
    """
    check_name(recipe.name)
    if recipe.sample_limit < 1:
        raise InvalidSettings(f"sample_limit is {recipe.sample_limit}, expected at least 1: leave samples out instead")
    if recipe.cores is not None and recipe.cores < 1:
        raise InvalidSettings(f"cores is {recipe.cores}, expected at least 1")
    if not recipe.budget_s > 0:
        raise InvalidSettings(f"budget_s is {recipe.budget_s}, expected seconds above 0")
    if not recipe.engines or not recipe.precisions:
        raise InvalidSettings("no engine or no precision is allowed: name at least one of each, or leave both out")
    for field in recipe.limits.__struct_fields__:
        if not getattr(recipe.limits, field) > 0:
            raise InvalidSettings(
                f"the time limit {field} is {getattr(recipe.limits, field)}, expected seconds above 0"
            )
