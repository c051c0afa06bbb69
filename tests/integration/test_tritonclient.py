"""The unmodified tritonclient against a live server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from portside.server.background import ServerHandle

http = pytest.importorskip("tritonclient.http")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException


@pytest.fixture
def client(live: ServerHandle) -> Iterator[Any]:
    with http.InferenceServerClient(live.url.removeprefix("http://")) as client:
        yield client


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> Any:
    made = http.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_health(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("half_plus_two", "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("tiny", "77")


def test_metadata(client: Any) -> None:
    server = client.get_server_metadata()
    assert server["name"] == "portside"
    assert "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata("sums")
    assert model["name"] == "sums"
    assert model["versions"] == ["1"]
    assert model["inputs"] == [
        {"name": "a", "datatype": "INT64", "shape": [-1, 2]},
        {"name": "b", "datatype": "INT64", "shape": [-1, 2]},
    ]
    assert {o["name"]: o["datatype"] for o in model["outputs"]} == {"total": "INT64", "equal": "BOOL"}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_infer(client: Any, *, binary_in: bool, binary_out: bool) -> None:
    a, b = np.array([[1, 2], [3, 4]]), np.array([[10, 2], [30, 4]])
    inputs = [tensor("a", a, "INT64", binary=binary_in), tensor("b", b, "INT64", binary=binary_in)]
    outputs = [http.InferRequestedOutput(name, binary_data=binary_out) for name in ("equal", "total")]
    result = client.infer("sums", inputs, outputs=outputs, request_id="r-1")
    np.testing.assert_array_equal(result.as_numpy("total"), a + b)
    np.testing.assert_array_equal(result.as_numpy("equal"), a == b)
    response = result.get_response()
    assert response["id"] == "r-1"
    assert response["model_version"] == "1"
    assert [o["name"] for o in response["outputs"]] == ["equal", "total"]


def test_all_outputs_by_default_and_float_rows(client: Any) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    result = client.infer("tiny", [tensor("x", x, "FP32")])
    assert result.as_numpy("y").shape == (5, 3)
    np.testing.assert_allclose(result.as_numpy("y").sum(axis=1), 1.0, rtol=1e-5)


def test_a_version_can_be_named(client: Any) -> None:
    x = np.float32([1.0])
    one = client.infer("half_plus_two", [tensor("x", x, "FP32")], model_version="1").as_numpy("y")
    two = client.infer("half_plus_two", [tensor("x", x, "FP32")], model_version="2").as_numpy("y")
    assert one.tolist() == [2.5]
    assert two.tolist() == [3.5]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client: Any, algorithm: str) -> None:
    x = np.ones((50, 4), np.float32)
    result = client.infer(
        "tiny", [tensor("x", x, "FP32")], request_compression_algorithm=algorithm, response_compression_algorithm="gzip"
    )
    assert result.as_numpy("y").shape == (50, 3)


def test_several_at_a_time(live: ServerHandle) -> None:
    with http.InferenceServerClient(live.url.removeprefix("http://"), concurrency=4) as client:
        inputs = [np.full((1, 4), i, np.float32) for i in range(16)]
        waiting = [client.async_infer("tiny", [tensor("x", x, "FP32")]) for x in inputs]
        together = [w.get_result(timeout=20).as_numpy("y") for w in waiting]
        alone = [client.infer("tiny", [tensor("x", x, "FP32")]).as_numpy("y") for x in inputs]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_errors_reach_the_client_as_its_exception(client: Any) -> None:
    x = np.ones((1, 4), np.float32)
    with pytest.raises(InferenceServerException, match=r"unknown model: 'nobody' is not found") as caught:
        client.infer("nobody", [tensor("x", x, "FP32")])
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="unexpected input 'z'") as caught:
        client.infer("tiny", [tensor("z", x, "FP32")])
    assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException, match=r"expected float32\[batch, 4\]"):
        client.infer("tiny", [tensor("x", np.ones((1, 5), np.float32), "FP32")])
    with pytest.raises(InferenceServerException, match="nothing"):
        client.infer("tiny", [tensor("x", x, "FP32")], outputs=[http.InferRequestedOutput("nothing")])
    with pytest.raises(InferenceServerException):
        client.get_model_metadata("nobody")
    assert client.is_server_live()
