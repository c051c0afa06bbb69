"""Command-line options that several commands share, and what they become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from portside.app.settings import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    DEFAULT_REPOSITORY,
    HOST_VARIABLE,
    PORT_VARIABLE,
    REPOSITORY_VARIABLE,
)
from portside.errors import InvalidSettings
from portside.model.processing import (
    Activation,
    Classification,
    Colour,
    Fit,
    ImageInput,
    Interpolation,
    Layout,
    Processing,
)
from portside.model.source import Source, parse_input, parse_json_option
from portside.processing.labels import read_labels

F = TypeVar("F", bound=Callable[..., Any])

PRESETS: dict[str, dict[str, Any]] = {
    "raw": {},
    "unit": {"scale": 1 / 255},
    "inception": {"mean": (127.5,) * 3, "std": (127.5,) * 3},
    "imagenet": {
        "fit": Fit.SHORTEST,
        "scale": 1 / 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
}
"""Normalisations that trained networks commonly want; every part can be overridden by its own option."""


def repository_option(command: F) -> F:
    """``--repository DIR``."""
    return click.option(
        "--repository",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_REPOSITORY,
        envvar=REPOSITORY_VARIABLE,
        show_default=True,
        show_envvar=True,
        help="Folder that holds the published versions.",
    )(command)


def json_option(command: F) -> F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document for machines.")(command)


def listen_options(command: F) -> F:
    """``--host`` and ``--port``."""
    command = click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=DEFAULT_PORT,
        envvar=PORT_VARIABLE,
        show_default=True,
        show_envvar=True,
        help="Port to listen on; 0 takes any free one and prints it.",
    )(command)
    return click.option(
        "--host",
        default=DEFAULT_HOST,
        envvar=HOST_VARIABLE,
        show_default=True,
        show_envvar=True,
        help="Address to listen on; 0.0.0.0 for every interface.",
    )(command)


_SOURCE_OPTIONS = (
    click.option("--checkpoint", metavar="FILE", help="State dict of a PyTorch module named by import path."),
    click.option("--args", "call_args", metavar="JSON", help="Positional arguments of the callable, a JSON list."),
    click.option("--kwargs", "call_kwargs", metavar="JSON", help="Keyword arguments of the callable, a JSON object."),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="NAME=DTYPE[DIMS]",
        help="An input, e.g. x=float32[batch,3,224,224]; names among the dimensions are dynamic. Repeat for more.",
    ),
    click.option("--output-name", "output_names", multiple=True, metavar="NAME", help="Name of an output, in order."),
    click.option("--signature-name", default="serving_default", show_default=True, help="Of a SavedModel."),
)

_PROCESSING_OPTIONS = (
    click.option("--processing", "processing_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                 help="Declaration as JSON (as `models show --json` prints it); excludes the options below."),
    click.option("--image", metavar="HxW", help="The input is a picture of that size, e.g. 224x224."),
    click.option("--preset", type=click.Choice(sorted(PRESETS)), default="raw", show_default=True,
                 help="Normalisation: raw 0..255, unit 0..1, inception -1..1, imagenet mean and deviation."),
    click.option("--fit", type=click.Choice([f.value for f in Fit]), help="How a picture reaches the size."),
    click.option("--resize", type=click.IntRange(1), help="Shortest side before cutting, for --fit shortest."),
    click.option("--crop-fraction", type=click.FloatRange(0.0, 1.0, min_open=True), help="For --fit crop."),
    click.option("--interpolation", type=click.Choice([i.value for i in Interpolation]), help="Resampling filter."),
    click.option("--scale", type=float, help="Multiplied with every pixel value."),
    click.option("--mean", metavar="A[,B,C]", help="Subtracted after scaling, one a channel."),
    click.option("--std", metavar="A[,B,C]", help="Divided by after that, one a channel."),
    click.option("--colour", type=click.Choice([c.value for c in Colour]), help="Channel order."),
    click.option("--layout", type=click.Choice([v.value for v in Layout]), help="Axis order the network takes."),
    click.option("--labels", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                 help="Class names, one a line or a JSON list: the output is a classification."),
    click.option("--top-k", type=click.IntRange(1), help="Classes in an answer (5)."),
    click.option("--activation", type=click.Choice([a.value for a in Activation]), help="Over the classes (softmax)."),
)  # fmt: skip


def source_options(command: F) -> F:
    """The SOURCE argument and what may have to be said about it."""
    for option in reversed(_SOURCE_OPTIONS):
        command = option(command)
    return click.argument("source")(command)


def processing_options(command: F) -> F:
    """What happens before and after the graph."""
    for option in reversed(_PROCESSING_OPTIONS):
        command = option(command)
    return command


def make_source(source: str, given: dict[str, Any]) -> Source:
    """A Source from the options of :func:`source_options`. Raises InvalidSettings."""
    args, kwargs = given["call_args"], given["call_kwargs"]
    return Source(
        location=source,
        checkpoint=given["checkpoint"],
        args=tuple(parse_json_option(args, "--args", list)) if args else (),
        kwargs=parse_json_option(kwargs, "--kwargs", dict) if kwargs else {},
        inputs=tuple(parse_input(text) for text in given["inputs"]),
        output_names=tuple(given["output_names"]),
        signature_name=given["signature_name"],
    )


def make_processing(given: dict[str, Any]) -> Processing:
    """A declaration from the options of :func:`processing_options`.

    Names of the graph's input and output may stay empty; the build fills them in once the graph is known.

    Raises:
        InvalidSettings: a value does not fit, or the file is not a declaration.
    """
    refuse_ignored(given)
    if given["processing_file"] is not None:
        try:
            return msgspec.json.decode(given["processing_file"].read_bytes(), type=Processing)
        except msgspec.MsgspecError as e:
            raise InvalidSettings(f"--processing is not a declaration: {e}") from e
    return Processing(image=_image(given), classification=_classification(given))


_OF_PICTURES = ("fit", "resize", "crop_fraction", "interpolation", "scale", "mean", "std", "colour", "layout")
_OF_ANSWERS = ("labels", "top_k", "activation")


def refuse_ignored(given: dict[str, Any]) -> None:
    """Refuses options that would have no effect: who gives them counts on it. Raises InvalidSettings."""
    pictures = [f"--{name.replace('_', '-')}" for name in _OF_PICTURES if given[name] is not None]
    pictures += ["--preset"] if given["preset"] != "raw" else []
    if given["processing_file"] is not None:
        others = ["--image"] if given["image"] is not None else []
        others += pictures + [f"--{name.replace('_', '-')}" for name in _OF_ANSWERS if given[name] is not None]
        if others:
            raise InvalidSettings(f"--processing excludes {', '.join(others)}: change the file, or leave it out")
    elif given["image"] is None and pictures:
        raise InvalidSettings(f"{', '.join(pictures)} without --image: give the size of the pictures too, --image HxW")


def _image(given: dict[str, Any]) -> ImageInput | None:
    if given["image"] is None:
        return None
    height, cross, width = given["image"].lower().partition("x")
    if not (cross and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise InvalidSettings(f"--image {given['image']!r}: expected HEIGHTxWIDTH in pixels, e.g. 224x224")
    fields: dict[str, Any] = {"input": "", "height": int(height), "width": int(width), **PRESETS[given["preset"]]}
    if "fit" in fields:
        fields["resize"] = round(min(int(height), int(width)) / 0.875)
    kinds = {"fit": Fit, "interpolation": Interpolation, "colour": Colour, "layout": Layout}
    for name in ("fit", "resize", "crop_fraction", "interpolation", "scale", "colour", "layout"):
        if given[name] is not None:
            fields[name] = kinds[name](given[name]) if name in kinds else given[name]
    channels = 1 if fields.get("colour") is Colour.GREY else 3
    for name in ("mean", "std"):
        if given[name] is not None:
            fields[name] = _floats(given[name], name, channels)
        elif channels == 1 and name in fields:
            fields[name] = fields[name][:1]
    if channels == 1:
        fields.setdefault("mean", (0.0,))
        fields.setdefault("std", (1.0,))
    return ImageInput(**fields)


def _floats(text: str, name: str, channels: int) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InvalidSettings(f"--{name} {text!r}: expected numbers separated by commas") from None
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise InvalidSettings(f"--{name} {text!r}: expected 1 or {channels} numbers, got {len(values)}")
    if name == "std" and 0.0 in values:
        raise InvalidSettings("--std holds a zero: pixel values are divided by it")
    return values


def _classification(given: dict[str, Any]) -> Classification | None:
    if given["labels"] is None and given["top_k"] is None and given["activation"] is None:
        return None
    return Classification(
        output="",
        activation=Activation(given["activation"] or "softmax"),
        top_k=given["top_k"] or 5,
        labels=read_labels(given["labels"]) if given["labels"] is not None else (),
    )
