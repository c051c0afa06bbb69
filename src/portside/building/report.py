"""The report about one version, as a page for a person; the manifest itself is the JSON for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from portside.building.markup import Markup, join, tag, void
from portside.building.report_parts import (
    Cell,
    bar,
    chip,
    facts,
    gauge,
    number,
    percent,
    row,
    section,
    size,
    table,
)
from portside.building.report_style import STYLE
from portside.model.evidence import CaseKind, Evidence, Measurement, OutputParity, Verdict
from portside.model.manifest import Manifest
from portside.model.processing import ImageInput

_SIGNS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?"}
_SAID = {
    Verdict.PASS: "Verified: it answers as the original does, within the limits below",
    Verdict.FAIL: "Not verified: it answers differently from the original",
    Verdict.INCONCLUSIVE: "Not decided: what was compared proves too little",
}


def render_html(manifest: Manifest) -> str:
    """One self-contained HTML page: no external resources, no scripts, light and dark."""
    name = f"{manifest.name}:{manifest.version}" if manifest.version else manifest.name
    head = tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        tag("title", f"{name} – {manifest.verdict.value} – Portside report"),
        tag("style", Markup(STYLE)),
    )
    body = tag(
        "main",
        _header(manifest),
        _verdict(manifest),
        _cards(manifest),
        _tuning(manifest),
        _parity(manifest.evidence),
        tag("div", _selftest(manifest.evidence), _checks(manifest.evidence), class_="two"),
        tag("div", _interface(manifest), _provenance(manifest), class_="two"),
        _host(manifest.evidence),
        tag("footer", f"Written by Portside {manifest.provenance.portside} on {manifest.created}."),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def _header(manifest: Manifest) -> Markup:
    # The number is given when it is published, and this page is part of what is published.
    version = tag("small", f" version {manifest.version}" if manifest.version else "")
    title = tag("div", tag("div", "PORTSIDE · VERIFICATION REPORT", class_="brand"), tag("h1", manifest.name, version))
    made = tag("div", manifest.provenance.source, void("br"), manifest.created, class_="meta")
    return tag("header", title, made)


def _verdict(manifest: Manifest) -> Markup:
    verdict, evidence = manifest.verdict, manifest.evidence
    lines: list[Markup] = [tag("h2", _SAID[verdict])]
    if verdict is Verdict.PASS:
        lines.append(
            tag("p", f"{evidence.config}, compared with {manifest.provenance.framework} on {_rows(evidence)}.")
        )
    if manifest.forced:
        lines.append(tag("p", tag("b", "Published by force"), " although the verdict is not “pass”."))
    if evidence.reasons:
        lines.append(tag("ul", join(tag("li", reason) for reason in evidence.reasons)))
    sign = tag("div", _SIGNS[verdict], class_="sign", aria_hidden="true")
    return tag("section", sign, tag("div", *lines), class_=f"verdict {verdict.value}")


def _rows(evidence: Evidence) -> str:
    made_up = max((o.rows for o in evidence.outputs if o.kind is CaseKind.RANDOM), default=0)
    edges = max((o.rows for o in evidence.outputs if o.kind is CaseKind.EDGE), default=0)
    return f"{evidence.real_rows} real, {made_up} random and {edges} edge inputs"


def _cards(manifest: Manifest) -> Markup:
    cards: list[tuple[str, str]] = []
    chosen = next((m for m in manifest.measurements if m.chosen), None)
    baseline = next((m for m in manifest.measurements if m.verdict is None), None)
    if chosen is not None and chosen.latency_ms > 0:
        cards.append((f"{number(chosen.latency_ms)} ms", f"median latency, {chosen.label}"))
        if baseline is not None:
            cards.append((f"{chosen.speedup:.1f} ×", f"faster than {baseline.label}"))
        cards.append((f"{number(chosen.throughput_rps)} /s", "rows with all instances busy"))
    top1 = [o.top1 for o in manifest.evidence.outputs if o.kind is CaseKind.REAL and o.top1 is not None]
    if top1:
        cards.append((percent(min(top1)), f"same top-1 on {manifest.evidence.real_rows} real inputs"))
    cards.append((size(manifest.artifact.size_bytes), f"{manifest.artifact.format.value} artifact"))
    return tag("div", join(tag("div", tag("b", value), tag("span", name)) for value, name in cards), class_="cards")


def _tuning(manifest: Manifest) -> Markup:
    rows = manifest.measurements
    if not rows:
        return Markup()
    note = (
        f"Measured in turns, in random order, on this machine; the goal was {manifest.goal.value}. Latency is one row "
        "through the graph; rows/s is with all instances busy, and includes the decoding of pictures if there are any."
    )
    slowest, most = max(m.latency_ms for m in rows), max(m.throughput_rps for m in rows)
    headings = ("", "median latency", ">p95 ms", "rows/s", ">speed-up", ">top-1", ">largest difference", "gate", "")
    return section("Ways to run it", note, table(headings, (_measurement(m, slowest, most) for m in rows)))


def _measurement(m: Measurement, slowest: float, most: float) -> Markup:
    timed = m.latency_ms > 0
    why: Cell = tag("b", "chosen") if m.chosen and not m.reason else m.reason
    split = f"{m.instances} × {m.threads} thread{'s' if m.threads > 1 else ''}"
    cells: list[Cell] = [
        tag("div", m.label, tag("small", split), class_="way"),
        bar(m.latency_ms, slowest, f"{number(m.latency_ms)} ms") if timed else "not measured",
        number(m.p95_ms) if timed else "–",
        bar(m.throughput_rps, most, number(m.throughput_rps)) if timed else "–",
        f"{m.speedup:.2f} ×" if timed else "–",
        percent(m.top1),
        number(m.max_abs),
        chip(m.verdict),
        tag("div", why, class_="why"),
    ]
    return row(cells, (2, 4, 5, 6), "chosen" if m.chosen else None)


def _parity(evidence: Evidence) -> Markup:
    note = (
        "The dot is the largest difference, the dashed line the limit, the short line the measured noise of the graph "
        "itself; the scale is logarithmic, red is beyond the limit."
    )
    headings = ("output", "inputs", ">rows", "noise · difference · limit", ">max abs", ">mean abs", ">limit",
                ">noise", ">cosine", ">top-1", ">top-5", "NaN", "")  # fmt: skip
    if not evidence.outputs:
        return section("Answers compared", "Nothing could be compared: see the reasons above.")
    return section("Answers compared with the original", note, table(headings, map(_output, evidence.outputs)))


def _output(o: OutputParity) -> Markup:
    cells: list[Cell] = [
        tag("code", o.name),
        o.kind.value,
        str(o.rows),
        gauge(o),
        number(o.max_abs),
        number(o.mean_abs),
        number(o.limit),
        number(o.floor),
        f"{o.cosine:.6f}",
        percent(o.top1),
        percent(o.top5),
        "same" if o.nan_equal else "differs",
        chip(Verdict.PASS if o.passed else Verdict.FAIL),
    ]
    line = row(cells, (2, 4, 5, 6, 7, 8, 9, 10))
    if not o.reason:
        return line
    return join((line, tag("tr", tag("td", o.reason, colspan=len(cells), class_="why"), class_="under")))


def _selftest(evidence: Evidence) -> Markup:
    test = evidence.selftest
    pairs: list[tuple[str, Cell]] = [
        (
            "against itself",
            _outcome("passes, as it must", "does not pass: the check cannot be believed", test.identity_passed),
        ),
        ("spoiled copy", _outcome("found out, as it must be", "was not found out", test.corruption_detected)),
        ("what was spoiled", tag("code", test.corrupted or "–")),
    ]
    note = "Under the very tolerances used above: the model against itself, and a copy with one weight tensor scaled."
    return section("The verifier's test of itself", note, facts(pairs))


def _outcome(good: str, bad: str, passed: bool) -> Markup:  # noqa: FBT001 -- one of two sentences
    verdict = Verdict.PASS if passed else Verdict.FAIL
    return join((tag("span", _SIGNS[verdict], class_=f"chip {verdict.value}"), " ", good if passed else bad))


def _checks(evidence: Evidence) -> Markup:
    return section("Further checks", "", facts(evidence.checks.items()))


def _interface(manifest: Manifest) -> Markup:
    signature = manifest.signature
    pairs: list[tuple[str, Cell]] = [("input", tag("code", str(spec))) for spec in signature.inputs]
    pairs += [("output", tag("code", str(spec))) for spec in signature.outputs]
    pairs.append(("batch axis", signature.batch_dim or "none"))
    image, classes = manifest.processing.image, manifest.processing.classification
    if image is not None:
        pairs.append(("pictures", _picture(image)))
    if classes is not None:
        pairs.append(("answer", f"top {classes.top_k} of '{classes.output}' after {classes.activation.value}"))
    return section("Takes and gives", "", facts(pairs))


def _picture(image: ImageInput) -> str:
    where = "inside the graph" if image.fused else "before the graph"
    return (
        f"{image.width} × {image.height} {image.colour.value}, {image.fit.value}, {image.interpolation.value}; "
        f"(p × {image.scale:g} − {_triple(image.mean)}) / {_triple(image.std)} {where}"
    )


def _triple(values: Sequence[float]) -> str:
    return f"{next(iter(values)):g}" if len(set(values)) == 1 else f"[{', '.join(f'{v:g}' for v in values)}]"


def _provenance(manifest: Manifest) -> Markup:
    origin = manifest.provenance
    pairs: list[tuple[str, Cell]] = [
        ("source", origin.source),
        ("framework", origin.framework),
        ("converter", f"{origin.converter}, opset {origin.opset}, IR {origin.ir_version}"),
        ("graph passes", ", ".join(origin.passes) or "none changed anything"),
        ("source digest", tag("code", origin.source_digest)),
        ("artifact digest", tag("code", manifest.artifact.digest)),
        ("files", join(_files(manifest))),
        ("seed", str(manifest.evidence.seed)),
    ]
    return section("Where it comes from", "", facts(pairs))


def _files(manifest: Manifest) -> Iterator[Markup]:
    for file in manifest.artifact.files:
        yield tag("div", tag("code", file.path), f" {size(file.size_bytes)}")


def _host(evidence: Evidence) -> Markup:
    host = evidence.host
    pairs: list[tuple[str, Cell]] = [
        ("processor", f"{host.cpu}, {host.cores} core(s) to use"),
        ("instruction sets", ", ".join(host.isa) or "not told"),
        ("packages", ", ".join(f"{name} {version}" for name, version in host.versions.items())),
    ]
    return section("Measured on", "The verdict and the times hold for this machine and these packages.", facts(pairs))
