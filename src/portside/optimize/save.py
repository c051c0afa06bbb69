"""Graphs on disk: one file, or one file and its weights beside it when protobuf's limit is near."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from portside.errors import OptimizationFailed
from portside.optimize.graphs import onnx_library

if TYPE_CHECKING:
    import onnx

MAX_INLINE_BYTES = 1_500_000_000
"""Larger graphs keep their weights in a second file: one protobuf message ends at 2 GB."""


def load_graph(path: Path) -> onnx.ModelProto:
    """Reads a graph with all its weights.

    Raises:
        OptimizationFailed: not an ONNX file, or its weights are missing.
    """
    library = onnx_library()
    try:
        return library.load(str(path))
    except Exception as e:
        raise OptimizationFailed(
            f"the graph {path.name!r} cannot be read ({type(e).__name__}): expected an ONNX file with all its weights",
            detail=str(e),
        ) from e


def save_graph(
    proto: onnx.ModelProto, folder: Path, name: str = "model.onnx", *, max_inline_bytes: int = MAX_INLINE_BYTES
) -> tuple[str, ...]:
    """Writes a graph into a folder; its IR version and opset stay as they are.

    Args:
        proto: the graph; not changed.
        folder: exists; files of the same names are replaced.
        name: file name of the graph.
        max_inline_bytes: graphs over it keep their weights in ``<name>.data``.

    Returns:
        the file names relative to ``folder``, the graph's first.

    Raises:
        OptimizationFailed: the files cannot be written.
    """
    library = onnx_library()
    data = f"{name}.data"
    try:
        if proto.ByteSize() <= max_inline_bytes:
            (folder / name).write_bytes(proto.SerializeToString(deterministic=True))
            return (name,)
        (folder / data).unlink(missing_ok=True)
        library.save_model(
            proto, str(folder / name), save_as_external_data=True, all_tensors_to_one_file=True, location=data
        )
        # Saving turned the weights into references to the new file; the caller's graph gets its values back.
        library.load_external_data_for_model(proto, str(folder))
    except OSError as e:
        raise OptimizationFailed(f"the graph cannot be written: {e.strerror}", detail=str(e)) from e
    return (name, data)
