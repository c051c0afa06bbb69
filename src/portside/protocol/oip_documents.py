"""The Open Inference Protocol's documents: health, the server, a model."""

from __future__ import annotations

from collections.abc import Sequence

from portside.model.manifest import Manifest
from portside.model.tensors import TensorSpec
from portside.protocol import jsontext, oip_tensor
from portside.protocol.base import HttpReply

EXTENSIONS = ("binary_tensor_data",)
"""What is offered beyond the protocol; clients decide by this list what they may send."""


def encode_live() -> HttpReply:
    """A process that can write this is alive."""
    return HttpReply(200, b'{"live":true}')


def encode_ready(*, ready: bool) -> HttpReply:
    """Whether the server takes inference requests: 200 or 503."""
    return HttpReply(200, b'{"ready":true}') if ready else HttpReply(503, b'{"ready":false}')


def encode_model_ready(name: str, *, ready: bool) -> HttpReply:
    """Whether a model answers: 200 or 503."""
    return HttpReply(200 if ready else 503, jsontext.dumps({"name": jsontext.printable(name), "ready": ready}))


def encode_server(name: str, version: str) -> HttpReply:
    """The server's name, version and extensions."""
    return HttpReply(200, jsontext.dumps({"name": name, "version": version, "extensions": EXTENSIONS}))


def encode_metadata(manifest: Manifest, versions: Sequence[int]) -> HttpReply:
    """What a model takes and gives; a symbolic dimension is -1.

    Args:
        manifest: of the version that was asked for.
        versions: the versions that answer, in ascending order.
    """
    document = {
        "name": manifest.name,
        "versions": [str(v) for v in versions],
        "platform": f"{manifest.config.engine.value}_{manifest.artifact.format.value}",
        "inputs": [_tensor(s) for s in manifest.signature.inputs],
        "outputs": [_tensor(s) for s in manifest.signature.outputs],
    }
    return HttpReply(200, jsontext.dumps(document))


def _tensor(spec: TensorSpec) -> dict[str, object]:
    shape = [d if isinstance(d, int) else -1 for d in spec.shape]
    return {"name": spec.name, "datatype": oip_tensor.datatype(spec.dtype), "shape": shape}
