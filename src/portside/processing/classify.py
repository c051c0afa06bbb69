"""From a network's scores to the best classes with their labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from portside.errors import InvalidRequest, InvalidTensor
from portside.model.inference import ClassScore
from portside.model.processing import Activation, Classification
from portside.model.tensors import Array

Scores = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def classify(
    outputs: Mapping[str, Array], spec: Classification, top_k: int | None = None
) -> list[tuple[ClassScore, ...]]:
    """The best classes of every row, best first.

    A row whose scores are not all numbers: NaN sorts last and is shown as it is (after softmax the whole row is NaN).
    Equal scores keep the order of the class numbers. A class without a label is named by its number.

    Args:
        outputs: arrays by output name; ``spec.output`` is ``[n, classes]``, trailing extents of 1 allowed.
        spec: the declaration.
        top_k: how many classes a row; ``None`` for the declared number; more than there are gives all.

    Returns:
        one tuple a row.

    Raises:
        InvalidTensor: no such output, not numbers, or not of that shape.
        InvalidRequest: ``top_k`` is below 1.
    """
    wanted = spec.top_k if top_k is None else top_k
    if wanted < 1:
        raise InvalidRequest(f"top_k is {wanted}: expected at least 1")
    scores = activate(_rows(outputs, spec.output), spec.activation)
    best = _best(scores, wanted)
    values = np.take_along_axis(scores, best, axis=1).tolist()
    return [
        tuple(ClassScore(i, _label(spec.labels, i), v) for i, v in zip(row, row_values, strict=True))
        for row, row_values in zip(best.tolist(), values, strict=True)
    ]


def activate(scores: Scores, activation: Activation) -> Scores:
    """Applies an activation over the classes of ``[n, classes]``, without overflow; the shape stays."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        match activation:
            case Activation.NONE:
                return scores
            case Activation.SOFTMAX:
                powers: Scores = np.exp(scores - scores.max(axis=1, keepdims=True))
                powers /= powers.sum(axis=1, keepdims=True)
                return powers
            case Activation.SIGMOID:
                # tanh saturates where exp would overflow.
                halves: Scores = np.tanh(scores * 0.5)
                halves *= 0.5
                halves += 0.5
                return halves


def _rows(outputs: Mapping[str, Array], name: str) -> Scores:
    array = outputs.get(name)
    if array is None:
        raise InvalidTensor(f"there is no output {name!r} to classify: the model gave {sorted(outputs)}")
    shape = array.shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 2 or shape[1] == 0:
        raise InvalidTensor(
            f"output {name!r} has shape {list(array.shape)}: one score a class, [batch, classes], expected"
        )
    if array.dtype.kind not in "fiub":
        raise InvalidTensor(f"output {name!r} is {array.dtype}: numbers expected")
    rows = array.reshape(shape)
    return rows.astype(np.float64, copy=False) if array.dtype.itemsize > 4 else rows.astype(np.float32, copy=False)


def _best(scores: Scores, wanted: int) -> npt.NDArray[np.intp]:
    keys = np.where(np.isnan(scores), np.inf, -scores)
    classes = keys.shape[1]
    if wanted >= classes:
        return np.argsort(keys, axis=1, kind="stable")
    part = np.argpartition(keys, wanted - 1, axis=1)[:, :wanted]
    part.sort(axis=1)
    last = np.take_along_axis(keys, part, axis=1).max(axis=1, keepdims=True)
    if np.count_nonzero(keys <= last) != part.size:
        # Equal scores on both sides of the cut: a partition does not say which of them it takes.
        return np.argsort(keys, axis=1, kind="stable")[:, :wanted]
    order = np.argsort(np.take_along_axis(keys, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)


def _label(labels: tuple[str, ...], index: int) -> str:
    return labels[index] if index < len(labels) else str(index)
