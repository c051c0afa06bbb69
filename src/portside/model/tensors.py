"""Element types and tensor specs."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]
"""Any numpy array; its dtype is checked against a :class:`TensorSpec`, not by the type checker."""

Dim: TypeAlias = int | str
"""A fixed extent (``224``) or a symbolic one (``"batch"``, ``"height"``)."""


class DType(Enum):
    """Element type of a tensor. The value is the name used in manifests and on the command line."""

    BOOL = "bool"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"
    """Variable-length bytes; a numpy array of dtype ``object`` whose elements are ``bytes``."""

    # Members are single objects, so identity will do; Enum's own hash is Python code, several times a request.
    __hash__ = object.__hash__

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype that arrays of this type have inside the process."""
        return _NUMPY[self]

    @staticmethod
    def of(array: Array) -> DType:
        """The type of an array. Raises ``KeyError`` for a dtype that no model input or output can have."""
        return _FROM_NUMPY[array.dtype.str[1:] if array.dtype.kind != "O" else "O"]


_NUMPY: dict[DType, np.dtype[np.generic]] = {
    d: np.dtype(object) if d is DType.STRING else np.dtype(d.value) for d in DType
}
_FROM_NUMPY: dict[str, DType] = {("O" if d is DType.STRING else _NUMPY[d].str[1:]): d for d in DType}


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Name, element type and shape of one input or output.

    Attributes:
        name: as in the graph.
        dtype: element type.
        shape: one entry a dimension; a string is a symbolic dimension. Equal names are equal extents within one
            request (this is how a batch axis that inputs and outputs share is written).
    """

    name: str
    dtype: DType
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype.value}[{', '.join(str(d) for d in self.shape)}]"
