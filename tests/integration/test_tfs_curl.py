"""The requests of TensorFlow Serving's REST documentation, sent with the real curl."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from portside.server.background import ServerHandle

CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")


def curl(*args: str) -> tuple[int, str]:
    """Status and body."""
    command = [CURL or "curl", "-s", "--max-time", "20", "-w", "\n%{http_code}", *args]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    body, _, status = text.rpartition("\n")
    return int(status), body


def test_half_plus_two_of_the_documentation(live: ServerHandle) -> None:
    # The documentation's model is version 1 here; version 2 adds three instead.
    status, body = curl(
        "-d", '{"instances": [1.0, 2.0, 5.0]}', "-X", "POST", f"{live.url}/v1/models/half_plus_two/versions/1:predict"
    )  # fmt: skip
    assert status == 200
    assert json.loads(body) == {"predictions": [2.5, 3.0, 4.5]}


def test_the_newest_version_answers_without_a_number(live: ServerHandle) -> None:
    url = f"{live.url}/v1/models/half_plus_two:predict"
    assert json.loads(curl("-d", '{"instances": [1.0, 2.0, 5.0]}', "-X", "POST", url)[1]) == {
        "predictions": [3.5, 4.0, 5.5]
    }


def test_a_label_is_an_alias(live: ServerHandle) -> None:
    url = f"{live.url}/v1/models/half_plus_two/labels/stable:predict"
    assert json.loads(curl("-d", '{"instances": [1.0]}', url)[1]) == {"predictions": [2.5]}


def test_columnar_form_and_signature_name(live: ServerHandle) -> None:
    url = f"{live.url}/v1/models/half_plus_two/labels/stable:predict"
    body = '{"signature_name": "serving_default", "inputs": {"x": [1.0, 2.0]}}'
    assert json.loads(curl("-d", body, url)[1]) == {"outputs": [2.5, 3.0]}
    assert json.loads(curl("-d", '{"inputs": [3.0]}', url)[1]) == {"outputs": [3.5]}


def test_status_of_a_model_and_of_a_version(live: ServerHandle) -> None:
    status, body = curl(f"{live.url}/v1/models/half_plus_two")
    assert status == 200
    states = {v["version"]: (v["state"], v["status"]["error_code"]) for v in json.loads(body)["model_version_status"]}
    assert states == {"1": ("AVAILABLE", "OK"), "2": ("AVAILABLE", "OK")}
    one = json.loads(curl(f"{live.url}/v1/models/half_plus_two/versions/1")[1])
    assert [v["version"] for v in one["model_version_status"]] == ["1"]


def test_metadata(live: ServerHandle) -> None:
    status, body = curl("-X", "GET", f"{live.url}/v1/models/half_plus_two/metadata")
    assert status == 200
    document = json.loads(body)
    assert document["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "2"}
    inputs = document["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert inputs["x"]["dtype"] == "DT_FLOAT"
    assert inputs["x"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


def test_errors_have_its_shape(live: ServerHandle) -> None:
    status, body = curl("-d", '{"instances": [1.0]}', f"{live.url}/v1/models/nobody:predict")
    assert status == 404
    assert json.loads(body)["error"].startswith("Servable not found for request: Latest(nobody)")
    for shown in ("", "/metadata"):
        status, body = curl(f"{live.url}/v1/models/nobody/versions/3{shown}")
        assert status == 404
        assert json.loads(body)["error"].startswith("Servable not found for request: Specific(nobody, 3)")
    status, body = curl("-d", '{"instances": ["a"]}', f"{live.url}/v1/models/half_plus_two:predict")
    assert status == 400
    assert list(json.loads(body)) == ["error"]
    status, body = curl("-d", "{}", f"{live.url}/v1/models/half_plus_two:nonsense")
    assert status == 400
    assert "Malformed request: POST /v1/models/half_plus_two:nonsense" in json.loads(body)["error"]


def test_metrics_at_its_address(live: ServerHandle) -> None:
    curl("-d", '{"instances": [1.0]}', f"{live.url}/v1/models/half_plus_two:predict")
    status, body = curl(f"{live.url}/monitoring/prometheus/metrics")
    assert status == 200
    assert 'portside_requests_total{code="OK",model="half_plus_two",protocol="tfs-rest",version="2"}' in body


def test_curl_may_wait_for_100_continue_compress_and_chunk(live: ServerHandle) -> None:
    url = f"{live.url}/v1/models/half_plus_two/labels/stable:predict"
    body = '{"instances": [1.0, 2.0, 5.0]}'
    answer = {"predictions": [2.5, 3.0, 4.5]}
    assert json.loads(curl("-H", "Expect: 100-continue", "-d", body, url)[1]) == answer
    assert json.loads(curl("-H", "Transfer-Encoding: chunked", "-d", body, url)[1]) == answer
    assert json.loads(curl("--http1.0", "-d", body, url)[1]) == answer
    assert json.loads(curl("--http2", "-d", body, url)[1]) == answer  # asks for an upgrade, which is passed over


def test_a_body_over_the_limit_is_refused_before_it_is_sent(live: ServerHandle) -> None:
    status, body = curl(
        "-H", "Content-Length: 99999999999", "-H", "Expect: 100-continue", "--data-binary", "x",
        f"{live.url}/v1/models/half_plus_two:predict",
    )  # fmt: skip
    assert status == 413
    assert "at most 67108864" in json.loads(body)["error"]
