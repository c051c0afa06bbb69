from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portside.errors import DeadlineExceeded, EngineFailed, InvalidImage, InvalidTensor, Overloaded
from portside.model.inference import InferRequest, PredictRequest
from portside.model.processing import Activation, Classification, ImageInput, Processing
from portside.model.ref import ModelRef
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.serving.dataplane import DataPlane, Timeouts
from portside.serving.router import Route, Router
from portside.serving.warmup import grey_png

REF = ModelRef("line")
ONES = np.ones((2, 2), np.float32)
PICTURES = Signature((TensorSpec("x", DType.UINT8, ("n", 8, 8, 3)),), (TensorSpec("y", DType.FLOAT32, ("n", 2)),), "n")


class Ledger:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.rows: list[int] = []

    def request(self, protocol: str, error_code: str, duration_s: float) -> None:
        assert duration_s >= 0
        self.requests.append((protocol, error_code))

    def executed(self, rows: int, queue_s: float, compute_s: float) -> None:
        assert queue_s >= 0
        assert compute_s >= 0
        self.rows.append(rows)


def plane(servable: Any, **timeouts: float) -> DataPlane:
    router = Router()
    router.swap({"line": Route(servable, {servable.version: servable})})
    return DataPlane(router, Timeouts(**timeouts))


def eagerly(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Drives a coroutine that must not suspend."""
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


async def test_a_short_inference_never_suspends(make: SimpleNamespace) -> None:
    ledger = Ledger()
    servable = make.servable(make.GatedSession(), inline_rows=4, meter=ledger)
    dataplane = plane(servable)
    request = InferRequest(REF, {"x": ONES}, id="7", protocol="tfs-rest")
    response = eagerly(dataplane.infer(dataplane.resolve(REF), request))
    assert (response.model_name, response.model_version, response.id) == ("line", 1, "7")
    assert response.outputs["y"].tolist() == [[2, 2], [2, 2]]
    assert (ledger.requests, ledger.rows) == ([("tfs-rest", "")], [2])
    assert servable.in_flight == 0


async def test_more_rows_than_that_go_to_a_worker(make: SimpleNamespace) -> None:
    session = make.GatedSession(shut=True)
    servable = make.servable(session, inline_rows=1)
    dataplane = plane(servable)
    task = asyncio.ensure_future(dataplane.infer(servable, InferRequest(REF, {"x": ONES})))
    await asyncio.sleep(0)
    assert servable.in_flight == 1
    session.gate.set()
    assert (await task).outputs["y"].tolist() == [[2, 2], [2, 2]]
    assert servable.in_flight == 0


async def test_the_hold_is_taken_before_anything_is_awaited(make: SimpleNamespace) -> None:
    session = make.GatedSession(shut=True)
    servable = make.servable(session)
    coroutine = plane(servable).infer(servable, InferRequest(REF, {"x": ONES}))
    coroutine.send(None)
    assert servable.in_flight == 1
    coroutine.close()
    assert servable.in_flight == 0
    session.gate.set()


async def test_wanted_outputs_in_the_wanted_order(make: SimpleNamespace) -> None:
    signature = Signature(make.LINE.inputs, (*make.LINE.outputs, TensorSpec("z", DType.FLOAT32, ("batch",))), "batch")
    session = make.GatedSession(lambda i: {"y": i["x"], "z": i["x"][:, 0]})
    servable = make.servable(session, manifest=make.manifest(signature=signature))
    dataplane = plane(servable)
    both = await dataplane.infer(servable, InferRequest(REF, {"x": ONES}, ["z", "y"]))
    assert list(both.outputs) == ["z", "y"]
    one = await dataplane.infer(servable, InferRequest(REF, {"x": ONES}, ["z"]))
    assert list(one.outputs) == ["z"]
    for names in (["z", "z"], ["nothing"]):
        with pytest.raises(InvalidTensor):
            await dataplane.infer(servable, InferRequest(REF, {"x": ONES}, names))


async def test_what_does_not_fit_never_reaches_the_engine(make: SimpleNamespace) -> None:
    ledger, session = Ledger(), make.GatedSession()
    servable = make.servable(session, meter=ledger)
    dataplane = plane(servable)
    for inputs in ({"x": ONES.astype(np.int32)}, {"x": ONES[:, :1]}, {"q": ONES}, {}, {"x": ONES[:0]}):
        with pytest.raises(InvalidTensor):
            await dataplane.infer(servable, InferRequest(REF, inputs, protocol="p"))
    assert session.seen == []
    assert ledger.requests == [("p", "INVALID_ARGUMENT")] * 5
    assert servable.in_flight == 0


async def test_an_engine_that_fails_is_logged_and_counted_and_the_next_is_answered(
    make: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()
    session = make.GatedSession(lambda i: {"y": i["x"][:1]})
    servable = make.servable(session, meter=ledger)
    dataplane = plane(servable)
    with caplog.at_level(logging.ERROR), pytest.raises(EngineFailed, match="1 rows"):
        await dataplane.infer(servable, InferRequest(REF, {"x": ONES}, protocol="p"))
    assert "inference failed" in caplog.text
    assert (await dataplane.infer(servable, InferRequest(REF, {"x": ONES[:1]}, protocol="p"))).outputs
    assert ledger.requests == [("p", "ENGINE_FAILED"), ("p", "")]


async def test_a_caller_never_waits_beyond_its_deadline(make: SimpleNamespace) -> None:
    ledger, session = Ledger(), make.GatedSession(shut=True)
    servable = make.servable(session, meter=ledger)
    dataplane = plane(servable, default_s=0.02, longest_s=0.03)
    for timeout_s in (None, 0.01, 999.0, 0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(DeadlineExceeded):
            await dataplane.infer(servable, InferRequest(REF, {"x": ONES}, timeout_s=timeout_s))
    assert servable.in_flight == 0
    assert {code for _, code in ledger.requests} == {"DEADLINE_EXCEEDED"}
    session.gate.set()
    assert (await plane(servable).infer(servable, InferRequest(REF, {"x": ONES}))).outputs


async def test_a_full_queue_and_a_cancelled_caller_are_counted_as_such(make: SimpleNamespace) -> None:
    ledger, session = Ledger(), make.GatedSession(shut=True)
    servable = make.servable(session, meter=ledger, capacity=0)
    dataplane = plane(servable)
    task = asyncio.ensure_future(dataplane.infer(servable, InferRequest(REF, {"x": ONES}, protocol="p")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await dataplane.infer(servable, InferRequest(REF, {"x": ONES}, protocol="p"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ledger.requests == [("p", "OVERLOADED"), ("p", "CANCELLED")]
    assert servable.in_flight == 0
    session.gate.set()


def pictures(make: SimpleNamespace, ledger: Ledger) -> Any:
    """A servable that answers [mean, 0] for each picture."""

    def answer(inputs: Any) -> Any:
        means = inputs["x"].astype(np.float32).mean((1, 2, 3))
        return {"y": np.stack([means, np.zeros_like(means)], axis=1)}

    processing = Processing(
        ImageInput("x", 8, 8, fused=True), Classification("y", Activation.NONE, 1, ("grey", "black"))
    )
    manifest = make.manifest(signature=PICTURES, processing=processing)
    return make.servable(make.GatedSession(answer), manifest=manifest, meter=ledger)


async def test_predict_answers_every_picture(make: SimpleNamespace) -> None:
    ledger = Ledger()
    servable = pictures(make, ledger)
    response = await plane(servable).predict(servable, PredictRequest(REF, [grey_png(8)] * 20))
    assert [[(c.label, c.score) for c in p.classes] for p in response.predictions] == [[("grey", 128.0)]] * 20
    assert ledger.rows == [20]
    with pytest.raises(InvalidImage):
        await plane(servable).predict(servable, PredictRequest(REF, [grey_png(8), b"junk"]))
    assert ledger.requests == [("predict", ""), ("predict", "INVALID_ARGUMENT")]
    assert servable.in_flight == 0


async def test_encoded_pictures_in_place_of_the_tensor(make: SimpleNamespace) -> None:
    ledger = Ledger()
    servable = pictures(make, ledger)
    items = np.empty(3, object)
    items[:] = [grey_png(8)] * 3
    response = await plane(servable).infer(servable, InferRequest(REF, {"x": items}))
    assert response.outputs["y"].tolist() == [[128, 0]] * 3
    tensor = np.full((3, 8, 8, 3), 128, np.uint8)
    assert (await plane(servable).infer(servable, InferRequest(REF, {"x": tensor}))).outputs["y"].shape == (3, 2)
    assert ledger.rows == [3, 3]


async def test_strings_for_a_tensor_that_is_no_picture(make: SimpleNamespace) -> None:
    servable = make.servable(make.GatedSession())
    items = np.empty(1, object)
    items[:] = [grey_png(8)]
    with pytest.raises(InvalidTensor, match="string"):
        await plane(servable).infer(servable, InferRequest(REF, {"x": items}))
