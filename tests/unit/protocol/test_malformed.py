"""Thousands of malformed bodies at every decoder: a request that fits its type, or one of our errors. Nothing else."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portside.errors import PortsideError
from portside.model.inference import InferRequest, PredictRequest
from portside.protocol import oip_rest, predict_rest, tfs_rest
from portside.protocol.base import HttpReply
from portside.protocol.oip_rest import HEADER_LENGTH

Send = Callable[[bytes, bytes], None]
KEYS = ["instances", "inputs", "outputs", "x", "a", "b", "image", "images", "b64", "name", "shape", "datatype", "data",
        "parameters", "binary_data_size", "binary_data", "binary_data_output", "timeout", "id", "top_k",
        "signature_name", "sequence_id", "classification"]  # fmt: skip
VALUES = ["x", "y", "a", "FP32", "FP16", "BYTES", "BOOL", "serving_default", "YQ==", "\u0000", "é", "", 0, 1, -1, 4, 16,
          2**31, 2**64, 10**400, -(2**63), 1.5, 1e300, 1e39, float("nan"), float("inf"), True, False, None]  # fmt: skip
JUNK = st.recursive(
    st.sampled_from(VALUES), lambda c: st.lists(c, max_size=4) | st.dictionaries(st.sampled_from(KEYS), c, max_size=4)
)
OIP = {
    "id": "1",
    "parameters": {"timeout": 5, "binary_data_output": True},
    "inputs": [
        {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6, 7, 8.5]},
        {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}},
    ],
    "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
}
TFS = {
    "signature_name": "serving_default",
    "instances": [[1, 2, 3, 4.5], {"x": [1, 2, 3, 4]}, {"b64": "YWI="}],
    "inputs": {"x": [[1, 2, 3, 4]]},
}
PREDICT = {"x": [[1, 2, 3, 4]], "image": {"b64": "YWI="}, "images": [{"b64": "YWI="}], "top_k": 5}
FORM = b'--B\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nxyz\r\n--B--\r\n'


def check(request: object) -> None:
    if isinstance(request, PredictRequest):
        assert request.items
        assert all(type(item) is bytes and item for item in request.items)
        assert request.top_k is None or request.top_k > 0
        return
    assert isinstance(request, InferRequest)
    assert all(type(name) is str and type(array) is np.ndarray for name, array in request.inputs.items())
    assert request.timeout_s is None or request.timeout_s > 0
    assert request.outputs is None or all(type(name) is str for name in request.outputs)
    request.id.encode("utf-8")


def refuse(error: PortsideError, encode: Callable[..., HttpReply]) -> None:
    reply = encode(error)
    assert reply.status in {400, 413, 415, 501}
    assert 1 <= len(json.loads(reply.body)["error"]) < 1200


def tfs_decoder(world: Any) -> Send:
    def send(body: bytes, header: bytes) -> None:
        for signature in (world.one, world.two, world.picture):
            try:
                request, _ = tfs_rest.decode(body, signature, world.ref, world.limits)
            except PortsideError as e:
                refuse(e, tfs_rest.encode_error)
            else:
                check(request)

    return send


def oip_decoder(world: Any) -> Send:
    def send(body: bytes, header: bytes) -> None:
        for headers, signature in itertools.product(
            ({}, {HEADER_LENGTH: header}), (world.one, world.two, world.picture)
        ):
            try:
                request, wish = oip_rest.decode(body, headers, signature, world.ref, world.limits)
            except PortsideError as e:
                refuse(e, oip_rest.encode_error)
            else:
                check(request)
                assert wish.wants_bytes("y") in {True, False}

    return send


def predict_decoder(world: Any) -> Send:
    manifests = [world.classifier(), world.manifest(world.one), world.manifest(world.two)]
    kinds = [b"", b"application/json", b"multipart/form-data; boundary=B", b"image/png"]

    def send(body: bytes, header: bytes) -> None:
        for kind, manifest in itertools.product([*kinds, header], manifests):
            try:
                request = predict_rest.decode(body, {b"content-type": kind}, manifest, world.ref, world.limits, header)
            except PortsideError as e:
                refuse(e, predict_rest.encode_error)
            else:
                check(request)

    return send


@pytest.fixture(scope="module")
def decoders(world: Any) -> list[Send]:
    """Every decoder with several signatures; each takes a body and a header that matters to it."""
    return [tfs_decoder(world), oip_decoder(world), predict_decoder(world)]


def attack(decoders: list[Send], body: bytes, header: bytes) -> None:
    for send in decoders:
        send(body, header)


@given(data=st.data())
@settings(max_examples=700, deadline=None)
def test_documents_of_known_words_in_any_order(decoders: list[Send], data: st.DataObject) -> None:
    document = data.draw(JUNK)
    body = json.dumps(document).encode() + data.draw(st.binary(max_size=20))
    attack(decoders, body, data.draw(st.sampled_from([b"0", b"5", b"%d" % len(body), b"-1", b"x", b"top_k=3"])))


@given(body=st.binary(max_size=100), header=st.binary(max_size=12))
@settings(max_examples=500, deadline=None)
def test_any_bytes(decoders: list[Send], body: bytes, header: bytes) -> None:
    attack(decoders, body, header)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key of a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from places(inner)


@pytest.mark.parametrize("document", [OIP, TFS, PREDICT], ids=["oip", "tfs", "predict"])
@pytest.mark.parametrize("seed", range(4))
def test_good_documents_with_one_or_two_faults(decoders: list[Send], document: Any, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        broken = json.loads(json.dumps(document))
        for key in chance.sample(sorted(broken), chance.randrange(len(broken))):
            del broken[key]
        for _ in range(chance.randrange(3)):
            spots = list(places(broken))
            if not spots:
                break
            container, key = chance.choice(spots)
            container[key] = chance.choice([*VALUES, [], {}, [[]], {"b64": 1}, [1, [2]], {"x": None}])
        body = json.dumps(broken).encode()
        attack(decoders, body + bytes(16), b"%d" % len(body))


@pytest.mark.parametrize(
    "whole", [json.dumps(OIP).encode(), json.dumps(TFS).encode(), FORM], ids=["oip", "tfs", "form"]
)
def test_good_bodies_cut_at_every_byte_or_with_one_byte_changed(decoders: list[Send], whole: bytes) -> None:
    chance = random.Random(1)
    for at in range(len(whole)):
        attack(decoders, whole[:at], b"%d" % at)
        attack(decoders, whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :], b"%d" % len(whole))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"instances":' * 5_000,
        b'{"instances":' + b"[" * 60 + b"1" + b"]" * 60 + b"}",
        b'{"instances":[' + b"[]," * 100_000 + b"1]}",
        b'{"instances":[' + b"1," * 200_000 + b'"x"]}',
        b'{"instances":[' + b'{"x":1},' * 50_000 + b"{}]}",
        b'{"instances":[NaN,' + b"1," * 200_000 + b"1]}",
        b'{"instances":[1' + b"0" * 100_000 + b"]}",
        b'{"inputs":[' + b'{"name":"x"},' * 50_000 + b"{}]}",
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[' + b"1," * 100_000 + b'1],"data":[]}]}',
        b'{"x":"' + b"\\ud83d\\ude00" * 50_000 + b'"}',
        b"--B\r\n" * 50_000,
        b"--B\r\nContent-Disposition: form-data" + b';a="' * 20_000 + b"\r\n\r\n\r\n--B--",
        FORM[:-6] * 2_000 + b"--",
    ],
    ids=range(14),
)
def test_large_hostile_bodies_end_in_an_error(decoders: list[Send], body: bytes) -> None:
    attack(decoders, body, b"%d" % len(body))
