"""The usual way to serve a picture classifier, to compare with: Pillow and ONNX Runtime fp32.

One ASGI function on uvicorn, no batching; two workers of one ONNX Runtime thread each keep both cores busy:

    USUAL_MODEL=net.onnx uvicorn --app-dir benchmarks usual:app --workers 2 --port 9000

It takes a JPEG as the body and answers with the five best classes as JSON.
"""

import io
import json
import os

import numpy as np
import onnxruntime
from PIL import Image

_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = int(os.environ.get("USUAL_THREADS", "1"))
_session = onnxruntime.InferenceSession(os.environ["USUAL_MODEL"], _options, providers=["CPUExecutionProvider"])
_input = _session.get_inputs()[0].name


def pixels(jpeg: bytes) -> np.ndarray:
    """JPEG bytes to float32[1, 3, 224, 224], the way tutorials do it."""
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    return ((np.asarray(picture, np.float32) - 127.0) / 128.0).transpose(2, 0, 1)[None]


def top5(logits: np.ndarray) -> list[dict[str, float]]:
    """The five best classes of one row, best first."""
    powers = np.exp(logits - logits.max())
    scores = powers / powers.sum()
    return [{"class": int(i), "score": float(scores[i])} for i in np.argsort(-scores)[:5]]


async def app(scope, receive, send):  # noqa: ANN001, ANN201
    """The whole service."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["method"] == "GET":  # the health check
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    answer = json.dumps({"top5": top5(_session.run(None, {_input: pixels(body)})[0][0])}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
