from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from portside.errors import (
    InvalidRequest,
    InvalidTensor,
    MethodNotAllowed,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PortsideError,
    RouteNotFound,
    Unsupported,
)
from portside.model.inference import InferRequest, InferResponse
from portside.model.ref import ModelRef
from portside.model.signature import Signature
from portside.model.tensors import Array, DType
from portside.protocol import oip_rest
from portside.protocol.base import Limits
from portside.protocol.oip_rest import HEADER_LENGTH, Action, OipRoute
from portside.protocol.oip_wish import Wish


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/v2", OipRoute(Action.SERVER)),
        ("GET", "/v2/", OipRoute(Action.SERVER)),
        ("GET", "/v2/health/live", OipRoute(Action.LIVE)),
        ("GET", "/v2/health/ready", OipRoute(Action.READY)),
        ("GET", "/v2/models/m", OipRoute(Action.MODEL, ModelRef("m"))),
        ("GET", "/v2/models/m/versions/2", OipRoute(Action.MODEL, ModelRef("m", version=2))),
        ("GET", "/v2/models/m/ready", OipRoute(Action.MODEL_READY, ModelRef("m"))),
        ("GET", "/v2/models/m/versions/2/ready", OipRoute(Action.MODEL_READY, ModelRef("m", version=2))),
        ("POST", "/v2/models/m/infer", OipRoute(Action.INFER, ModelRef("m"))),
        ("POST", "/v2/models/m/versions/2/infer", OipRoute(Action.INFER, ModelRef("m", version=2))),
        ("POST", "/v2/models/m/versions/stable/infer", OipRoute(Action.INFER, ModelRef("m", alias="stable"))),
    ],
)
def test_addresses(method: str, path: str, route: OipRoute) -> None:
    assert oip_rest.match(method, path) == route


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [
        ("GET", "/v2/models", RouteNotFound),
        ("GET", "/v2/models/", RouteNotFound),
        ("GET", "/v2/models/a/b", RouteNotFound),
        ("POST", "/v2/models/m/generate", RouteNotFound),
        ("GET", "/v2/models/m/config", RouteNotFound),
        ("POST", "/v2/repository/index", RouteNotFound),
        ("GET", "/v2/models/m/infer\n", RouteNotFound),
        ("GET", "/v2/\ud800", RouteNotFound),
        ("GET", "/v2/models/m/infer", MethodNotAllowed),
        ("POST", "/v2/models/m", MethodNotAllowed),
        ("POST", "/v2/health/live", MethodNotAllowed),
        ("POST", "/v2/models/m/versions/../infer", InvalidRequest),
        ("POST", "/v2/models/m/versions/" + "9" * 30 + "/infer", InvalidRequest),
        ("POST", "/v2/models/m/versions/٣/infer", InvalidRequest),
    ],
)
def test_wrong_addresses(method: str, path: str, error: type[PortsideError]) -> None:
    with pytest.raises(error) as caught:
        oip_rest.match(method, path)
    oip_rest.encode_error(caught.value)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v2/models/m/infer", b"POST"), ("POST", "/v2/models/m", b"GET, HEAD"), ("PUT", "/v2", b"GET, HEAD")],
)
def test_a_wrong_verb_says_which_are_right(method: str, path: str, allowed: bytes) -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        oip_rest.match(method, path)
    reply = oip_rest.encode_error(caught.value)
    assert (reply.status, reply.headers) == (405, ((b"allow", allowed),))


@pytest.mark.parametrize("path", ["/", "/v1/models/m", "/v20", "/predict/m"])
def test_other_addresses_are_others(path: str) -> None:
    assert oip_rest.match("GET", path) is None


def tensor(data: object = None, **more: object) -> dict[str, object]:
    entry: dict[str, object] = {"name": "x", "shape": [1, 4], "datatype": "FP32"}
    if data is not None:
        entry["data"] = data
    return entry | more


def decode(
    world: Any, document: object, tail: bytes = b"", *, signature: Signature | None = None, header: bool | None = None
) -> tuple[InferRequest, Wish]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = {HEADER_LENGTH: b"%d" % len(body)} if (tail if header is None else header) else {}
    return oip_rest.decode(body + tail, headers, signature or world.one, world.ref, world.limits)


FOUR = [1.0, 2.5, -3.0, 4.0]
BYTES = np.array(FOUR, np.float32).tobytes()


@pytest.mark.parametrize("data", [FOUR, [FOUR], [1, 2.5, -3, 4]])
def test_a_json_request(world: Any, data: object) -> None:
    request, wish = decode(world, {"inputs": [tensor(data)]})
    assert request.inputs["x"].tolist() == [FOUR]
    assert (request.model, request.outputs, request.id, request.timeout_s) == (world.ref, None, "", None)
    assert request.protocol == "oip-rest"
    assert not wish.wants_bytes("y")


def test_a_binary_request_is_a_view_into_the_body(world: Any) -> None:
    head = json.dumps({"inputs": [tensor(parameters={"binary_data_size": 16})]}).encode()
    head += b" " * (-len(head) % 4)
    body = head + BYTES
    request, _ = oip_rest.decode(body, {HEADER_LENGTH: b"%d" % len(head)}, world.one, world.ref, world.limits)
    array = request.inputs["x"]
    assert array.tolist() == [FOUR]
    assert np.shares_memory(array, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("padding", range(4))
def test_arrays_are_aligned_wherever_the_document_ends(world: Any, padding: int) -> None:
    head = json.dumps({"inputs": [tensor(parameters={"binary_data_size": 16})]}).encode() + b" " * padding
    request, _ = decode(world, head, BYTES)
    assert request.inputs["x"].flags.aligned
    assert request.inputs["x"].tolist() == [FOUR]


def test_a_view_of_a_body_is_read_like_a_body(world: Any) -> None:
    head = json.dumps({"inputs": [tensor(parameters={"binary_data_size": 16})]}).encode()
    body = memoryview(b"12345" + head + BYTES)[5:]
    request, _ = oip_rest.decode(body, {HEADER_LENGTH: b"%d" % len(head)}, world.one, world.ref, world.limits)
    assert request.inputs["x"].tolist() == [FOUR]


def test_binary_and_json_inputs_in_one_request(world: Any) -> None:
    a = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    b = {"name": "b", "shape": [1], "datatype": "INT32", "parameters": {"binary_data_size": 4}}
    request, _ = decode(world, {"inputs": [a, b]}, b"\x07\0\0\0", signature=world.two)
    assert (request.inputs["a"].tolist(), request.inputs["b"].tolist()) == ([[1.0, 2.0]], [7])


def test_what_is_said_beside_the_inputs(world: Any) -> None:
    request, wish = decode(
        world,
        {
            "id": "ä1",
            "parameters": {"timeout": 1_500_000, "binary_data_output": True, "mine": "x", "sequence_id": 0},
            "inputs": [tensor(FOUR)],
            "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
        },
    )
    assert (request.id, request.timeout_s, request.outputs) == ("ä1", 1.5, ["y"])
    assert not wish.wants_bytes("y")
    assert wish.wants_bytes("another")


@pytest.mark.parametrize(
    ("document", "error", "message"),
    [
        (b"", InvalidRequest, "The document is empty"),
        (b"[]", InvalidRequest, "not of expected type: object"),
        ({}, InvalidRequest, "'inputs' is missing or empty"),
        ({"inputs": []}, InvalidRequest, "'inputs' is missing or empty"),
        ({"inputs": {"x": 1}}, InvalidRequest, "'inputs' is missing or empty"),
        ({"inputs": [1]}, InvalidRequest, "an element of 'inputs' is not an object"),
        ({"inputs": [{}]}, InvalidRequest, "has no 'name'"),
        ({"inputs": [tensor(FOUR, name="z")]}, InvalidTensor, "unexpected input 'z'"),
        ({"inputs": [tensor(FOUR)] * 2}, InvalidTensor, "input 'x' already exists in request"),
        ({"inputs": [tensor(FOUR, datatype="FP64")]}, InvalidTensor, "'FP64', but the model expects 'FP32'"),
        ({"inputs": [tensor(FOUR, datatype="BF16")]}, InvalidTensor, "known are BOOL, UINT8"),
        ({"inputs": [tensor(FOUR, datatype=[])]}, InvalidTensor, "expected 'FP32'"),
        ({"inputs": [{"name": "x", "data": FOUR, "shape": [1, 4]}]}, InvalidTensor, "datatype null"),
        ({"inputs": [tensor(FOUR, shape=None)]}, InvalidTensor, "expected a list of at most 32 integers"),
        ({"inputs": [tensor(FOUR, shape=4)]}, InvalidTensor, "expected a list"),
        ({"inputs": [tensor(FOUR, shape=[1] * 33)]}, InvalidTensor, "expected a list"),
        ({"inputs": [tensor(FOUR, shape=[1, -4])]}, InvalidTensor, "-4 is not an extent"),
        ({"inputs": [tensor(FOUR, shape=[0, 4])]}, InvalidTensor, "0 is not an extent"),
        ({"inputs": [tensor(FOUR, shape=[1, True])]}, InvalidTensor, "true is not an extent"),
        ({"inputs": [tensor(FOUR, shape=[1, 4.0])]}, InvalidTensor, "4.0 is not an extent"),
        ({"inputs": [tensor(FOUR, shape=[2**62, 2**62])]}, PayloadTooLarge, "elements that are accepted"),
        ({"inputs": [tensor(FOUR, shape=[1, 10**30])]}, InvalidTensor, "1e+30 is not an extent"),
        ({"inputs": [tensor(FOUR, shape=[1, 3])]}, InvalidTensor, "4 elements in 'data', but its shape [1, 3] has 3"),
        ({"inputs": [tensor([[1, 2], [3, 4]])]}, InvalidTensor, "nested as [2, 2], but its shape is [1, 4]"),
        ({"inputs": [tensor([1, 2, 3, "4"])]}, InvalidTensor, "input 'x': JSON Value: \"4\" Type: String"),
        ({"inputs": [tensor([[1, 2], [3]])]}, InvalidTensor, "input 'x': Encountered list at unexpected size"),
        ({"inputs": [tensor()]}, InvalidTensor, "has no 'data': expected a list of 4 elements"),
        ({"inputs": [tensor(5)]}, InvalidTensor, "has no 'data'"),
        ({"inputs": [tensor(FOUR, parameters=1)]}, InvalidTensor, "'parameters' is not an object"),
        ({"inputs": [tensor(parameters={"binary_data_size": 16})]}, InvalidTensor, "Inference-Header-Content-Length"),
        ({"inputs": [tensor(parameters={"binary_data_size": -1})]}, InvalidTensor, "expected a number of bytes"),
        ({"inputs": [tensor(parameters={"binary_data_size": "16"})]}, InvalidTensor, "expected a number of bytes"),
        ({"inputs": [tensor(parameters={"shared_memory_region": "r"})]}, Unsupported, "shared memory"),
        ({"inputs": [tensor(FOUR)], "id": 5}, InvalidRequest, "'id' is not a string"),
        ({"inputs": [tensor(FOUR)], "outputs": {}}, InvalidRequest, "'outputs' is not a list"),
        ({"inputs": [tensor(FOUR)], "outputs": ["y"]}, InvalidRequest, "has no 'name'"),
        ({"inputs": [tensor(FOUR)], "outputs": [{"name": "z"}]}, InvalidTensor, "unexpected output 'z'"),
        ({"inputs": [tensor(FOUR)], "outputs": [{"name": "y"}] * 2}, InvalidTensor,
         "output 'y' already exists in request"),
        ({"inputs": [tensor(FOUR)], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}, Unsupported,
         "classification"),
        ({"inputs": [tensor(FOUR)], "outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]},
         Unsupported, "shared memory"),
        ({"inputs": [tensor(FOUR)], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, InvalidRequest,
         "expected true or false"),
        ({"inputs": [tensor(FOUR)], "outputs": [{"name": "y", "parameters": []}]}, InvalidRequest, "not an object"),
        ({"inputs": [tensor(FOUR)], "parameters": []}, InvalidRequest, "'parameters' is not an object"),
        ({"inputs": [tensor(FOUR)], "parameters": {"timeout": -1}}, InvalidRequest, "microseconds"),
        ({"inputs": [tensor(FOUR)], "parameters": {"timeout": "5"}}, InvalidRequest, "microseconds"),
        ({"inputs": [tensor(FOUR)], "parameters": {"timeout": 10**400, "x": float("nan")}}, InvalidRequest,
         "microseconds"),
        ({"inputs": [tensor(FOUR)], "parameters": {"timeout": True}}, InvalidRequest, "microseconds"),
        ({"inputs": [tensor(FOUR)], "parameters": {"binary_data_output": "yes"}}, InvalidRequest, "true or false"),
        ({"inputs": [tensor(FOUR)], "parameters": {"triton_x": 1}}, InvalidRequest, "reserved"),
        ({"inputs": [tensor(FOUR)], "parameters": {"headers": {}}}, InvalidRequest, "reserved"),
        ({"inputs": [tensor(FOUR)], "parameters": {"sequence_id": 1}}, Unsupported, "sequence"),
        ({"inputs": [tensor(FOUR)], "parameters": {"sequence_start": True}}, Unsupported, "sequence"),
    ],
)  # fmt: skip
def test_refusals(world: Any, document: object, error: type[PortsideError], message: str) -> None:
    with pytest.raises(PortsideError) as caught:
        decode(world, document)
    assert type(caught.value) is error
    assert message in caught.value.message
    assert len(caught.value.message) < 700


@pytest.mark.parametrize("value", [b"-1", b"x", b"", b"1.5", b"0x10", b"9" * 30, b"1000000", b"\xb2"])
def test_an_impossible_header_length(world: Any, value: bytes) -> None:
    body = json.dumps({"inputs": [tensor(FOUR)]}).encode()
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length is"):
        oip_rest.decode(body, {HEADER_LENGTH: value}, world.one, world.ref, world.limits)


def test_a_header_length_that_cuts_the_document(world: Any) -> None:
    body = json.dumps({"inputs": [tensor(FOUR)]}).encode()
    with pytest.raises(InvalidRequest, match="JSON Parse error"):
        oip_rest.decode(body, {HEADER_LENGTH: b"%d" % (len(body) - 1)}, world.one, world.ref, world.limits)


def answer(wish: Wish, **outputs: Array) -> tuple[Any, bytes]:
    reply = oip_rest.encode(InferResponse("m", 3, outputs, id="7"), wish)
    headers = dict(reply.headers)
    length = int(headers.get(HEADER_LENGTH, len(reply.body)))
    assert reply.content_type == (b"application/octet-stream" if HEADER_LENGTH in headers else b"application/json")
    return json.loads(reply.body[:length]), reply.body[length:]


def test_answers_as_json(world: Any) -> None:
    y, s = np.array([[1.5, np.nan]], np.float32), np.array([b"a", "ä".encode()], object)
    document, tail = answer(Wish(), y=y, s=s, z=np.array(True))
    assert repr(document) == repr(
        {
            "model_name": "m",
            "model_version": "3",
            "id": "7",
            "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, float("nan")]},
                {"name": "s", "datatype": "BYTES", "shape": [2], "data": ["a", "ä"]},
                {"name": "z", "datatype": "BOOL", "shape": [], "data": [True]},
            ],
        }
    )
    assert tail == b""


def test_answers_as_bytes_in_the_order_of_the_outputs() -> None:
    wish = Wish(binary=True, outputs={"y": False})
    document, tail = answer(
        wish,
        a=np.array([1, 2], np.int16),
        y=np.array([5], np.int8),
        s=np.array([b"ab", b""], object),
        h=np.ones(1, "f2"),
    )
    assert [o.get("parameters") for o in document["outputs"]] == [
        {"binary_data_size": 4}, None, {"binary_data_size": 10}, {"binary_data_size": 2},
    ]  # fmt: skip
    assert document["outputs"][1]["data"] == [5]
    assert "data" not in document["outputs"][0]
    assert tail == b"\1\0\2\0" + b"\2\0\0\0ab\0\0\0\0" + b"\x00\x3c"


def test_no_id_no_id() -> None:
    reply = oip_rest.encode(InferResponse("m", 3, {"y": np.array([1.0])}), Wish())
    assert "id" not in json.loads(reply.body)


def test_half_precision_has_no_json(world: Any) -> None:
    half = world.of(DType.FLOAT16, 2)
    entry = {"name": "x", "shape": [2], "datatype": "FP16"}
    with pytest.raises(InvalidTensor, match="input 'x' is FP16, which has no JSON form"):
        decode(
            world, {"inputs": [entry | {"data": [1, 2]}], "parameters": {"binary_data_output": True}}, signature=half
        )
    as_bytes = {"inputs": [entry | {"parameters": {"binary_data_size": 4}}]}
    with pytest.raises(InvalidRequest, match="output 'y' is FP16, which has no JSON form"):
        decode(world, as_bytes, b"\0\x3c\0\x40", signature=half)
    outputs = [{"name": "y", "parameters": {"binary_data": True}}]
    request, wish = decode(world, as_bytes | {"outputs": outputs}, b"\0\x3c\0\x40", signature=half)
    assert request.inputs["x"].tolist() == [1.0, 2.0]
    assert wish.wants_bytes("y")
    with pytest.raises(InvalidRequest, match="FP16"):
        oip_rest.encode(InferResponse("m", 1, {"y": np.ones(1, np.float16)}), Wish())


def test_strings_that_are_no_text_need_bytes() -> None:
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        answer(Wish(), s=np.array([b"\xff"], object))


def test_pictures_pass_where_numbers_are_expected(world: Any) -> None:
    for data in (["text"], [{"b64": "dGV4dA=="}]):
        entry = {"name": "image", "shape": [1], "datatype": "BYTES", "data": data}
        request, _ = decode(world, {"inputs": [entry]}, signature=world.picture)
        assert request.inputs["image"].tolist() == [b"text"]
    entry = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 8}}
    request, _ = decode(world, {"inputs": [entry]}, b"\4\0\0\0\xff\xd8\xff\xe0", signature=world.picture)
    assert request.inputs["image"].tolist() == [b"\xff\xd8\xff\xe0"]


@pytest.mark.parametrize(
    ("error", "ref", "status", "message"),
    [
        (ModelNotFound("There is only 'n'."), ModelRef("m"), 404,
         "Request for unknown model: 'm' is not found. There is only 'n'."),
        (ModelNotFound("Request for unknown model: 'm' is not found; served are: 'n'"), ModelRef("m"), 404,
         "Request for unknown model: 'm' is not found; served are: 'n'"),
        (InvalidTensor("no"), ModelRef("m"), 400, "no"),
        (PortsideError("a\ud800", detail="/secret"), None, 500, "a\\ud800"),
    ],
)  # fmt: skip
def test_errors(error: PortsideError, ref: ModelRef | None, status: int, message: str) -> None:
    reply = oip_rest.encode_error(error, ref)
    assert reply.status == status
    assert json.loads(reply.body) == {"error": message}


def test_errors_that_pass_say_when_to_come_back() -> None:
    assert oip_rest.encode_error(Overloaded("full")).headers == ((b"retry-after", b"1"),)


def test_too_many_elements_are_refused_before_they_are_read(world: Any) -> None:
    body = json.dumps({"inputs": [tensor([], shape=[1000, 1000])]}).encode()
    with pytest.raises(PayloadTooLarge):
        oip_rest.decode(body, {}, world.one, world.ref, Limits(elements=999_999))
