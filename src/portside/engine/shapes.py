"""Checks shapes that a compiled graph would not check itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from portside.model.tensors import Array

_MOST_REMEMBERED = 4096


class ShapeGuard:
    """Puts combinations of extents that were not seen before to a model's own shape inference.

    OpenVINO's compiled graphs do not compare a row's length with the weights it meets where the graph leaves the length
    open: the answer would be a number without meaning. The uncompiled model knows. Axis 0 is left out of what is
    remembered, for rows are independent.

    Args:
        model: an uncompiled model of the library, given away: it is reshaped by every check.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 -- the library has no types
        self._model = model
        self._lock = threading.Lock()
        self._seen: set[tuple[tuple[int, ...], ...]] = set()

    def check(self, arrays: Sequence[Array]) -> None:
        """Raises what the library raises if inputs of these shapes, in the graph's order, do not fit the graph."""
        extents = tuple(array.shape[1:] for array in arrays)
        if extents in self._seen:
            return
        with self._lock:
            self._model.reshape({index: list(array.shape) for index, array in enumerate(arrays)})
            if len(self._seen) >= _MOST_REMEMBERED:
                self._seen.clear()
            self._seen.add(extents)
