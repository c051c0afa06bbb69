"""Requests and responses, free of any wire protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from portside.model.ref import ModelRef
from portside.model.tensors import Array


class InferRequest(msgspec.Struct):
    """Tensors in.

    Attributes:
        model: which model.
        inputs: arrays by input name; they may be read-only views into the request body and are only read.
        outputs: names of the wanted outputs, in order; ``None`` for all.
        id: the caller's identifier, echoed.
        timeout_s: how long the caller waits, seconds; ``None`` for the server's default.
        protocol: which front end it came through, for the metrics ("tfs-rest", "oip-rest", "predict").
    """

    model: ModelRef
    inputs: Mapping[str, Array]
    outputs: Sequence[str] | None = None
    id: str = ""
    timeout_s: float | None = None
    protocol: str = ""


class InferResponse(msgspec.Struct):
    """Tensors out.

    Attributes:
        model_name: the model that answered.
        model_version: the version that answered.
        outputs: arrays by output name, in the wanted order.
        id: as in the request.
    """

    model_name: str
    model_version: int
    outputs: Mapping[str, Array]
    id: str = ""


class PredictRequest(msgspec.Struct):
    """Raw items in (encoded pictures), to be answered through the declared processing.

    Attributes:
        model: which model.
        items: one encoded picture each.
        top_k: how many classes; ``None`` for the declared number.
        timeout_s: how long the caller waits, seconds; ``None`` for the server's default.
        protocol: which front end it came through, for the metrics.
    """

    model: ModelRef
    items: Sequence[bytes]
    top_k: int | None = None
    timeout_s: float | None = None
    protocol: str = "predict"


class ClassScore(msgspec.Struct, frozen=True):
    """One class of an answer.

    Attributes:
        index: class number.
        label: its name.
        score: after the declared activation.
    """

    index: int
    label: str
    score: float


class Prediction(msgspec.Struct, frozen=True):
    """The answer to one raw item: the best classes, or the row of every output when no classification is declared."""

    classes: tuple[ClassScore, ...] = ()
    outputs: Mapping[str, Array] = {}


class PredictResponse(msgspec.Struct):
    """Answers to a :class:`PredictRequest`, one an item, in order."""

    model_name: str
    model_version: int
    predictions: Sequence[Prediction]
