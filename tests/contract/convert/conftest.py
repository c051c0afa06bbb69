"""Sources of every kind that the converters read: small networks, saved by their own frameworks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portside.model.source import Source, parse_input

NETWORKS = '''
import torch
from torch import nn


class Classifier(nn.Module):
    """A convolution, batch statistics and dropout: wrong as soon as it is not in evaluation mode."""

    def __init__(self, classes=4):
        super().__init__()
        first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.body = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, classes)

    def forward(self, image):
        features = self.body(image)
        bs = features.size(0)
        return self.head(features.mean((2, 3)).view(bs, -1))


class TwoByTwo(nn.Module):
    """Two inputs, two named outputs, not in alphabetical order."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3, padding=1)
        self.row = nn.Linear(5, 4)

    def forward(self, image, row):
        features = self.image(image)
        return {"score": features.mean((2, 3)) + self.row(row), "map": features}


class Branch(nn.Module):
    """Data decide which way it goes, which tracing cannot see."""

    def __init__(self):
        super().__init__()
        self.row = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor):
        y = self.row(x)
        if bool(x.sum() > 0):
            y = y * 2
        return y, y + 1


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.row = nn.Linear(5, 4)

    def forward(self, x: torch.Tensor):
        y = self.row(x)
        return {"second": y, "first": y + 1}


class Words(nn.Module):
    """Integers in; the length of the sequence is open as well."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 6)

    def forward(self, ids, mask):
        return (self.table(ids) * mask.unsqueeze(-1)).sum(1), mask.sum(1)


class Zoo:
    class Inner:
        @staticmethod
        def build(classes, *, bias=0.0):
            network = Classifier(classes)
            network.head.bias.data.fill_(bias)
            return network
'''


@dataclass(frozen=True)
class Case:
    """A source, what is expected of it, and extents for its open dimensions besides the batch."""

    source: Source
    converter: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    extents: tuple[dict[str, int], ...] = ({},)
    batches: tuple[int, ...] = (1, 2, 3)
    batch_dim: str | None = "batch"


Make = Callable[[Path, Any], Case]


def importable(folder: Path) -> str:
    """Writes the networks as a module of a name that no other test has; returns the name."""
    name = "networks_" + "".join(c if c.isalnum() else "_" for c in folder.name)
    (folder / f"{name}.py").write_text(NETWORKS)
    return name


def torch_network(folder: Path, name: str, *args: Any) -> Any:
    """An instance with seeded weights and seeded running statistics."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    import importlib

    torch.manual_seed(1)
    network = getattr(importlib.import_module(importable(folder)), name)(*args)
    for key, value in network.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand_like(value) + 0.5)
    return network


def spec(*texts: str) -> Any:
    return tuple(parse_input(text) for text in texts)


def module_with_checkpoint(folder: Path) -> Case:
    import torch

    network = torch_network(folder, "Classifier", 7)
    torch.save(network.state_dict(), folder / "weights.pth")
    source = Source(
        f"{importable(folder)}:Classifier", str(folder / "weights.pth"), kwargs={"classes": 7},
        inputs=spec("image=float32[batch,3,32,32]"),
    )  # fmt: skip
    return Case(source, "torch2onnx", ("image: float32[batch, 3, 32, 32]",), ("output: float32[batch, 7]",))


def module_from_nested_factory(folder: Path) -> Case:
    import torch

    torch_network(folder, "Classifier")
    torch.manual_seed(3)
    state = {f"module.{k}": v for k, v in torch_network(folder, "Classifier", 3).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, folder / "weights.pth")
    source = Source(
        f"{importable(folder)}:Zoo.Inner.build", str(folder / "weights.pth"), (3,), {"bias": 0.5},
        inputs=spec("pixels=float32[n,3,height,width]"), output_names=("logits",),
    )  # fmt: skip
    return Case(
        source, "torch2onnx", ("pixels: float32[batch, 3, height, width]",), ("logits: float32[batch, 3]",),
        ({"height": 20, "width": 31}, {"height": 64, "width": 48}),
    )  # fmt: skip


def module_without_checkpoint(folder: Path) -> Case:
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    # it has no weights that could be missing
    del folder
    source = Source("torch.nn:Softmax", kwargs={"dim": -1}, inputs=spec("x=float32[batch,6]"))
    return Case(source, "torch2onnx", ("x: float32[batch, 6]",), ("output: float32[batch, 6]",))


def module_two_by_two(folder: Path) -> Case:
    import torch

    network = torch_network(folder, "TwoByTwo")
    torch.save(network.state_dict(), folder / "weights.pth")
    source = Source(
        f"{importable(folder)}:TwoByTwo", str(folder / "weights.pth"),
        inputs=spec("row=float32[batch,5]", "image=float32[batch,3,height,12]"),
    )  # fmt: skip
    return Case(
        source, "torch2onnx",
        ("row: float32[batch, 5]", "image: float32[batch, 3, height, 12]"),
        ("score: float32[batch, 4]", "map: float32[batch, 4, height, 12]"),
        ({"height": 9},),
    )  # fmt: skip


def module_static(folder: Path) -> Case:
    import torch

    network = torch_network(folder, "Classifier")
    torch.save(network.state_dict(), folder / "weights.pth")
    source = Source(
        f"{importable(folder)}:Classifier", str(folder / "weights.pth"), inputs=spec("image=float32[1,3,32,32]")
    )
    return Case(
        source, "torch2onnx", ("image: float32[1, 3, 32, 32]",), ("output: float32[1, 4]",), batches=(1,),
        batch_dim=None,
    )  # fmt: skip


def module_words(folder: Path) -> Case:
    import torch

    network = torch_network(folder, "Words")
    torch.save(network.state_dict(), folder / "weights.pth")
    source = Source(
        f"{importable(folder)}:Words", str(folder / "weights.pth"),
        inputs=spec("ids=int64[batch,length]", "mask=float32[batch,length]"),
    )  # fmt: skip
    return Case(
        source, "torch2onnx", ("ids: int64[batch, length]", "mask: float32[batch, length]"),
        ("output_0: float32[batch, 6]", "output_1: float32[batch]"), ({"length": 3}, {"length": 17}),
    )  # fmt: skip


def torchscript_scripted(folder: Path) -> Case:
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    network = torch_network(folder, "Branch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(str(folder / "net.pt"))
    source = Source(str(folder / "net.pt"), inputs=spec("x=float32[batch,5]"))
    return Case(
        source, "torch2onnx", ("x: float32[batch, 5]",), ("output_0: float32[batch, 4]", "output_1: float32[batch, 4]")
    )


def torchscript_traced(folder: Path) -> Case:
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    network = torch_network(folder, "Named").eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # the name says nothing: the content decides
        torch.jit.trace(network, (torch.randn(2, 5),), strict=False).save(str(folder / "net.bin"))
    source = Source(str(folder / "net.bin"), inputs=spec("row=float32[rows,5]"))
    return Case(
        source, "torch2onnx", ("row: float32[batch, 5]",), ("second: float32[batch, 4]", "first: float32[batch, 4]")
    )


def exported_program(folder: Path) -> Case:
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
    network = torch_network(folder, "TwoByTwo").eval()
    rows, height = torch.export.Dim("rows"), torch.export.Dim("height")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            network, (torch.randn(2, 3, 8, 8),), {"row": torch.randn(2, 5)},
            dynamic_shapes={"image": {0: rows, 2: height}, "row": {0: rows}},
        )  # fmt: skip
        torch.export.save(program, folder / "net.pt2")
    return Case(
        Source(str(folder / "net.pt2")), "torch2onnx",
        ("image: float32[batch, 3, image_2, 8]", "row: float32[batch, 5]"),
        ("score: float32[batch, 4]", "map: float32[batch, 4, image_2, 8]"),
        ({"image_2": 8}, {"image_2": 11}),
    )  # fmt: skip


def keras_model(folder: Path) -> Any:
    keras = pytest.importorskip("keras", reason="needs the extra 'tensorflow'")
    keras.utils.set_random_seed(1)
    image = keras.Input((None, 8, 3), name="image")
    row = keras.Input((5,), name="row")
    features = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    pooled = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(features))
    score = keras.layers.Dense(3, activation="softmax")(keras.layers.Concatenate()([pooled, row]))
    return keras.Model([image, row], {"score": score, "map": features})


def keras_archive(folder: Path) -> Case:
    keras_model(folder).save(folder / "net.keras")
    return Case(
        Source(str(folder / "net.keras")), "keras2onnx",
        ("image: float32[batch, image_1, 8, 3]", "row: float32[batch, 5]"),
        ("map: float32[batch, map_1, 6, 4]", "score: float32[batch, 3]"),
        ({"image_1": 8}, {"image_1": 13}),
    )  # fmt: skip


def keras_hdf5(folder: Path) -> Case:
    keras = pytest.importorskip("keras", reason="needs the extra 'tensorflow'")
    keras.utils.set_random_seed(2)
    layers = [keras.Input((6,), name="row"), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)]
    keras.Sequential(layers).save(folder / "net.h5")
    return Case(
        Source(str(folder / "net.h5"), inputs=spec("numbers=float32[n,6]")), "keras2onnx",
        ("numbers: float32[batch, 6]",), ("output: float32[batch, 2]",),
    )  # fmt: skip


def saved_model_source(folder: Path, signature: str) -> Source:
    tf = pytest.importorskip("tensorflow", reason="needs the extra 'tensorflow'")

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable([[1.0, 2.0, 0.5], [3.0, 4.0, -1.0]])

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def scale(self, x: Any) -> Any:
            return {"y": x @ self.weight, "sum": tf.reduce_sum(x, 1)}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2], tf.float32, name="x"),
                tf.TensorSpec([None], tf.int32, name="count"),
            ]
        )
        def repeat(self, x: Any, count: Any) -> Any:
            return {"scaled": x * tf.cast(count, tf.float32)[:, None]}

    module = Module()
    signatures = {"serving_default": module.scale, "repeat": module.repeat}
    tf.saved_model.save(module, str(folder / "saved"), signatures=signatures)
    return Source(str(folder / "saved"), signature_name=signature)


def saved_model(folder: Path) -> Case:
    return Case(
        saved_model_source(folder, "serving_default"), "keras2onnx", ("x: float32[batch, 2]",),
        ("sum: float32[batch]", "y: float32[batch, 3]"),
    )  # fmt: skip


def saved_model_other_signature(folder: Path) -> Case:
    # a signature lists its inputs by name
    return Case(
        saved_model_source(folder, "repeat"), "keras2onnx", ("count: int32[batch]", "x: float32[batch, 2]"),
        ("scaled: float32[batch, 2]",),
    )  # fmt: skip


def onnx_text(folder: Path, text: str, name: str = "net.onnx") -> Path:
    parser = pytest.importorskip("onnx.parser", reason="needs the extra 'onnx'")
    import onnx

    onnx.save(parser.parse_model(text), str(folder / name))
    return folder / name


def onnx_named(folder: Path) -> Case:
    path = onnx_text(
        folder,
        """<ir_version: 8, opset_import: ["" : 13], producer_name: "hand">
        net (float[N,4] x, int64[N] k, float[4] w) => (float[N,4] y, float[N] s)
        <float[4] w = {1, 2, 3, 4}, int64[1] axes = {1}>
        { y = Mul(x, w)
          t = ReduceSum<keepdims = 0>(y, axes)
          f = Cast<to = 1>(k)
          s = Add(t, f) }""",
    )
    return Case(
        Source(str(path)), "onnx2onnx", ("x: float32[batch, 4]", "k: int64[batch]"),
        ("y: float32[batch, 4]", "s: float32[batch]"),
    )  # fmt: skip


def onnx_opened_batch(folder: Path) -> Case:
    path = onnx_text(
        folder,
        """<ir_version: 8, opset_import: ["" : 13]>
        net (float[1,3,8,8] image) => (float[1,2] y)
        <float[2,3,1,1] w = {1, 2, 3, 4, 5, 6}>
        { a = Conv(image, w)
          b = GlobalMaxPool(a)
          y = Flatten(b) }""",
    )
    return Case(
        Source(str(path), inputs=spec("image=float32[batch,3,8,8]")), "onnx2onnx",
        ("image: float32[batch, 3, 8, 8]",), ("y: float32[batch, 2]",),
    )  # fmt: skip


def onnx_newer_than_engines(folder: Path) -> Case:
    path = onnx_text(
        folder,
        """<ir_version: 14, opset_import: ["" : 25]>
        net (float[N,4] x) => (float[N,4] y) { y = Relu(x) }""",
    )
    return Case(Source(str(path)), "onnx2onnx", ("x: float32[batch, 4]",), ("y: float32[batch, 4]",))


def onnx_external(folder: Path) -> Case:
    onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    import numpy as np

    (folder / "source").mkdir()
    path = onnx_text(
        folder / "source",
        """<ir_version: 8, opset_import: ["" : 13]>
        net (float[N,64] x) => (float[N,64] y) { y = MatMul(x, w) }""",
    )
    model = onnx.load(str(path))
    weight = np.random.default_rng(0).standard_normal((64, 64), dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    return Case(Source(str(path)), "onnx2onnx", ("x: float32[batch, 64]",), ("y: float32[batch, 64]",))


def onnx_strings(folder: Path) -> Case:
    path = onnx_text(
        folder,
        """<ir_version: 8, opset_import: ["" : 13]>
        net (string[N,2] words) => (string[2,N] turned, bool[N,2] same)
        <string[1] cat = {"cat"}>
        { turned = Transpose(words)
          same = Equal(words, cat) }""".replace("13", "19"),
    )  # fmt: skip
    return Case(
        Source(str(path)), "onnx2onnx", ("words: string[batch, 2]",),
        ("turned: string[2, batch]", "same: bool[batch, 2]"), batch_dim=None,
    )  # fmt: skip


TORCH = (
    module_with_checkpoint, module_from_nested_factory, module_without_checkpoint, module_two_by_two, module_static,
    module_words, torchscript_scripted, torchscript_traced, exported_program,
)  # fmt: skip
TENSORFLOW = (keras_archive, keras_hdf5, saved_model, saved_model_other_signature)
ONNX = (onnx_named, onnx_opened_batch, onnx_newer_than_engines, onnx_external, onnx_strings)


def parameters() -> list[Any]:
    marked = [(TORCH, pytest.mark.torch), (TENSORFLOW, pytest.mark.tensorflow)]
    made = [pytest.param(make, id=make.__name__, marks=mark) for makes, mark in marked for make in makes]
    return made + [pytest.param(make, id=make.__name__) for make in ONNX]


@pytest.fixture(params=parameters())
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """One source of each kind, saved below ``tmp_path``."""
    if request.param in TORCH:
        pytest.importorskip("torch", reason="needs the extra 'torch'")
    folder = tmp_path / request.param.__name__
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Case = request.param(folder)
    return made
