"""Runs passes one after the other and holds each to its promises."""

from __future__ import annotations

from collections.abc import Sequence

from portside.errors import OptimizationFailed, PortsideError
from portside.optimize.base import Graph, Pass, PassOutcome
from portside.optimize.graphs import count_nodes, fingerprint, mismatch, onnx_library
from portside.optimize.save import MAX_INLINE_BYTES


def run_passes(graph: Graph, passes: Sequence[Pass]) -> tuple[Graph, tuple[PassOutcome, ...]]:
    """Applies the passes that apply, in order.

    Args:
        graph: given away: passes may change it in place, and after an error it is of no use.
        passes: what to do.

    Returns:
        the resulting graph, and one outcome a pass.

    Raises:
        OptimizationFailed: naming the pass that failed or broke a promise.
    """
    outcomes = []
    for step in passes:
        reason = step.requires(graph)
        if reason is not None:
            outcomes.append(PassOutcome(step.name, applied=False, modified=False, note=reason))
            continue
        graph, outcome = _run_pass(graph, step)
        outcomes.append(outcome)
    return graph, tuple(outcomes)


def _run_pass(graph: Graph, step: Pass) -> tuple[Graph, PassOutcome]:
    signature = graph.signature
    stamp = _stamp(graph)
    nodes, digest = count_nodes(graph.proto.graph), fingerprint(graph.proto)
    try:
        after = step.apply(graph)
    except PortsideError:
        raise
    except Exception as e:
        raise OptimizationFailed(
            f"the pass '{step.name}' failed ({type(e).__name__}): build without it", detail=str(e)
        ) from e
    broken = step.ensures(signature, after) or mismatch(after.proto, after.signature) or _malformed(after)
    if broken is None and _stamp(after) != stamp:
        broken = "the graph's IR version or opset changed"
    if broken is not None:
        raise OptimizationFailed(f"the pass '{step.name}' broke a promise: {broken}; build without it")
    left = count_nodes(after.proto.graph)
    modified = fingerprint(after.proto) != digest
    note = f"{nodes} -> {left} nodes" if modified else "nothing to change"
    return after, PassOutcome(step.name, applied=True, modified=modified, note=note)


def _stamp(graph: Graph) -> tuple[int, dict[str, int]]:
    # "ai.onnx" is the long form of the empty domain.
    opsets = {o.domain.removeprefix("ai.onnx"): int(o.version) for o in graph.proto.opset_import}
    return int(graph.proto.ir_version), opsets


def _malformed(graph: Graph) -> str | None:
    """The checker's complaint, or ``None``; graphs too large to be one message are left to the engines."""
    if graph.proto.ByteSize() > MAX_INLINE_BYTES:
        return None
    try:
        onnx_library().checker.check_model(graph.proto)
    except onnx_library().checker.ValidationError as e:
        return f"the graph is no longer valid ONNX ({str(e).splitlines()[0]})"
    return None
