"""The codec of tritonclient as an oracle: it writes our requests and reads our answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from portside.model.inference import InferRequest, InferResponse
from portside.model.ref import ModelRef
from portside.model.signature import Signature
from portside.model.tensors import Array, DType, TensorSpec
from portside.protocol import oip_rest, oip_tensor
from portside.protocol.base import HttpReply, Limits
from portside.protocol.oip_rest import HEADER_LENGTH
from portside.protocol.oip_wish import Wish

REF = ModelRef("m")
TYPES = list(DType)


def signature(*arrays: Array) -> Signature:
    """An identity model for these arrays."""
    return Signature(
        tuple(TensorSpec(f"i{n}", DType.of(a), a.shape) for n, a in enumerate(arrays)),
        tuple(TensorSpec(f"o{n}", DType.of(a), a.shape) for n, a in enumerate(arrays)),
    )


def ask(arrays: list[Array], binary: list[bool], **options: Any) -> tuple[InferRequest, Wish]:
    """What the client would send, as we read it."""
    inputs = []
    for n, array in enumerate(arrays):
        entry = InferInput(f"i{n}", list(array.shape), oip_tensor.datatype(DType.of(array)))
        inputs.append(entry.set_data_from_numpy(array, binary_data=binary[n]))
    body, length = InferenceServerClient.generate_request_body(inputs, **options)
    headers = {} if length is None else {HEADER_LENGTH: b"%d" % length}
    return oip_rest.decode(body, headers, signature(*arrays), REF, Limits())


def result(reply: HttpReply) -> InferResult:
    """Our answer, as the client reads it."""
    length = dict(reply.headers).get(HEADER_LENGTH)
    return InferResult.from_response_body(reply.body, header_length=None if length is None else int(length))


def same(left: Array, right: Array) -> bool:
    return left.shape == right.shape and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(str.encode)


@st.composite
def arrays(draw: st.DrawFn, *, text: bool = False) -> Array:
    dtype = draw(st.sampled_from(TYPES))
    shape = draw(hnp.array_shapes(max_dims=3, max_side=4))
    if dtype is DType.STRING:
        return draw(hnp.arrays(np.dtype(object), shape, elements=TEXT if text else st.binary(max_size=8)))
    return draw(hnp.arrays(dtype.numpy, shape))


@given(st.lists(arrays(), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_binary_both_ways(sent: list[Array]) -> None:
    request, wish = ask(sent, [True] * len(sent))
    assert signature(*sent).check(request.inputs) == 1
    assert all(same(request.inputs[f"i{n}"], a) for n, a in enumerate(sent))
    answer = result(oip_rest.encode(InferResponse("m", 1, {f"o{n}": a for n, a in enumerate(sent)}), wish))
    assert all(same(answer.as_numpy(f"o{n}"), a) for n, a in enumerate(sent))


@given(st.lists(arrays(text=True).filter(lambda a: a.dtype != np.float16), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_json_both_ways(sent: list[Array]) -> None:
    wanted = [InferRequestedOutput(f"o{n}", binary_data=False) for n in range(len(sent))]
    request, wish = ask(sent, [False] * len(sent), outputs=wanted)
    assert signature(*sent).check(request.inputs) == 1
    assert all(same(request.inputs[f"i{n}"], a) for n, a in enumerate(sent))
    reply = oip_rest.encode(InferResponse("m", 1, {f"o{n}": a for n, a in enumerate(sent)}), wish)
    answer = result(reply)
    for n, array in enumerate(sent):
        read = answer.as_numpy(f"o{n}")
        if array.dtype == object:
            read = np.array([v.encode() for v in read.ravel()], object).reshape(read.shape)
        assert same(read, array)


@given(st.lists(st.tuples(arrays(text=True), st.booleans(), st.booleans()), min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_each_tensor_in_its_own_way(sent: list[tuple[Array, bool, bool]]) -> None:
    sent = [(a, ask_b or a.dtype == np.float16, get_b or a.dtype == np.float16) for a, ask_b, get_b in sent]
    data = [a for a, _, _ in sent]
    wanted = [InferRequestedOutput(f"o{n}", binary_data=b) for n, (_, _, b) in enumerate(sent)]
    request, wish = ask(data, [b for _, b, _ in sent], outputs=wanted[::-1])
    assert request.outputs == [f"o{n}" for n in reversed(range(len(sent)))]
    assert all(same(request.inputs[f"i{n}"], a) for n, a in enumerate(data))
    answer = result(
        oip_rest.encode(InferResponse("m", 1, {name: data[int(name[1:])] for name in request.outputs}), wish)
    )
    for n, (array, _, binary) in enumerate(sent):
        entry = answer.get_output(f"o{n}")
        assert ("binary_data_size" in entry.get("parameters", {})) is binary
        if binary:
            assert same(answer.as_numpy(f"o{n}"), array)


def test_what_the_client_says_beside_the_inputs() -> None:
    request, wish = ask([np.ones(1, np.float32)], [True], request_id="7", timeout=2_000_000, parameters={"mine": "x"})
    assert (request.id, request.timeout_s, request.outputs) == ("7", 2.0, None)
    assert wish.wants_bytes("o0")
    reply = result(oip_rest.encode(InferResponse("m", 5, {"o0": np.ones(1, np.float32)}, id=request.id), wish))
    document = reply.get_response()
    assert (document["id"], document["model_name"], document["model_version"]) == ("7", "m", "5")


def test_the_client_understands_our_errors() -> None:
    from portside.errors import ModelNotFound

    reply = oip_rest.encode_error(ModelNotFound("There are none."), ModelRef("nothing"))

    class Response:
        status_code = reply.status

        def read(self) -> bytes:
            return reply.body

    from tritonclient.http._utils import _raise_if_error

    with pytest.raises(InferenceServerException, match="Request for unknown model: 'nothing' is not found"):
        _raise_if_error(Response())


def test_not_a_number_reaches_the_client() -> None:
    array = np.array([np.nan, np.inf, -np.inf], np.float32)
    reply = oip_rest.encode(InferResponse("m", 1, {"o0": array}), Wish())
    assert same(result(reply).as_numpy("o0"), array)
    assert repr(json.loads(reply.body)["outputs"][0]["data"]) == "[nan, inf, -inf]"
