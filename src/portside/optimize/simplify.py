"""Folds constants and removes what computes nothing, with onnxslim."""

from __future__ import annotations

from typing import Any

from portside.errors import MissingExtra
from portside.model.signature import Signature
from portside.optimize.base import Graph
from portside.optimize.save import MAX_INLINE_BYTES

# Batch normalisation is folded by our own pass, in float64.
_LEFT_OUT = ["FusionConvBN", "FusionConvTransposeBN"]
_MAX_CONSTANT_BYTES = 16 * 2**20


class Simplify:
    """Constant folding, shape arithmetic, dead and double nodes, padding and additions into convolutions.

    Constants that would grow beyond 16 MiB by being folded stay computed.
    """

    @property
    def name(self) -> str:
        """Stable name."""
        return "simplify"

    def requires(self, graph: Graph) -> str | None:
        """Graphs near protobuf's 2 GB are left alone: the library makes a message of the whole."""
        if graph.proto.ByteSize() > MAX_INLINE_BYTES:
            return f"the graph is over {MAX_INLINE_BYTES / 1e9:.1f} GB"
        return None

    def apply(self, graph: Graph) -> Graph:
        """Returns a new graph; the signature stays. Raises MissingExtra."""
        slim = _library()
        stamp = graph.proto.ir_version
        producer = (graph.proto.producer_name, graph.proto.producer_version)
        proto = slim(graph.proto, skip_fusion_patterns=_LEFT_OUT, size_threshold=_MAX_CONSTANT_BYTES)
        proto.ir_version = stamp
        proto.producer_name, proto.producer_version = producer
        return Graph(proto, graph.signature, graph.processing)

    def ensures(self, before: Signature, after: Graph) -> str | None:
        """The signature is untouched."""
        return None if after.signature == before else "the signature changed"


def _library() -> Any:  # noqa: ANN401 -- the library has no types
    try:
        from onnxslim import slim
    except ImportError as e:
        raise MissingExtra("simplifying a graph", "onnx", detail=str(e)) from e
    return slim
