from __future__ import annotations

import json
from typing import Any

import pytest

from portside.model.tensors import DType
from portside.protocol import oip_documents, oip_tensor


def test_health() -> None:
    assert oip_documents.encode_live().status == 200
    assert json.loads(oip_documents.encode_live().body) == {"live": True}
    for ready, status in ((True, 200), (False, 503)):
        server, model = oip_documents.encode_ready(ready=ready), oip_documents.encode_model_ready("m", ready=ready)
        assert (server.status, json.loads(server.body)) == (status, {"ready": ready})
        assert (model.status, json.loads(model.body)) == (status, {"name": "m", "ready": ready})


def test_the_server_lists_what_it_really_offers() -> None:
    document = json.loads(oip_documents.encode_server("portside", "1.0").body)
    assert document == {"name": "portside", "version": "1.0", "extensions": ["binary_tensor_data"]}


def test_metadata(world: Any) -> None:
    assert json.loads(oip_documents.encode_metadata(world.manifest(world.two), [6, 7]).body) == {
        "name": "m",
        "versions": ["6", "7"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "b", "datatype": "INT32", "shape": [-1]},
        ],
        "outputs": [
            {"name": "p", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "q_bytes", "datatype": "BYTES", "shape": [-1]},
        ],
    }


@pytest.mark.parametrize("dtype", DType)
def test_every_type_has_the_protocols_name(dtype: DType) -> None:
    known = {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"}
    assert oip_tensor.datatype(dtype) in known | {"BYTES"}
