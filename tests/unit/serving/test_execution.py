from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest

from portside.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidImage,
    InvalidRequest,
    InvalidTensor,
    PayloadTooLarge,
    Unsupported,
)
from portside.model.processing import Activation, Classification, ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import Array, Dim, DType, TensorSpec
from portside.serving.execution import Bounds, Execution, Feed, choose_feed
from portside.serving.warmup import grey_png

PICTURE = grey_png(4)
NEVER = float("inf")


def pictures(*image: Dim, out: tuple[Dim, ...], batch: str | None = "n", **more: tuple[Dim, ...]) -> Signature:
    """A signature of one fused picture input and one output, and further inputs."""
    inputs = (
        TensorSpec("image", DType.UINT8, image),
        *(TensorSpec(name, DType.FLOAT32, shape) for name, shape in more.items()),
    )
    return Signature(inputs, (TensorSpec("scores", DType.FLOAT32, out),), batch)


def processing(**classification: object) -> Processing:
    image = ImageInput("image", 2, 2, fused=True)
    wanted = Classification("scores", Activation.NONE, 2) if classification.get("classify") else None
    return Processing(image, wanted)


class Counter:
    """Answers row i of the k-th run with [k, i, mean pixel]."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        image = inputs["image"]
        rows = image.shape[0] if image.ndim == 4 else 1
        mean = np.asarray(image, np.float32).mean()
        answer = np.array([[self.runs, row, mean] for row in range(rows)], np.float32)
        self.runs += 1
        return {"scores": answer if image.ndim == 4 else answer[0]}


def test_tensors_run_once_and_come_back_in_the_signatures_order(make: SimpleNamespace) -> None:
    two = Signature(make.LINE.inputs, (*make.LINE.outputs, TensorSpec("z", DType.FLOAT32, ("batch",))), "batch")
    session = make.GatedSession(lambda i: {"extra": i["x"], "z": i["x"][:, 0], "y": i["x"]})
    outputs = Execution(two, Processing()).run(session, {"x": np.ones((3, 2), np.float32)}, 3)
    assert list(outputs) == ["y", "z"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda i: {"y": i["x"][:-1]},
        lambda i: {"y": np.float32(1)},
        lambda i: {"other": i["x"]},
        lambda i: {"y": np.concatenate([i["x"], i["x"]])},
    ],
    ids=["too few rows", "scalar", "missing", "too many rows"],
)
def test_a_model_that_answers_the_wrong_rows_is_not_believed(make: SimpleNamespace, answer: object) -> None:
    execution = Execution(make.LINE, Processing())
    with pytest.raises(EngineFailed):
        execution.run(make.GatedSession(answer), {"x": np.ones((2, 2), np.float32)}, 2)


def test_many_pictures_go_in_bounded_chunks_and_come_back_in_order(make: SimpleNamespace) -> None:
    session = make.GatedSession(Counter())
    execution = Execution(pictures("n", 2, 2, 3, out=("n", 3)), processing(), Bounds(chunk=4))
    scores = execution.run_pictures(session, [PICTURE] * 10, {}, NEVER)["scores"]
    assert session.seen == [(4, 2, 2, 3), (4, 2, 2, 3), (2, 2, 2, 3)]
    assert scores[:, :2].tolist() == [[k, i] for k, n in enumerate((4, 4, 2)) for i in range(n)]
    assert set(scores[:, 2]) == {128.0}


def test_a_fixed_batch_is_filled_up_and_cut(make: SimpleNamespace) -> None:
    session = make.GatedSession(Counter())
    execution = Execution(pictures(4, 2, 2, 3, out=(4, 3), batch=None), processing())
    scores = execution.run_pictures(session, [PICTURE] * 6, {}, NEVER)["scores"]
    assert session.seen == [(4, 2, 2, 3), (4, 2, 2, 3)]
    assert scores[:, :2].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("signature", "seen"),
    [
        (pictures(1, 2, 2, 3, out=(1, 3), batch=None), (1, 2, 2, 3)),
        (pictures(2, 2, 3, out=(3,), batch=None), (2, 2, 3)),
    ],
    ids=["batch of one", "no batch axis"],
)
def test_one_picture_at_a_time(make: SimpleNamespace, signature: Signature, seen: tuple[int, ...]) -> None:
    session = make.GatedSession(Counter())
    scores = Execution(signature, processing()).run_pictures(session, [PICTURE] * 3, {}, NEVER)["scores"]
    assert session.seen == [seen] * 3
    assert scores[:, 0].tolist() == [0, 1, 2]


def test_predict_classifies_every_picture(make: SimpleNamespace) -> None:
    execution = Execution(pictures("n", 2, 2, 3, out=("n", 3)), processing(classify=True))
    answers = execution.predict(make.GatedSession(Counter()), [PICTURE] * 3, None, NEVER)
    assert [[c.index for c in a.classes] for a in answers] == [[2, 0], [2, 1], [2, 1]]
    assert len(execution.predict(make.GatedSession(Counter()), [PICTURE], 1, NEVER)[0].classes) == 1


def test_predict_without_classification_gives_each_pictures_rows(make: SimpleNamespace) -> None:
    execution = Execution(pictures("n", 2, 2, 3, out=("n", 3)), processing())
    answers = execution.predict(make.GatedSession(Counter()), [PICTURE] * 3, None, NEVER)
    assert [a.outputs["scores"].tolist() for a in answers] == [[0, 0, 128], [0, 1, 128], [0, 2, 128]]


def test_other_inputs_follow_the_chunks(make: SimpleNamespace) -> None:
    def answer(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": np.asarray(inputs["weight"])}

    signature = pictures("n", 2, 2, 3, out=("n", 1), weight=("n", 1), bias=(2,))
    execution = Execution(signature, processing(), Bounds(chunk=2))
    weight, bias = np.arange(5, dtype=np.float32)[:, None], np.zeros(2, np.float32)
    session = make.GatedSession(answer)
    outputs = execution.run_pictures(session, [PICTURE] * 5, {"weight": weight, "bias": bias}, NEVER)
    assert outputs["scores"].tolist() == weight.tolist()
    for wrong in ({"weight": weight[:4], "bias": bias}, {"weight": weight}, {"weight": weight, "other": bias}):
        with pytest.raises(InvalidTensor):
            execution.run_pictures(session, [PICTURE] * 5, wrong, NEVER)


def test_an_output_without_rows_keeps_the_pictures_one_by_one(make: SimpleNamespace) -> None:
    signature = Signature(
        (TensorSpec("image", DType.UINT8, ("n", 2, 2, 3)),),
        (TensorSpec("scores", DType.FLOAT32, ("n", 3)), TensorSpec("sum", DType.FLOAT32, ())),
        "n",
    )
    session = make.GatedSession(lambda i: {**Counter()(i), "sum": np.float32(i["image"].sum())})
    outputs = Execution(signature, processing()).run_pictures(session, [PICTURE] * 2, {}, NEVER)
    assert outputs["sum"].shape == (2,)
    assert outputs["scores"].shape == (2, 3)


def test_an_output_that_cannot_be_told_apart_is_refused(make: SimpleNamespace) -> None:
    execution = Execution(pictures(4, 2, 2, 3, out=(7,), batch=None), processing())
    session = make.GatedSession(lambda _: {"scores": np.zeros(7, np.float32)})
    with pytest.raises(Unsupported):
        execution.run_pictures(session, [PICTURE] * 2, {}, NEVER)


def test_what_is_refused(make: SimpleNamespace) -> None:
    session = make.GatedSession(Counter())
    execution = Execution(pictures("n", 2, 2, 3, out=("n", 3)), processing(), Bounds(items=3, pixels=10))
    with pytest.raises(InvalidRequest, match="no picture"):
        execution.run_pictures(session, [], {}, NEVER)
    with pytest.raises(PayloadTooLarge, match="at most 3"):
        execution.run_pictures(session, [PICTURE] * 4, {}, NEVER)
    with pytest.raises(PayloadTooLarge):
        execution.run_pictures(session, [PICTURE], {}, NEVER)
    with pytest.raises(InvalidImage):
        execution.run_pictures(session, [b"no picture at all"], {}, NEVER)
    with pytest.raises(InvalidRequest, match="no picture input"):
        Execution(make.LINE, Processing()).predict(session, [PICTURE], None, NEVER)
    assert session.seen == []


def test_no_chunk_starts_after_the_deadline(make: SimpleNamespace) -> None:
    times = iter((1.0, 2.0, 3.0))
    session = make.GatedSession(Counter())
    signature = pictures("n", 2, 2, 3, out=("n", 3))
    execution = Execution(signature, processing(), Bounds(chunk=1), clock=lambda: next(times))
    with pytest.raises(DeadlineExceeded, match="2 of 5"):
        execution.run_pictures(session, [PICTURE] * 5, {}, deadline=2.0)
    assert len(session.seen) == 2


@pytest.mark.parametrize(
    ("signature", "feed"),
    [
        (pictures("n", 2, 2, 3, out=("n", 3)), Feed(16)),
        (pictures("n", 2, 2, 3, out=("n", 3), batch=None), Feed(1)),
        (pictures("n", 2, 2, 3, out=(3,)), Feed(1)),
        (pictures(1, 2, 2, 3, out=(1, 3), batch=None), Feed(1)),
        (pictures(8, 2, 2, 3, out=(8, 3), batch=None), Feed(8, pad=True)),
        (pictures(2, 2, 3, out=(3,), batch=None), Feed(1, squeeze=True)),
    ],
)
def test_choose_feed(signature: Signature, feed: Feed) -> None:
    image = processing().image
    assert image is not None
    assert choose_feed(signature, image, 16) == feed
