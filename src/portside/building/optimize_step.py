"""The step ``optimize``: portable graph -> smaller, faster graph that computes the same."""

from __future__ import annotations

import msgspec

from portside.building.convert_step import graph_path
from portside.building.steps import Context, Step, StepName
from portside.errors import OptimizationFailed
from portside.model.processing import Processing
from portside.model.source import Converted
from portside.optimize.base import Graph, Optimized
from portside.optimize.graphs import count_nodes
from portside.optimize.save import load_graph, save_graph
from portside.optimize.sequence import run_passes


class OptimizeInput(msgspec.Struct, frozen=True):
    """What the step ``optimize`` takes.

    Attributes:
        converted: the graph; its files are those of the step ``convert``.
        processing: what happens around it.
        fuse: whether work may move from there into the graph.
    """

    converted: Converted
    processing: Processing
    fuse: bool


def optimize(given: OptimizeInput, context: Context) -> Optimized:
    """Runs the passes. Raises OptimizationFailed, MissingExtra."""
    progress, tools = context.progress, context.tools
    progress.start("optimize")
    proto = load_graph(graph_path(context.made_by(StepName.CONVERT), given.converted))
    graph = Graph(proto, given.converted.signature, given.processing)
    passes = [*tools.passes, *(tools.fusing if given.fuse else ())]
    graph, outcomes = run_passes(graph, passes)
    files = save_graph(graph.proto, context.files)
    applied = ", ".join(outcome.name for outcome in outcomes if outcome.modified)
    progress.finish(f"{count_nodes(graph.proto.graph)} nodes" + (f" after {applied}" if applied else ""))
    return Optimized(files[0], files, graph.signature, graph.processing, outcomes)


OPTIMIZE = Step(StepName.OPTIMIZE, OptimizeInput, Optimized, optimize, OptimizationFailed)
