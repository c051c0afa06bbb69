"""Turns what a runtime library throws into our own errors."""

from __future__ import annotations

from collections.abc import Mapping

from portside.errors import EngineFailed, InvalidTensor, PortsideError
from portside.model.signature import Signature
from portside.model.tensors import Array


def refused_inputs(runtime: str, signature: Signature, inputs: Mapping[str, Array], cause: Exception) -> PortsideError:
    """The error for a failed run: what is wrong with the inputs if that can be said, else the runtime's failure.

    Args:
        runtime: the library, for the sentence.
        signature: as the runtime sees the graph.
        inputs: what was given.
        cause: what the library raised.
    """
    try:
        signature.check(inputs)
    except InvalidTensor as e:
        return InvalidTensor(e.message, detail=str(cause))
    given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in inputs.items())
    if _blames_arguments(cause):
        return InvalidTensor(
            f"the model cannot take {given}: extents that the graph leaves open do not fit together inside it; "
            "send shapes like those the model was built for",
            detail=str(cause),
        )
    return EngineFailed(
        f"{runtime} failed while running the model on {given}; the server's log has its words", detail=str(cause)
    )


def _blames_arguments(cause: Exception) -> bool:
    words = str(cause).lower()
    return type(cause).__name__ == "InvalidArgument" or any(w in words for w in ("shape", "dimension", "broadcast"))
