"""TensorFlow Serving's documents about models: status of versions, metadata."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

import orjson

from portside.errors import AliasNotFound, ErrorCode, VersionNotFound
from portside.model.manifest import Manifest
from portside.model.ref import ModelRef
from portside.model.status import State, VersionStatus
from portside.model.tensors import DType, TensorSpec
from portside.protocol import jsontext
from portside.protocol.base import HttpReply
from portside.protocol.status import tfs_code

_STATES = MappingProxyType(
    {
        State.LOADING: "LOADING",
        State.WARMING: "LOADING",
        State.READY: "AVAILABLE",
        State.DRAINING: "UNLOADING",
        State.UNLOADED: "END",
        State.FAILED: "END",
    }
)
_DTYPES = MappingProxyType(
    {
        **{d: f"DT_{d.value.upper()}" for d in DType},
        DType.FLOAT16: "DT_HALF",
        DType.FLOAT32: "DT_FLOAT",
        DType.FLOAT64: "DT_DOUBLE",
    }
)


def select(statuses: Sequence[VersionStatus], ref: ModelRef) -> Sequence[VersionStatus]:
    """Of the versions of a model those that an address names: all of them, one version, or one label's.

    Raises:
        VersionNotFound: no such version.
        AliasNotFound: no version has that alias.
    """
    if ref.version is not None:
        found = [s for s in statuses if s.version == ref.version]
        if not found:
            raise VersionNotFound(f"model '{ref.name}' has no version {ref.version} here; {_known(statuses)}")
        return found
    if ref.alias is not None:
        found = [s for s in statuses if ref.alias in s.aliases]
        if not found:
            raise AliasNotFound(f"model '{ref.name}' has no alias {ref.alias!r}; {_known(statuses)}")
        return found
    return statuses


def encode_status(statuses: Iterable[VersionStatus]) -> HttpReply:
    """Writes the status of versions, newest first."""
    rows = [_status(s) for s in sorted(statuses, key=lambda s: -s.version)]
    return HttpReply(200, orjson.dumps({"model_version_status": rows}, option=orjson.OPT_INDENT_2))


def encode_metadata(manifest: Manifest, signature_name: str = "serving_default") -> HttpReply:
    """Writes what a version takes and gives, as a TensorFlow signature; a symbolic dimension is -1."""
    signature = manifest.signature
    definition = {
        "inputs": {s.name: _tensor(s) for s in signature.inputs},
        "outputs": {s.name: _tensor(s) for s in signature.outputs},
        "method_name": "tensorflow/serving/predict",
    }
    document = {
        "model_spec": {"name": manifest.name, "signature_name": "", "version": str(manifest.version)},
        "metadata": {"signature_def": {"signature_def": {signature_name: definition}}},
    }
    return HttpReply(200, orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _status(status: VersionStatus) -> dict[str, object]:
    failed = status.state is State.FAILED
    return {
        "version": str(status.version),
        "state": _STATES[status.state],
        "status": {
            "error_code": tfs_code(ErrorCode.ENGINE_FAILED) if failed else "OK",
            "error_message": jsontext.printable(status.reason) if failed else "",
        },
    }


def _tensor(spec: TensorSpec) -> dict[str, object]:
    dims = [{"size": str(d if isinstance(d, int) else -1), "name": ""} for d in spec.shape]
    return {"dtype": _DTYPES[spec.dtype], "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": spec.name}


def _known(statuses: Sequence[VersionStatus]) -> str:
    return "its versions are " + (", ".join(str(s.version) for s in statuses) or "none")
