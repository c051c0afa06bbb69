from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from portside.errors import MissingExtra, OptimizationFailed
from portside.model.signature import Signature
from portside.optimize.base import Graph
from portside.optimize.sequence import run_passes


class Nothing:
    """A pass that applies and does nothing; the tests below break it one promise at a time."""

    name = "nothing"

    def requires(self, graph: Graph) -> str | None:
        assert graph.proto is not None
        return None

    def apply(self, graph: Graph) -> Graph:
        return graph

    def ensures(self, before: Signature, after: Graph) -> str | None:
        return None if after.signature == before else "the signature changed"


class Unwilling(Nothing):
    def requires(self, graph: Graph) -> str | None:
        return f"{len(graph.proto.graph.node)} nodes are too few"


class Crashes(Nothing):
    def apply(self, graph: Graph) -> Graph:
        raise KeyError(graph.proto.graph.node[0].name)


class NeedsMore(Nothing):
    def apply(self, graph: Graph) -> Graph:
        raise MissingExtra(f"a pass over {len(graph.proto.graph.node)} nodes", "onnx")


class RenamesOutput(Nothing):
    def apply(self, graph: Graph) -> Graph:
        graph.proto.graph.output[0].name = "other"
        graph.proto.graph.node[-1].output[0] = "other"
        return graph


class FixesBatch(Nothing):
    def apply(self, graph: Graph) -> Graph:
        graph.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        return graph


class RetypesInput(Nothing):
    def apply(self, graph: Graph) -> Graph:
        graph.proto.graph.input[0].type.tensor_type.elem_type = 11
        return graph


class RaisesOpset(Nothing):
    def apply(self, graph: Graph) -> Graph:
        graph.proto.opset_import[0].version = 19
        return graph


class RaisesIr(Nothing):
    def apply(self, graph: Graph) -> Graph:
        graph.proto.ir_version = 10
        return graph


class LosesWeights(Nothing):
    def apply(self, graph: Graph) -> Graph:
        del graph.proto.graph.initializer[:]
        return graph


class ChangesSignature(Nothing):
    def apply(self, graph: Graph) -> Graph:
        return Graph(graph.proto, msgspec.structs.replace(graph.signature, batch_dim=None), graph.processing)


def test_a_pass_without_effect_is_reported_as_such(picture_net: Callable[..., Graph]) -> None:
    graph = picture_net()
    data = graph.proto.SerializeToString()
    after, outcomes = run_passes(graph, [Nothing(), Unwilling()])
    assert [(o.applied, o.modified) for o in outcomes] == [(True, False), (False, False)]
    assert outcomes[0].note == "nothing to change"
    assert outcomes[1].note == "5 nodes are too few"
    assert after.proto.SerializeToString() == data


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Crashes(), r"failed \(KeyError\)"),
        (RenamesOutput(), "outputs are"),
        (FixesBatch(), "input 'pixels' has shape"),
        (RetypesInput(), "is float64"),
        (RaisesOpset(), "opset changed"),
        (RaisesIr(), "IR version"),
        (LosesWeights(), "no longer valid"),
        (ChangesSignature(), "signature changed"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Nothing) else "",
)
def test_a_broken_promise_names_the_pass(picture_net: Callable[..., Graph], step: Nothing, words: str) -> None:
    with pytest.raises(OptimizationFailed, match=words) as caught:
        run_passes(picture_net(), [step])
    assert "'nothing'" in caught.value.message


def test_our_own_errors_pass_through(picture_net: Callable[..., Graph]) -> None:
    with pytest.raises(MissingExtra):
        run_passes(picture_net(), [NeedsMore()])
