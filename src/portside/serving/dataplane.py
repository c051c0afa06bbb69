"""What happens to a request: resolve, hold, check, run, select. Nothing else stands on the hot path."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

import msgspec

from portside.errors import ErrorCode, PortsideError
from portside.model.inference import InferRequest, InferResponse, PredictRequest, PredictResponse
from portside.model.ref import ModelRef
from portside.serving.router import Router
from portside.serving.servable import Servable

log = logging.getLogger(__name__)


class Timeouts(msgspec.Struct, frozen=True):
    """How long callers wait.

    Attributes:
        default_s: for a request that does not say, seconds.
        longest_s: no request waits longer than this, whatever it says, seconds.
    """

    default_s: float = 30.0
    longest_s: float = 600.0


class DataPlane:
    """Answers inference on loaded versions. Used from the event loop's thread only.

    Args:
        router: where servables are found.
        timeouts: how long callers wait.
    """

    def __init__(self, router: Router, timeouts: Timeouts = Timeouts()) -> None:  # noqa: B008 -- frozen
        self._router = router
        self._timeouts = timeouts

    def resolve(self, ref: ModelRef) -> Servable:
        """The version that answers a reference now. Call ``infer`` or ``predict`` before anything is awaited.

        Raises:
            ModelNotFound, VersionNotFound, AliasNotFound: nothing of that name is served.
            Unavailable: it is known, but not ready.
        """
        return self._router.resolve(ref)

    async def infer(self, servable: Servable, request: InferRequest) -> InferResponse:
        """Tensors to tensors. A short inference is answered without ever suspending.

        Raises:
            InvalidTensor: the request does not fit the signature.
            Overloaded, DeadlineExceeded, Unavailable, EngineFailed: see :meth:`InstancePool.submit`.
        """
        started = monotonic()
        servable.hold()
        code = ""
        try:
            deadline = started + self._timeout_s(request.timeout_s)
            work, rows, short = servable.infer_work(request, deadline)
            done = servable.pool.run_inline(work) if short else None
            if done is None:
                done = await servable.pool.submit(work, deadline)
            servable.meter.executed(rows, done.queue_s, done.compute_s)
            outputs = done.value
            if request.outputs is not None:
                outputs = {name: outputs[name] for name in request.outputs}
            return InferResponse(servable.name, servable.version, outputs, request.id)
        except BaseException as e:
            code = failed(servable, e)
            raise
        finally:
            servable.release()
            servable.meter.request(request.protocol, code, monotonic() - started)

    async def predict(self, servable: Servable, request: PredictRequest) -> PredictResponse:
        """Raw items to answers, through the declared processing; one item's trouble is the whole request's.

        Raises:
            InvalidRequest, InvalidImage, PayloadTooLarge: an item that cannot be taken.
            Overloaded, DeadlineExceeded, Unavailable, EngineFailed: see :meth:`InstancePool.submit`.
        """
        started = monotonic()
        servable.hold()
        code = ""
        try:
            deadline = started + self._timeout_s(request.timeout_s)
            done = await servable.pool.submit(servable.predict_work(request, deadline), deadline)
            servable.meter.executed(len(request.items), done.queue_s, done.compute_s)
            return PredictResponse(servable.name, servable.version, done.value)
        except BaseException as e:
            code = failed(servable, e)
            raise
        finally:
            servable.release()
            servable.meter.request(request.protocol, code, monotonic() - started)

    def _timeout_s(self, wanted_s: float | None) -> float:
        if wanted_s is None:
            return self._timeouts.default_s
        # In this order a NaN becomes the longest, not an unbounded wait.
        return min(self._timeouts.longest_s, wanted_s)


def failed(servable: Servable, cause: BaseException) -> str:
    """The code of a failed request, for the metrics; what only the operator can mend is logged."""
    if isinstance(cause, PortsideError):
        if cause.code in {ErrorCode.ENGINE_FAILED, ErrorCode.INTERNAL}:
            log.error(
                "inference failed: %s",
                cause.message,
                extra={"model": servable.name, "version": servable.version, "detail": cause.detail},
                exc_info=cause.__cause__,
            )
        return cause.code.value
    gone = isinstance(cause, asyncio.CancelledError | GeneratorExit)
    return ErrorCode.CANCELLED.value if gone else ErrorCode.INTERNAL.value
