from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest

from portside.errors import (
    AliasNotFound,
    InvalidRequest,
    InvalidTensor,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    PortsideError,
    Unavailable,
    Unsupported,
    VersionNotFound,
)
from portside.model.inference import InferResponse
from portside.model.ref import ModelRef
from portside.model.signature import Signature
from portside.model.tensors import Array, DType
from portside.protocol import tfs_rest
from portside.protocol.base import Limits
from portside.protocol.tfs_rest import Form, Verb


@pytest.mark.parametrize(
    ("method", "path", "verb", "ref"),
    [
        ("POST", "/v1/models/m:predict", Verb.PREDICT, ModelRef("m")),
        ("POST", "/V1/Models/m/Versions/3:PREDICT", Verb.PREDICT, ModelRef("m", version=3)),
        ("POST", "/v1/models/m.a-b_c/labels/stable:predict", Verb.PREDICT, ModelRef("m.a-b_c", alias="stable")),
        ("GET", "/v1/models/m", Verb.STATUS, ModelRef("m")),
        ("GET", "/v1/models/m/versions/12", Verb.STATUS, ModelRef("m", version=12)),
        ("GET", "/v1/models/m/labels/stable", Verb.STATUS, ModelRef("m", alias="stable")),
        ("GET", "/v1/models/m/metadata", Verb.METADATA, ModelRef("m")),
        ("GET", "/v1/models/m/versions/12/metadata", Verb.METADATA, ModelRef("m", version=12)),
    ],
)
def test_addresses(method: str, path: str, verb: Verb, ref: ModelRef) -> None:
    assert tfs_rest.match(method, path) == tfs_rest.TfsRoute(verb, ref)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/m:predict"),
        ("PUT", "/v1/models/m:predict"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/m/versions/x:predict"),
        ("POST", "/v1/models/m/versions/-1:predict"),
        ("POST", "/v1/models/m/versions/" + "9" * 40 + ":predict"),
        ("POST", "/v1/models/m/versions/1/labels/a:predict"),
        ("POST", "/v1/models/m:train"),
        ("POST", "/v1/models/../m:predict"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/"),
        ("GET", "/v1"),
        ("DELETE", "/v1/models/m"),
        ("POST", "/v1/models/m:predict\n"),
        ("GET", "/v1/\ud800"),
    ],
)
def test_malformed_addresses(method: str, path: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^Malformed request: {method} /v1") as caught:
        tfs_rest.match(method, path)
    caught.value.message.encode("utf-8")
    assert len(caught.value.message) < 300


def test_a_status_needs_a_name() -> None:
    with pytest.raises(InvalidRequest, match="Missing model name in request"):
        tfs_rest.match("GET", "/v1/models")


@pytest.mark.parametrize("verb", ["classify", "regress", "Classify"])
def test_classify_and_regress_are_not_offered(verb: str) -> None:
    with pytest.raises(Unsupported, match="use :predict"):
        tfs_rest.match("POST", f"/v1/models/m:{verb}")


@pytest.mark.parametrize("path", ["/", "/v2", "/v10/models", "/predict/m", "/v1x"])
def test_other_addresses_are_others(path: str) -> None:
    assert tfs_rest.match("GET", path) is None


def decode(world: Any, signature: Signature, document: object) -> tuple[dict[str, Any], Form]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    request, form = tfs_rest.decode(body, signature, world.ref, world.limits)
    assert request.model == world.ref
    assert request.outputs is None
    assert request.protocol == "tfs-rest"
    return {name: array.tolist() for name, array in request.inputs.items()}, form


ROWS = [[1, 2, 3, 4], [5, 6, 7, 8.5]]


@pytest.mark.parametrize(
    ("document", "form"),
    [
        ({"instances": ROWS}, Form.ROW),
        ({"signature_name": "", "instances": ROWS}, Form.ROW),
        ({"signature_name": "serving_default", "instances": ROWS}, Form.ROW),
        ({"instances": [{"x": row} for row in ROWS]}, Form.ROW),
        ({"inputs": ROWS}, Form.COLUMNAR),
        ({"inputs": {"x": ROWS}}, Form.COLUMNAR),
        ({"inputs": {"x": ROWS}, "anything": 1}, Form.COLUMNAR),
    ],
)
def test_one_input(world: Any, document: object, form: Form) -> None:
    assert decode(world, world.one, document) == ({"x": ROWS}, form)


@pytest.mark.parametrize(
    ("document", "form"),
    [
        ({"instances": [{"a": [1, 2], "b": 3}, {"b": 6, "a": [4, 5]}]}, Form.ROW),
        ({"inputs": {"a": [[1, 2], [4, 5]], "b": [3, 6]}}, Form.COLUMNAR),
    ],
)
def test_several_inputs(world: Any, document: object, form: Form) -> None:
    assert decode(world, world.two, document) == ({"a": [[1, 2], [4, 5]], "b": [3, 6]}, form)


def test_scalars_tokens_and_base64(world: Any) -> None:
    numbers = world.of(DType.FLOAT32, "batch")
    strings = world.of(DType.STRING, "batch")
    assert decode(world, numbers, {"instances": [1, 2.5]}) == ({"x": [1, 2.5]}, Form.ROW)
    assert decode(world, numbers, {"inputs": 5}) == ({"x": 5.0}, Form.COLUMNAR)
    assert repr(decode(world, numbers, b'{"instances": [NaN, -Infinity]}')[0]) == "{'x': [nan, -inf]}"
    expected = {"x": [b"ab", b"c"]}
    assert decode(world, strings, {"instances": [{"b64": "YWI="}, "c"]})[0] == expected
    assert decode(world, strings, {"instances": [{"x": {"b64": "YWI="}}, {"x": "c"}]})[0] == expected
    assert decode(world, strings, {"inputs": {"b64": "YWI="}})[0] == {"x": b"ab"}


def test_pictures_pass_where_numbers_are_expected(world: Any) -> None:
    """Whether the model takes them is for the check against the signature and the declared processing."""
    for document in (
        {"instances": [{"b64": "YWI="}]},
        {"instances": [{"image": {"b64": "YWI="}}]},
        {"inputs": [{"b64": "YWI="}]},
        {"inputs": {"image": [{"b64": "YWI="}]}},
    ):
        assert decode(world, world.picture, document)[0] == {"image": [b"ab"]}
    with pytest.raises(InvalidTensor, match="string"):
        world.picture.check({"image": np.array([b"ab"], object)})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[1]", "not of expected type: object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [], "inputs": []}, "expecting only one of 'inputs' or 'instances' keys to exist"),
        ({"instances": 1}, "Expecting 'instances' to be an list/array"),
        ({"instances": {"x": 1}}, "Expecting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"signature_name": "x", "instances": ROWS}, 'Serving signature name: "x" not found in signature def'),
        ({"signature_name": None, "instances": ROWS}, "'signature_name' key must be a string value"),
        ({"signature_name": 5, "instances": ROWS}, "'signature_name' key must be a string value"),
        ({"instances": [[1, 2], [3, "a"]]},
         "element: 1 of 'instances' list. Error: JSON Value: \"a\" Type: String is not of expected type: float"),
        ({"instances": ["a"]}, "Failed to process element: 0 of 'instances' list."),
        ({"instances": [{"x": [1]}, {"x": [True]}]}, "element: 1 key: x of 'instances' list. Error: "),
        ({"instances": [[1, 2], [3, 4], [5]]},
         "element: 2 of 'instances' list. Error: Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ({"instances": [[1], 2]}, "Failed to process element: 1 of 'instances' list."),
        ({"instances": [{"y": 1}]}, "element: 0 of 'instances' list. JSON object: {\"y\": 1} keys must be equal to: x"),
        ({"instances": [{"x": 1}, 2]}, "Failed to process element: 1 of 'instances' list."),
        ({"instances": [{"x": 1}, {}]}, "keys must be equal to: x"),
        ({"inputs": {"y": 1}}, "Missing named input: x in 'inputs' object."),
        ({"inputs": {"x": 1, "z": 1}}, 'Unexpected input: "z" in \'inputs\' object.'),
        ({"inputs": {"x": [[1], [2, 3]]}}, "key: x of 'inputs' object. Error: Encountered list at unexpected size: 2"),
        ({"inputs": None}, "JSON Value: null Type: Null is not of expected type: float"),
    ],
)  # fmt: skip
def test_refusals_with_one_input(world: Any, document: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(world, world.one, document)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"instances": [[1, 2]]}, "instances is a plain list, but expecting list of objects as multiple input tensors"),
        ({"instances": [{"b64": "YQ=="}]}, "instances is a plain list, but expecting list of objects"),
        ({"instances": [{"a": [1, 2]}]}, "keys must be equal to: a,b"),
        ({"instances": [{"a": [1, 2], "b": 1, "c": 1}]}, "keys must be equal to: a,b"),
        ({"inputs": [[1, 2]]}, "inputs is a plain value/list, but expecting an object/map"),
        ({"inputs": {"a": [[1, 2]]}}, "Missing named input: b"),
    ],
)
def test_refusals_with_several_inputs(world: Any, document: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(world, world.two, document)
    assert message in caught.value.message


@pytest.mark.parametrize("fault", [0, 1, 2, 499, 500, 998, 999])
def test_the_row_at_fault_is_found_among_many(world: Any, fault: int) -> None:
    rows: list[list[object]] = [[1, 2, 3, 4] for _ in range(1000)]
    rows[fault][3] = "x"
    with pytest.raises(InvalidTensor, match=f"element: {fault} of"):
        decode(world, world.one, {"instances": rows})


def test_too_many_elements(world: Any) -> None:
    with pytest.raises(PayloadTooLarge):
        tfs_rest.decode(b'{"instances": [[1, 2, 3]]}', world.one, world.ref, Limits(elements=2))


def answer(signature: Signature, form: Form, **outputs: Array) -> Any:
    reply = tfs_rest.encode(InferResponse("m", 1, outputs), signature, form)
    assert reply.status == 200
    assert reply.content_type == b"application/json"
    return json.loads(reply.body)


def test_answers_with_one_output(world: Any) -> None:
    y = np.array([[0.1, 2, 3], [4, 5, np.nan]], np.float32)
    values = [[0.1, 2.0, 3.0], [4.0, 5.0, float("nan")]]
    assert repr(answer(world.one, Form.ROW, y=y)) == repr({"predictions": values})
    assert repr(answer(world.one, Form.COLUMNAR, y=y)) == repr({"outputs": values})
    assert answer(world.one, Form.COLUMNAR, y=np.array(2.5, np.float32)) == {"outputs": 2.5}
    reply = tfs_rest.encode(InferResponse("m", 1, {"y": y[:1]}), world.one, Form.ROW)
    assert reply.body == b'{\n    "predictions": [[0.1,2.0,3.0]]\n}'


def test_answers_with_several_outputs(world: Any) -> None:
    p, q = np.array([[1, 2], [3, 4]], np.float32), np.array([b"a", b"\xff"], object)
    a, b = {"b64": "YQ=="}, {"b64": "/w=="}
    assert answer(world.two, Form.ROW, p=p, q_bytes=q) == {
        "predictions": [{"p": [1, 2], "q_bytes": a}, {"p": [3, 4], "q_bytes": b}]
    }
    assert answer(world.two, Form.COLUMNAR, p=p, q_bytes=q) == {"outputs": {"p": [[1, 2], [3, 4]], "q_bytes": [a, b]}}


def test_strings_are_text_unless_the_name_says_bytes(world: Any) -> None:
    assert answer(world.of(DType.STRING, "batch"), Form.ROW, y=np.array([b"a"], object)) == {"predictions": ["a"]}


def test_rows_need_one_common_number_of_rows(world: Any) -> None:
    p = np.zeros((2, 2), np.float32)
    with pytest.raises(InvalidRequest, match="Tensor name: q_bytes has inconsistent batch size: 1 expecting: 2"):
        answer(world.two, Form.ROW, p=p, q_bytes=np.array([b"a"], object))
    with pytest.raises(InvalidRequest, match="Tensor name: y has no shape information"):
        answer(world.one, Form.ROW, y=np.array(1.0))


@pytest.mark.parametrize(
    ("error", "ref", "status", "message"),
    [
        (InvalidRequest('say "x"'), None, 400, 'say "x"'),
        (ModelNotFound("no m."), ModelRef("m"), 404, "Servable not found for request: Latest(m). no m."),
        (VersionNotFound("no 3"), ModelRef("m", 3), 404, "Servable not found for request: Specific(m, 3). no 3"),
        (AliasNotFound("no a"), ModelRef("m", alias="a"), 404, "Unrecognized servable version label: a. no a"),
        (Unsupported("no"), ModelRef("m"), 501, "no"),
        (PortsideError("a\ud800", detail="/secret"), None, 500, "a\\ud800"),
    ],
)
def test_errors(error: PortsideError, ref: ModelRef | None, status: int, message: str) -> None:
    reply = tfs_rest.encode_error(error, ref)
    assert reply.status == status
    assert json.loads(reply.body) == {"error": message}
    assert reply.body.startswith(b'{\n    "error": "')
    assert b"secret" not in reply.body


@pytest.mark.parametrize("error", [Overloaded("full"), Unavailable("not yet")])
def test_errors_that_pass_say_when_to_come_back(error: PortsideError) -> None:
    assert (b"retry-after", b"1") in tfs_rest.encode_error(error).headers


@pytest.mark.parametrize("dtype", [d for d in DType if d is not DType.STRING])
@pytest.mark.parametrize("form", Form)
def test_a_client_reads_back_what_it_sent(world: Any, dtype: DType, form: Form) -> None:
    """An identity model: what is answered is what was sent, through both forms, for every type."""
    signature = world.of(dtype, "batch", 3)
    sent = np.arange(6).reshape(2, 3).astype(dtype.numpy)
    key = "instances" if form is Form.ROW else "inputs"
    body = orjson.dumps({key: sent}, option=orjson.OPT_SERIALIZE_NUMPY)
    request, used = tfs_rest.decode(body, signature, world.ref, world.limits)
    assert signature.check(request.inputs) == 2
    answered = answer(signature, used, y=request.inputs["x"])
    assert np.array(answered["predictions" if form is Form.ROW else "outputs"], dtype.numpy).tolist() == sent.tolist()
