from __future__ import annotations

import base64
import json
import math
from typing import Any

import httpx
import numpy as np
import pytest

from portside.errors import (
    InvalidRequest,
    InvalidTensor,
    MethodNotAllowed,
    ModelNotFound,
    PayloadTooLarge,
    PortsideError,
    RouteNotFound,
    UnsupportedMedia,
)
from portside.model.inference import (
    ClassScore,
    InferRequest,
    InferResponse,
    Prediction,
    PredictRequest,
    PredictResponse,
)
from portside.model.manifest import Manifest
from portside.model.ref import ModelRef
from portside.model.tensors import DType
from portside.protocol import predict_rest
from portside.protocol.base import Limits

JPEG = b"\xff\xd8\xff\xe0 not really"
B64 = {"b64": base64.b64encode(JPEG).decode()}


@pytest.mark.parametrize(
    ("path", "ref"),
    [
        ("/predict/m", ModelRef("m")),
        ("/predict/m:3", ModelRef("m", version=3)),
        ("/predict/m:stable", ModelRef("m", alias="stable")),
    ],
)
def test_addresses(path: str, ref: ModelRef) -> None:
    assert predict_rest.match("POST", path) == ref


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("POST", "/predict", RouteNotFound),
        ("POST", "/predict/", RouteNotFound),
        ("POST", "/predict/../etc", InvalidRequest),
        ("POST", "/predict/a/b", InvalidRequest),
        ("POST", "/predict/m:", InvalidRequest),
        ("POST", "/predict/m:0", InvalidRequest),
        ("POST", "/predict/m:" + "9" * 5000, InvalidRequest),
        ("POST", "/predict/\ud800", InvalidRequest),
        ("GET", "/predict/m", MethodNotAllowed),
    ],
)
def test_wrong_addresses(method: str, path: str, error: type[PortsideError]) -> None:
    with pytest.raises(error) as caught:
        predict_rest.match(method, path)
    assert type(caught.value) is error
    predict_rest.encode_error(caught.value)


@pytest.mark.parametrize("path", ["/", "/predictions/m", "/v1/models/m:predict", "/v2"])
def test_other_addresses_are_others(path: str) -> None:
    assert predict_rest.match("POST", path) is None


def decode(
    world: Any, manifest: Manifest, body: object, kind: bytes = b"", query: bytes = b"", limits: Limits | None = None
) -> PredictRequest | InferRequest:
    if not isinstance(body, bytes | memoryview):
        body, kind = json.dumps(body).encode(), kind or b"application/json"
    headers = {b"content-type": kind} if kind else {}
    return predict_rest.decode(body, headers, manifest, world.ref, limits or world.limits, query)


@pytest.mark.parametrize(
    "kind", [b"image/jpeg", b"image/x-anything; q=1", b"application/octet-stream", b"IMAGE/PNG", b""]
)
@pytest.mark.parametrize("body", [JPEG, memoryview(JPEG)])
def test_a_picture_as_the_body(world: Any, kind: bytes, body: bytes) -> None:
    request = decode(world, world.classifier(), body, kind)
    assert request == PredictRequest(world.ref, [JPEG])
    assert request.protocol == "predict"


@pytest.mark.parametrize(
    "document",
    [
        {"image": B64},
        {"images": [B64]},
        {"instances": [B64]},
        {"instances": [{"image": B64}]},
        {"images": [{"image": B64}]},
    ],
)
def test_a_picture_in_json(world: Any, document: object) -> None:
    assert decode(world, world.classifier(), document) == PredictRequest(world.ref, [JPEG])
    assert decode(world, world.classifier(), json.dumps(document).encode()) == PredictRequest(world.ref, [JPEG])


def test_several_pictures(world: Any) -> None:
    request = decode(world, world.classifier(), {"instances": [B64, {"b64": "YQ=="}], "top_k": 3})
    assert request == PredictRequest(world.ref, [JPEG, b"a"], 3)


def test_a_form(world: Any) -> None:
    form = httpx.Request(
        "POST", "http://x", files=[("a", ("a.jpg", JPEG)), ("b", ("b.jpg", b"b"))], data={"top_k": "2"}
    )
    kind = form.headers["content-type"].encode()
    assert decode(world, world.classifier(), form.read(), kind) == PredictRequest(world.ref, [JPEG, b"b"], 2)
    with pytest.raises(InvalidRequest, match="no final boundary"):
        decode(world, world.classifier(), form.read()[:-30], kind)
    with pytest.raises(PayloadTooLarge, match="more than 2 parts"):
        decode(world, world.classifier(), form.read(), kind, limits=Limits(items=1))


@pytest.mark.parametrize(
    ("files", "data", "message"),
    [
        ([("a", ("a.jpg", b""))], {}, "is empty"),
        ([("a", ("a.jpg", b"x"))], {"top": "1"}, 'unexpected field "top"'),
        ([("a", ("a.jpg", b"x"))], {"top_k": "none"}, "top_k is"),
        ([("top_k", (None, b"3"))], {}, "holds no file"),
    ],
)
def test_refused_forms(world: Any, files: Any, data: Any, message: str) -> None:
    form = httpx.Request("POST", "http://x", files=files, data=data)
    with pytest.raises(InvalidRequest, match=message):
        decode(world, world.classifier(), form.read(), form.headers["content-type"].encode())


@pytest.mark.parametrize("document", [{"x": [[1, 2, 3, 4]]}, {"inputs": {"x": [[1, 2, 3, 4]]}}])
def test_tensors_by_name(world: Any, document: object) -> None:
    request = decode(world, world.manifest(world.one), document)
    assert isinstance(request, InferRequest)
    assert request.inputs["x"].tolist() == [[1, 2, 3, 4]]
    assert (request.model, request.protocol) == (world.ref, "predict")


def test_tensors_for_a_model_that_takes_pictures(world: Any) -> None:
    pixels = np.arange(12).reshape(1, 2, 2, 3).tolist()
    for document in ({"image": pixels}, {"inputs": {"image": pixels}}):
        request = decode(world, world.classifier(), document)
        assert isinstance(request, InferRequest)
        assert request.inputs["image"].tolist() == pixels
    request = decode(world, world.classifier(), {"inputs": {"image": [B64]}})
    assert isinstance(request, InferRequest)
    assert request.inputs["image"].tolist() == [JPEG]


def test_an_input_may_be_called_inputs_or_images(world: Any) -> None:
    signature = world.of(DType.INT8, "batch")
    signature = type(signature)((type(signature.inputs[0])("inputs", DType.INT8, ("batch",)),), signature.outputs)
    request = decode(world, world.manifest(signature), {"inputs": [1, 2]})
    assert isinstance(request, InferRequest)
    assert request.inputs["inputs"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[]", "not of expected type: object"),
        ({}, "missing input 'x'; expected {\"x\": [...]} (x: float32[batch, 4])"),
        ({"y": 1}, 'unexpected key "y"; expected {"x": [...]}'),
        ({"x": [1], "y": 1}, 'unexpected key "y"'),
        ({"instances": [[1]]}, 'unexpected key "instances"'),
        ({"inputs": [1]}, "does not name the model's inputs"),
        ({"inputs": {"x": [1]}, "top_k": 1}, "unexpected keys beside 'inputs'"),
        ({"x": ["a"]}, "input 'x': JSON Value: \"a\" Type: String is not of expected type: float"),
    ],
)
def test_refused_tensors(world: Any, document: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(world, world.manifest(world.one), document, b"application/json")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"image": "text"}, 'picture 0: JSON Value: "text" Type: String is not a base64 object'),
        ({"image": {"b64": "%"}}, 'picture 0: JSON Value: "%" is not valid base64'),
        ({"images": [B64, {"b64": ""}]}, "picture 1 is empty"),
        ({"images": B64}, "'images' is not a list of pictures"),
        ({"images": []}, "'images' is not a list of pictures"),
        ({"images": [B64], "x": 1}, "unexpected key \"x\" beside 'images'"),
        ({"images": [B64], "image": B64}, "unexpected key"),
        ({"images": [{"b64": "YQ==", "x": 1}]}, "picture 0"),
        ({"images": [{"other": B64}]}, "picture 0"),
        ({"picture": B64}, 'expected {"image": {"b64": "..."}}'),
        ({"image": B64, "top_k": 0}, "top_k is 0, expected a number from 1"),
        ({"image": B64, "top_k": True}, "top_k is true"),
    ],
)
def test_refused_pictures(world: Any, document: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(world, world.classifier(), document)
    assert message in caught.value.message


def test_an_empty_body_is_no_picture(world: Any) -> None:
    with pytest.raises(InvalidRequest, match="the body is empty"):
        decode(world, world.classifier(), b"", b"image/png")


def test_too_many_pictures(world: Any) -> None:
    with pytest.raises(PayloadTooLarge, match="3 pictures, at most 2"):
        decode(world, world.classifier(), {"images": [B64] * 3}, limits=Limits(items=2))


@pytest.mark.parametrize(
    ("query", "top_k"), [(b"", None), (b"top_k=7", 7), (b"a=b&top_k=1&top_k=2", 1), (b"top=1", None)]
)
def test_the_number_of_classes_in_the_query(world: Any, query: bytes, top_k: int | None) -> None:
    assert decode(world, world.classifier(), JPEG, b"image/jpeg", query) == PredictRequest(world.ref, [JPEG], top_k)


@pytest.mark.parametrize(
    "query", [b"top_k=", b"top_k=0", b"top_k=-1", b"top_k=x", b"top_k=\xb2", b"top_k=" + b"9" * 20]
)
def test_an_impossible_number_of_classes(world: Any, query: bytes) -> None:
    with pytest.raises(InvalidRequest, match="top_k is"):
        decode(world, world.classifier(), JPEG, b"image/jpeg", query)


@pytest.mark.parametrize("kind", [b"text/plain", b"text/html; charset=utf-8", b"application/xml"])
def test_a_content_type_nobody_reads_names_those_that_are_read(world: Any, kind: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=r"image/\*.*multipart/form-data, application/json"):
        decode(world, world.classifier(), b"x", kind)


def test_what_curl_says_unasked_is_not_believed(world: Any) -> None:
    kind = b"application/x-www-form-urlencoded"
    assert decode(world, world.classifier(), JPEG, kind) == PredictRequest(world.ref, [JPEG])
    as_json = decode(world, world.classifier(), {"image": B64}, kind)
    assert as_json == decode(world, world.classifier(), {"image": B64})


@pytest.mark.parametrize("kind", [b"image/jpeg", b"multipart/form-data; boundary=x", b""])
def test_a_picture_for_a_model_without_pictures(world: Any, kind: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="takes application/json"):
        decode(world, world.manifest(world.one), JPEG, kind)


def test_answers_with_classes() -> None:
    classes = (ClassScore(281, 'tabby "cat"', 0.75), ClassScore(7, "", math.nan))
    reply = predict_rest.encode(PredictResponse("m", 3, [Prediction(classes), Prediction(classes[:1])]))
    tabby = {"index": 281, "label": 'tabby "cat"', "score": 0.75}
    assert reply.status == 200
    assert repr(json.loads(reply.body)) == repr(
        {
            "model": "m",
            "version": 3,
            "predictions": [
                {"classes": [tabby, {"index": 7, "label": "", "score": math.nan}]},
                {"classes": [tabby]},
            ],
        }
    )


def test_answers_with_tensors() -> None:
    y, s = np.array([[0.1, np.inf]], np.float32), np.array([b"a"], object)
    reply = predict_rest.encode(InferResponse("m", 3, {"y": y, "s": s}))
    assert json.loads(reply.body) == {"model": "m", "version": 3, "outputs": {"y": [[0.1, math.inf]], "s": ["a"]}}
    reply = predict_rest.encode(PredictResponse("m", 3, [Prediction(outputs={"y": y[0]})]))
    assert json.loads(reply.body)["predictions"] == [{"outputs": {"y": [0.1, math.inf]}}]


def test_errors() -> None:
    reply = predict_rest.encode_error(ModelNotFound("no\ud800", detail="/secret"), ModelRef("m"))
    assert reply.status == 404
    assert json.loads(reply.body) == {"error": "no\\ud800", "code": "NOT_FOUND"}


def test_the_element_at_fault_is_an_invalid_tensor(world: Any) -> None:
    with pytest.raises(InvalidTensor):
        decode(world, world.manifest(world.one), {"x": [None]})
