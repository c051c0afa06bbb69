from __future__ import annotations

import json
from typing import Any

import pytest

from portside.errors import AliasNotFound, VersionNotFound
from portside.model.ref import ModelRef
from portside.model.status import State, VersionStatus
from portside.model.tensors import DType
from portside.protocol import tfs_documents

STATUSES = (
    VersionStatus("m", 1, State.DRAINING),
    VersionStatus("m", 3, State.READY, aliases=("stable",), current=True),
    VersionStatus("m", 2, State.FAILED, reason="the engine refused it"),
)


def test_status_lists_versions_newest_first() -> None:
    ok = {"error_code": "OK", "error_message": ""}
    assert json.loads(tfs_documents.encode_status(STATUSES).body) == {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": ok},
            {
                "version": "2",
                "state": "END",
                "status": {"error_code": "INTERNAL", "error_message": "the engine refused it"},
            },
            {"version": "1", "state": "UNLOADING", "status": ok},
        ]
    }


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_word_that_clients_know(state: State) -> None:
    document = json.loads(tfs_documents.encode_status([VersionStatus("m", 1, state)]).body)
    assert document["model_version_status"][0]["state"] in {"START", "LOADING", "AVAILABLE", "UNLOADING", "END"}


def test_an_address_picks_versions() -> None:
    assert tfs_documents.select(STATUSES, ModelRef("m")) == STATUSES
    assert [s.version for s in tfs_documents.select(STATUSES, ModelRef("m", version=2))] == [2]
    assert [s.version for s in tfs_documents.select(STATUSES, ModelRef("m", alias="stable"))] == [3]
    with pytest.raises(VersionNotFound, match="its versions are 1, 3, 2"):
        tfs_documents.select(STATUSES, ModelRef("m", version=9))
    with pytest.raises(AliasNotFound, match="no alias 'canary'"):
        tfs_documents.select(STATUSES, ModelRef("m", alias="canary"))


def test_metadata(world: Any) -> None:
    document = json.loads(tfs_documents.encode_metadata(world.manifest(world.one)).body)
    assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "7"}
    definition = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["method_name"] == "tensorflow/serving/predict"
    assert definition["inputs"] == {
        "x": {
            "dtype": "DT_FLOAT",
            "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}], "unknown_rank": False},
            "name": "x",
        }
    }
    assert list(definition["outputs"]) == ["y"]


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (DType.FLOAT16, "DT_HALF"),
        (DType.FLOAT64, "DT_DOUBLE"),
        (DType.INT64, "DT_INT64"),
        (DType.UINT8, "DT_UINT8"),
        (DType.BOOL, "DT_BOOL"),
        (DType.STRING, "DT_STRING"),
    ],
)
def test_types_have_tensorflows_names(world: Any, dtype: DType, name: str) -> None:
    document = json.loads(tfs_documents.encode_metadata(world.manifest(world.of(dtype, 2))).body)
    inputs = document["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert inputs["x"]["dtype"] == name
