"""What PyTorch sources may look like, and what is said when they cannot be used."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portside.convert.torch2onnx import Torch2Onnx
from portside.errors import ConversionFailed, InvalidSettings, MissingExtra, PortsideError, SourceNotRecognised
from portside.model.source import Source, parse_input

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")
pytestmark = pytest.mark.torch

Module = Callable[[str], str]


def source_of(location: str, *inputs: str, **more: Any) -> Source:
    return Source(location, inputs=tuple(map(parse_input, inputs)), **more)


def refused(kind: type[PortsideError], source: Source, folder: Path) -> str:
    with pytest.raises(kind) as caught:
        Torch2Onnx().convert(source, folder)
    assert str(folder) not in caught.value.message, "a message shows no paths"
    assert not [p for p in folder.iterdir() if p.suffix in {".onnx", ".log"}], "nothing half-done is left"
    return caught.value.message


NET = """
class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.a = nn.Linear(3, width)
        self.b = nn.Linear(width, 2)
        for weight in self.parameters():
            nn.init.ones_(weight)

    def forward(self, x):
        return self.b(self.a(x))
"""


def saved(tmp_path: Path, state: Any) -> str:
    torch.save(state, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


def layers(width: int = 4) -> dict[str, Any]:
    return {
        "a.weight": torch.ones(width, 3), "a.bias": torch.zeros(width),
        "b.weight": torch.ones(2, width), "b.bias": torch.ones(2),
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"model_state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
    ],
    ids=["plain", "state_dict", "model", "data-parallel", "compiled"],
)
def test_checkpoint_wrappers_are_taken_off(module: Module, tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    source = source_of(f"{module(NET)}:Net", "x=float32[batch,3]", checkpoint=saved(tmp_path, wrap(layers())))
    converted = Torch2Onnx().convert(source, tmp_path)
    answer = Torch2Onnx().reference(source, converted).run({"x": np.ones((2, 3), np.float32)})
    assert answer["output"].tolist() == [[13, 13], [13, 13]]


def test_checkpoint_that_does_not_fit_names_a_few_keys(module: Module, tmp_path: Path) -> None:
    state = layers(5) | {f"extra.{i}": torch.ones(1) for i in range(6)}
    del state["b.bias"]
    source = source_of(f"{module(NET)}:Net", "x=float32[batch,3]", checkpoint=saved(tmp_path, state))
    message = refused(ConversionFailed, source, tmp_path)
    assert "1 keys missing (b.bias)" in message
    assert "6 keys unexpected (extra.0, extra.1, extra.2, extra.3, and 2 more)" in message
    assert "a.weight is [5, 3], expected [4, 3]" in message


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/portside-pickle-was-run"),))  # noqa: S108 -- must never appear


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"state_dict": Evil()}, "run"),
        ([torch.ones(2)], "list"),
        ({"epoch": 3}, "epoch"),
        (Evil(), "run"),
    ],
)
def test_checkpoint_of_other_things_is_refused(module: Module, tmp_path: Path, state: Any, words: str) -> None:
    source = source_of(f"{module(NET)}:Net", "x=float32[batch,3]", checkpoint=saved(tmp_path, state))
    assert words in refused(InvalidSettings, source, tmp_path)
    assert not Path("/tmp/portside-pickle-was-run").exists()  # noqa: S108


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_checkpoint_that_is_no_checkpoint(module: Module, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    source = source_of(f"{module(NET)}:Net", "x=float32[batch,3]", checkpoint=str(tmp_path / "weights.pth"))
    assert "state dict" in refused(InvalidSettings, source, tmp_path)


def test_missing_checkpoint(module: Module, tmp_path: Path) -> None:
    source = source_of(f"{module(NET)}:Net", "x=float32[batch,3]", checkpoint=str(tmp_path / "nope.pth"))
    assert "nope.pth" in refused(InvalidSettings, source, tmp_path)


@pytest.mark.parametrize(
    ("location", "more", "words"),
    [
        ("no_such_package.net:Net", {}, "no module"),
        ("{module}:Nope", {}, "Net"),
        ("{module}:Net.nope", {}, "Net.nope"),
        ("{module}:Net", {"args": (1, 2, 3)}, "--args"),
        ("{module}:text", {}, "str"),
        ("{module}:number", {}, "returns int"),
    ],
)
def test_callables_that_make_no_network(module: Module, tmp_path: Path, location: str, more: Any, words: str) -> None:
    name = module(NET + "\n\ntext = 'x'\n\n\ndef number():\n    return 3\n")
    source = source_of(location.format(module=name), "x=float32[batch,3]", **more)
    assert words in refused(InvalidSettings, source, tmp_path)


def test_module_that_fails_on_import_says_why(module: Module, tmp_path: Path) -> None:
    name = module("import a_package_that_nobody_has")
    message = refused(InvalidSettings, source_of(f"{name}:Net", "x=float32[batch,3]"), tmp_path)
    assert "a_package_that_nobody_has" in message


def test_untrained_weights_are_noticed(tmp_path: Path) -> None:
    source = source_of("torch.nn:Linear", "x=float32[batch,3]", args=(3, 2))
    message = refused(InvalidSettings, source, tmp_path)
    assert "other weights on every call (weight)" in message
    assert "--checkpoint" in message


def test_inputs_have_to_be_declared(module: Module, tmp_path: Path) -> None:
    message = refused(InvalidSettings, source_of(f"{module(NET)}:Net"), tmp_path)
    assert "--input 'x=float32[batch,3,224,224]'" in message


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (("x=string[batch,3]",), "string"),
        (("x=float32[batch,3]", "y=float32[batch,3]"), "takes x"),
        (("x=float32[batch,3]", "x=float32[batch,3]"), "two inputs"),
    ],
)
def test_declared_inputs_that_do_not_fit(module: Module, tmp_path: Path, inputs: Any, words: str) -> None:
    assert words in refused(InvalidSettings, source_of(f"{module(NET)}:Net", *inputs), tmp_path)


def test_shapes_that_the_network_cannot_take_show_what_it_said(module: Module, tmp_path: Path) -> None:
    message = refused(ConversionFailed, source_of(f"{module(NET)}:Net", "x=float32[batch,7]"), tmp_path)
    assert "mat1 and mat2" in message
    assert "float32[batch, 7]" in message


FIXED = """
class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(2, 6)
"""


def test_network_that_fixes_its_batch_says_so(module: Module, tmp_path: Path) -> None:
    message = refused(ConversionFailed, source_of(f"{module(FIXED)}:Fixed", "x=float32[n,6]"), tmp_path)
    assert "runs with batch=2, but not with batch=3" in message


MIXED = """
class Mixed(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Summary(nn.Module):
    def forward(self, x):
        return x * 2, x.mean(0)


class TimeMajor(nn.Module):
    def forward(self, x):
        return x.cumsum(0)
"""


@pytest.mark.parametrize(
    ("network", "declared"),
    [("Mixed", "x=float32[batch,6]"), ("Summary", "x=float32[batch,6]"), ("TimeMajor", "x=float32[time,batch,6]")],
)
def test_networks_that_mix_rows_have_no_batch_axis(module: Module, tmp_path: Path, network: str, declared: str) -> None:
    source = source_of(f"{module(MIXED)}:{network}", declared)
    assert Torch2Onnx().convert(source, tmp_path).signature.batch_dim is None


ODD = """
class Odd(nn.Module):
    def forward(self, x, unused, factor):
        return {"x": x, "same": x, "deep": {"one": x * factor, "two": [x + 1, None]}}


class Answers(nn.Module):
    def forward(self, x):
        return x, 3


class Nothing(nn.Module):
    def forward(self, x):
        return None


class Brain(nn.Module):
    def forward(self, x):
        return x.bfloat16()


class Any(nn.Module):
    def forward(self, *rows):
        return rows[0] + rows[1]
"""


def test_odd_outputs_and_inputs_keep_their_places(module: Module, tmp_path: Path) -> None:
    import onnxruntime

    source = source_of(f"{module(ODD)}:Odd", "x=float32[batch,2]", "unused=int64[batch]", "factor=float32[]")
    converted = Torch2Onnx().convert(source, tmp_path)
    signature = converted.signature
    assert [s.name for s in signature.inputs] == ["x", "unused", "factor"]
    assert [s.name for s in signature.outputs] == ["x_output", "same", "deep_one", "deep_two_0"]
    assert signature.batch_dim == "batch"
    inputs = {
        "x": np.arange(6, dtype=np.float32).reshape(3, 2), "unused": np.zeros(3, np.int64),
        "factor": np.array(3, np.float32),
    }  # fmt: skip
    expected = Torch2Onnx().reference(source, converted).run(inputs)
    session = onnxruntime.InferenceSession(str(tmp_path / converted.graph))
    for spec, found in zip(signature.outputs, session.run(None, inputs), strict=True):
        np.testing.assert_array_equal(found, expected[spec.name])


def test_network_with_free_arguments_takes_inputs_by_position(module: Module, tmp_path: Path) -> None:
    source = source_of(f"{module(ODD)}:Any", "left=float32[batch,2]", "right=float32[batch,2]")
    assert [s.name for s in Torch2Onnx().convert(source, tmp_path).signature.inputs] == ["left", "right"]


@pytest.mark.parametrize(
    ("network", "words"), [("Answers", "int"), ("Nothing", "no tensor"), ("Brain", "not a plain tensor")]
)
def test_outputs_have_to_be_tensors(module: Module, tmp_path: Path, network: str, words: str) -> None:
    source = source_of(f"{module(ODD)}:{network}", "x=float32[batch,2]")
    assert words in refused(ConversionFailed, source, tmp_path)


def test_wrong_number_of_output_names(module: Module, tmp_path: Path) -> None:
    source = source_of(f"{module(NET)}:Net", "x=float32[batch,3]", output_names=("a", "b"))
    assert "has 1 outputs" in refused(InvalidSettings, source, tmp_path)


STUBBORN = """
import numpy as np


class Stubborn(nn.Module):
    '''Leaves PyTorch in the middle: no exporter can follow, one of them writes the answer down as a constant.'''

    def forward(self, x):
        return torch.from_numpy(np.linalg.inv(x.numpy()))


class Divisible(nn.Module):
    '''Only takes extents that fit its strides, which torch.export cannot promise for a free dimension.'''

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 1, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(1, 1, 2, stride=2)
        for weight in self.parameters():
            nn.init.ones_(weight)

    def forward(self, x):
        return x + self.up(self.down(x))
"""


def test_network_that_no_exporter_follows_is_a_failure(module: Module, tmp_path: Path) -> None:
    source = source_of(f"{module(STUBBORN)}:Stubborn", "x=float32[batch,2,2]")
    assert "no exporter" in refused(ConversionFailed, source, tmp_path)


def test_tracing_takes_over_where_capture_gives_up(module: Module, tmp_path: Path) -> None:
    source = source_of(f"{module(STUBBORN)}:Divisible", "x=float32[batch,1,h,w]")
    signature = Torch2Onnx().convert(source, tmp_path).signature
    assert [str(s) for s in signature.outputs] == ["output: float32[batch, 1, h, w]"]


def test_state_dict_alone_is_told_what_it_lacks(tmp_path: Path) -> None:
    source = Source(saved(tmp_path, layers()))
    assert Torch2Onnx().recognise(source) is None
    message = refused(SourceNotRecognised, source, tmp_path)
    assert "4 tensors" in message
    assert "package.module:callable" in message


def test_program_exported_in_training_mode_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(torch.nn.Sequential(torch.nn.Dropout(0.5)).train(), (torch.ones(2, 3),))
        torch.export.save(program, tmp_path / "net.pt2")
    assert "training mode" in refused(ConversionFailed, Source(str(tmp_path / "net.pt2")), tmp_path)


def test_program_with_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(torch.nn.Linear(3, 2).eval(), (torch.ones(1, 3),))
        torch.export.save(program, tmp_path / "net.pt2")
    path = str(tmp_path / "net.pt2")
    converted = Torch2Onnx().convert(source_of(path, "row=float32[1,3]"), tmp_path)
    assert [str(s) for s in converted.signature.inputs] == ["row: float32[1, 3]"]
    assert converted.signature.batch_dim is None
    (tmp_path / converted.graph).unlink()
    assert "input: float32[1, 3]" in refused(InvalidSettings, source_of(path, "x=float32[batch,3]"), tmp_path)


def test_damaged_archives_are_failures_with_a_sentence(tmp_path: Path) -> None:
    import zipfile

    for name, inside, kind in (("a.pt", "net/code/x.py", "TorchScript"), ("b.pt2", "net/archive_format", "exported")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inside, "pt2")
            archive.writestr("net/constants.pkl", "")
        message = refused(ConversionFailed, source_of(str(tmp_path / name), "x=float32[batch,3]"), tmp_path)
        assert kind in message


def test_digest_follows_code_arguments_and_weights(module: Module, tmp_path: Path) -> None:
    def digest(location: str, width: int, state: Any) -> str:
        weights = saved(tmp_path, state)
        source = source_of(location, "x=float32[batch,3]", kwargs={"width": width}, checkpoint=weights)
        return Torch2Onnx().convert(source, tmp_path).source_digest

    net, other = f"{module(NET)}:Net", f"{module(NET + '# changed')}:Net"
    first = digest(net, 4, layers())
    assert digest(net, 4, layers()) == first
    assert len({first, digest(net, 5, layers(5)), digest(other, 4, layers())}) == 3


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    source = source_of("torch.nn:Linear", "x=float32[batch,3]", args=(3, 2))
    with pytest.raises(MissingExtra, match=r"portside\[torch\]"):
        Torch2Onnx().convert(source, tmp_path)
    with pytest.raises(MissingExtra, match=r"portside\[torch\]"):
        Torch2Onnx().reference(source, None)  # type: ignore[arg-type]


def test_reference_reports_failures_of_the_network_as_ours(module: Module, tmp_path: Path) -> None:
    source = source_of(f"{module(NET)}:Net", "x=float32[batch,3]")
    reference = Torch2Onnx().reference(source, Torch2Onnx().convert(source, tmp_path))
    with pytest.raises(ConversionFailed, match="original network failed"):
        reference.run({"x": np.ones((1, 5), np.float32)})
