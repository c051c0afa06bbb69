from __future__ import annotations

import threading
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest

from portside.errors import EngineFailed, InvalidImage, InvalidTensor
from portside.model.config import EngineConfig
from portside.model.processing import ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec
from portside.processing import image
from portside.serving.execution import Execution
from portside.serving.warmup import INLINE_S, grey_png, warm_up, zeros


def test_zeros_fit_the_signature() -> None:
    signature = Signature(
        (
            TensorSpec("a", DType.FLOAT16, ("n", 3, "w")),
            TensorSpec("s", DType.STRING, ("n",)),
            TensorSpec("b", DType.BOOL, ()),
        ),
        (),
        "n",
    )
    inputs = zeros(signature, rows=2, extent=5)
    assert signature.check(inputs) == 2
    assert inputs["a"].shape == (2, 3, 5)
    assert inputs["s"].tolist() == [b"", b""]


def test_a_small_real_model_is_short_enough_for_the_event_loop(make: SimpleNamespace, tmp_path: object) -> None:
    make.line(tmp_path, 2.0)
    sessions = make.engine.load(tmp_path / "model.onnx", EngineConfig(instances=2))  # type: ignore[operator]
    assert warm_up(Execution(make.LINE, Processing()), sessions) >= 1


def test_a_slow_model_is_not(make: SimpleNamespace) -> None:
    # Longer than the limit by a thousand times, so that no noise decides.
    def slow(inputs: Mapping[str, Array]) -> dict[str, Array]:
        threading.Event().wait(INLINE_S * 1000)
        return {"y": np.asarray(inputs["x"])}

    session = make.GatedSession(slow)
    assert warm_up(Execution(make.LINE, Processing()), [session]) == 0
    assert len(session.seen) < 10, "a slow model is not measured for long"


def test_every_session_is_warmed(make: SimpleNamespace) -> None:
    sessions = [make.GatedSession(), make.GatedSession()]
    warm_up(Execution(make.LINE, Processing()), sessions)
    assert all(s.seen for s in sessions)


def test_a_model_that_cannot_run_is_found_out(make: SimpleNamespace) -> None:
    def broken(_: Mapping[str, Array]) -> dict[str, Array]:
        raise EngineFailed("broken")

    with pytest.raises(EngineFailed, match="broken"):
        warm_up(Execution(make.LINE, Processing()), [make.GatedSession(broken)])


def _open_sides(make: SimpleNamespace, smallest: float) -> tuple[Execution, object]:
    signature = Signature(
        (TensorSpec("x", DType.FLOAT32, ("n", "side")),), (TensorSpec("y", DType.FLOAT32, ("n", "side")),), "n"
    )

    def picky(inputs: Mapping[str, Array]) -> dict[str, Array]:
        if inputs["x"].shape[1] < smallest:
            raise InvalidTensor("too small")
        return {"y": np.asarray(inputs["x"])}

    return Execution(signature, Processing()), make.GatedSession(picky)


def test_open_dimensions_are_guessed_and_never_run_inline(make: SimpleNamespace) -> None:
    execution, session = _open_sides(make, 60)
    assert warm_up(execution, [session]) == 0  # type: ignore[list-item]
    assert session.seen[-1] == (1, 64)  # type: ignore[attr-defined]


def test_a_model_that_takes_no_guess_is_served_cold(make: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    execution, session = _open_sides(make, float("inf"))
    assert warm_up(execution, [session]) == 0  # type: ignore[list-item]
    assert "without warm-up" in caplog.text


def test_a_picture_goes_through_the_processing(make: SimpleNamespace) -> None:
    signature = Signature(
        (TensorSpec("x", DType.UINT8, ("n", 8, 8, 3)),), (TensorSpec("y", DType.FLOAT32, ("n", 1)),), "n"
    )
    session = make.GatedSession(lambda i: {"y": i["x"].astype(np.float32).mean((1, 2))[:, :1]})
    execution = Execution(signature, Processing(ImageInput("x", 8, 8, fused=True)))
    assert warm_up(execution, [session]) == 0, "pictures never run in the event loop"
    assert session.seen == [(1, 8, 8, 3)] * 3
    wrong = Execution(signature, Processing(ImageInput("x", 9, 9, fused=True)))
    with pytest.raises(InvalidTensor):
        warm_up(wrong, [session])


def test_the_picture_is_one() -> None:
    pixels = image.decode(grey_png(16), ImageInput("x", 16, 16))
    assert pixels.shape == (16, 16, 3)
    assert (pixels == 128).all()
    with pytest.raises(InvalidImage):
        image.decode(grey_png(16)[:40], ImageInput("x", 16, 16))
