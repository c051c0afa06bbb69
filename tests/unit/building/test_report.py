from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from portside.building.markup import Markup, join, tag, void
from portside.building.report import render_html
from portside.building.report_parts import bar, gauge, number, percent, size
from portside.model.artifact import Artifact, ArtifactFile, Format
from portside.model.config import EngineConfig, EngineName, Precision
from portside.model.evidence import CaseKind, Evidence, Host, Measurement, OutputParity, SelfTest, Verdict
from portside.model.manifest import Manifest, Provenance, decode_manifest, encode
from portside.model.processing import Classification, ImageInput, Processing
from portside.model.signature import Signature
from portside.model.tensors import DType, TensorSpec

EVIL = "<script>alert('x')</script>&\"'"


def parity(name: str = "scores", kind: CaseKind = CaseKind.REAL, **changes: Any) -> OutputParity:
    row = OutputParity(
        name=name, kind=kind, rows=40, max_abs=1e-5, mean_abs=1e-6, max_rel=1e-3, mean_rel=1e-6, cosine=0.99999,
        reference_std=1.2, floor=1e-5, limit=1e-4, nan_equal=True, top1=0.975, top5=None, confident_flips=0,
        passed=True,
    )  # fmt: skip
    return msgspec.structs.replace(row, **changes)


def measurement(label: str, latency_ms: float, **changes: Any) -> Measurement:
    row = Measurement(label, "openvino", "bf16", 2, 1, latency_ms, latency_ms * 1.5, 1000 / latency_ms, 15 / latency_ms)
    return msgspec.structs.replace(row, **changes)


def manifest(**changes: Any) -> Manifest:
    evidence = Evidence(
        verdict=Verdict.PASS,
        reasons=(),
        subject="ab" * 32,
        config="openvino bf16 1x2 thread(s)",
        outputs=(parity(), parity(kind=CaseKind.EDGE, top1=None)),
        selftest=SelfTest(identity_passed=True, corruption_detected=True, corrupted="conv1.weight x 1.5"),
        host=Host("A processor", ("avx2",), 2, {"numpy": "2.4"}),
        seed=7,
        real_rows=40,
        checks={"contract": "names and types agree", "batching": "3 rows agree"},
    )
    made = Manifest(
        name="net",
        version=3,
        created="2026-01-02T03:04:05+00:00",
        signature=Signature(
            (TensorSpec("x", DType.UINT8, ("batch", 8, 8, 3)),),
            (TensorSpec("scores", DType.FLOAT32, ("batch", 5)),),
            "batch",
        ),
        artifact=Artifact(Format.ONNX, "model.onnx", (ArtifactFile("model.onnx", 18_600_000, "cd" * 32),)),
        config=EngineConfig(EngineName.OPENVINO, Precision.BF16, 2, 1),
        provenance=Provenance("pkg:net", "PyTorch 2", "torch2onnx", "ef" * 32, 18, 10, ("simplify",), "0.1.0"),
        evidence=evidence,
        processing=Processing(ImageInput("x", 8, 8, mean=(1.0, 2.0, 3.0), fused=True), Classification("scores")),
        measurements=(
            measurement("PyTorch eager", 15.0),
            measurement("OpenVINO bf16", 3.0, verdict=Verdict.PASS, chosen=True, top1=0.975, max_abs=0.57),
            measurement("ONNX Runtime fp32", 6.0, verdict=Verdict.PASS, reason="takes 2.00 times as long"),
            measurement("OpenVINO fp32", 7.0, verdict=Verdict.FAIL, reason="off by 3"),
        ),
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def evidence(**changes: Any) -> Manifest:
    made = manifest()
    return msgspec.structs.replace(made, evidence=msgspec.structs.replace(made.evidence, **changes))


class Page(HTMLParser):
    """Checks that every element is closed, and collects text, elements and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action", "data", "srcset"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_page_says_what_matters() -> None:
    page = Page(render_html(manifest()))
    for said in (
        "net version 3", "Verified", "PyTorch 2 on 40 real", "3 ms", "5.0 ×", "97.5 %", "18.6 MB", "OpenVINO bf16",
        "chosen", "takes 2.00 times as long", "scores", "conv1.weight x 1.5", "names and types agree", "found out",
        "x: uint8[batch, 8, 8, 3]", "(p × 1 − [1, 2, 3]) / 1 inside the graph", "top 5 of 'scores' after softmax",
        "torch2onnx, opset 18, IR 10", "A processor, 2 core(s)", "numpy 2.4", "ef" * 32,
    ):  # fmt: skip
        assert said in page.text, said


def test_the_page_needs_nothing_else() -> None:
    html = render_html(manifest())
    page = Page(html)
    assert page.addresses == []
    assert not {"script", "img", "link", "iframe", "object"} & set(page.elements)
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html.replace("&#x27;", "'")
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize(
    ("verdict", "banner"),
    [(Verdict.PASS, "Verified"), (Verdict.FAIL, "Not verified"), (Verdict.INCONCLUSIVE, "Not decided")],
)
def test_the_banner_is_the_verdict(verdict: Verdict, banner: str) -> None:
    html = render_html(evidence(verdict=verdict, reasons=("because of this",) if verdict is not Verdict.PASS else ()))
    assert f'class="verdict {verdict.value}"' in html
    assert banner in Page(html).text
    assert ("because of this" in Page(html).text) is (verdict is not Verdict.PASS)


def test_a_failed_output_says_why_in_its_place() -> None:
    text = Page(render_html(evidence(outputs=(parity(passed=False, reason="off by 3"), parity())))).text
    assert "off by 3" in text.partition("Answers compared")[2]


def test_force_and_a_failed_self_test_are_said() -> None:
    failed = evidence(verdict=Verdict.FAIL, selftest=SelfTest(identity_passed=False, corruption_detected=False))
    text = Page(render_html(msgspec.structs.replace(failed, forced=True))).text
    assert "Published by force" in text
    assert "was not found out" in text
    assert "the check cannot be believed" in text
    assert "Published by force" not in Page(render_html(manifest())).text


def test_a_version_that_is_not_published_has_no_number() -> None:
    assert "version 3" in Page(render_html(manifest(version=3))).text
    assert "version 0" not in Page(render_html(manifest(version=0))).text


def strings(value: Any) -> Any:
    """The same value with every free text turned into something hostile."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{f: strings(getattr(value, f)) for f in value.__struct_fields__})
    if isinstance(value, tuple):
        return tuple(strings(v) for v in value)
    if isinstance(value, dict):
        return {k + EVIL: strings(v) for k, v in value.items()}
    return value + EVIL if isinstance(value, str) else value


def test_everything_is_escaped() -> None:
    hostile = strings(evidence(verdict=Verdict.FAIL, reasons=("a reason",), outputs=(parity(reason="why"),)))
    html = render_html(hostile)
    page = Page(html)
    assert "script" not in page.elements
    assert "alert(" in page.text
    assert re.search(r"<script", html) is None


def test_a_page_without_measurements_or_outputs_is_still_a_page() -> None:
    bare = msgspec.structs.replace(evidence(outputs=(), verdict=Verdict.FAIL), measurements=(), processing=Processing())
    text = Page(render_html(bare)).text
    assert "Nothing could be compared" in text
    assert "Ways to run it" not in text


def test_a_row_that_could_not_be_timed_says_so() -> None:
    lost = msgspec.structs.replace(
        measurement("OpenVINO fp32", 1.0, verdict=Verdict.FAIL, reason="no memory"), latency_ms=0.0, throughput_rps=0.0
    )
    text = Page(render_html(manifest(measurements=(lost,)))).text
    assert "not measured" in text
    assert "no memory" in text


def test_json_is_the_manifest() -> None:
    made = manifest()
    assert decode_manifest(encode(made)) == made


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.23456, "1.23"),
        (1234.5, "1,234"),
        (154321.0, "154,321"),
        (2e9, "2.00e+09"),
        (0.0001234, "1.23e-04"),
        (0.57425, "0.574"),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(("part", "shown"), [(None, "–"), (1.0, "100 %"), (0.9999, "99.9 %"), (0.975, "97.5 %")])
def test_percentages_are_never_rounded_up(part: float | None, shown: str) -> None:
    assert percent(part) == shown


@pytest.mark.parametrize(
    ("given", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (18_600_000, "18.6 MB"), (3e9, "3.00 GB")]
)
def test_sizes(given: float, shown: str) -> None:
    assert size(int(given)) == shown


@pytest.mark.parametrize(
    ("value", "largest", "width"), [(1, 4, "25.0"), (9, 4, "100.0"), (1, 0, "0.0"), (-1, 4, "0.0")]
)
def test_bars_stay_in_their_track(value: float, largest: float, width: str) -> None:
    assert f'class="fill" width="{width}"' in bar(value, largest, "x")


def test_the_gauge_puts_a_failure_beyond_the_limit() -> None:
    def dot(row: OutputParity) -> tuple[str, float]:
        found = re.search(r'<circle class="(\w+)" cx="([\d.]+)"', gauge(row))
        assert found is not None
        return found[1], float(found[2])

    limit = re.search(r'class="limit" x1="([\d.]+)"', gauge(parity()))
    assert limit is not None
    good, bad = dot(parity()), dot(parity(max_abs=1e-3, passed=False))
    assert good[0] == "good"
    assert bad[0] == "bad"
    assert good[1] < float(limit[1]) < bad[1]
    for extreme in (0.0, 1e-300, 1e300):
        assert 0 <= dot(parity(max_abs=extreme))[1] <= 190
    assert dot(parity(limit=0.0))[1] > 0


def test_markup_is_escaped_once_and_text_always() -> None:
    assert tag("b", "<i>") == "<b>&lt;i&gt;</b>"
    assert tag("b", tag("i", "&")) == "<b><i>&amp;</i></b>"
    assert tag("p", "x", class_="a", aria_label='"', id=None) == '<p class="a" aria-label="&quot;">x</p>'
    assert void("br") == "<br/>"
    assert isinstance(join(["a", Markup("<b>")]), Markup)
    assert join(["<", Markup("<b>")]) == "&lt;<b>"
