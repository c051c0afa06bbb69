"""The step ``tune``: every allowed way to run the graph is checked against the golden outputs, and timed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from portside.building.convert_step import CASES, ConvertOutput, graph_path, raw_pictures
from portside.building.steps import Context, Step, StepName
from portside.building.tune import Baseline, Tuned, TuneOptions, tune
from portside.convert.base import Converter
from portside.convert.detect import detect
from portside.errors import EngineFailed
from portside.model.artifact import Artifact
from portside.model.evidence import Evidence
from portside.model.source import Source
from portside.optimize.base import Optimized, artifact_path
from portside.verify.cases import load_cases
from portside.verify.check import Stage, Subject


class TuneInput(msgspec.Struct, frozen=True):
    """What the step ``tune`` takes.

    Attributes:
        source: the original, for the baseline.
        converted: output of the step ``convert``.
        optimized: output of the step ``optimize``.
        options: what may be chosen, and how long to look.
        seed: of the verifier's test of itself.
    """

    source: Source
    converted: ConvertOutput
    optimized: Optimized
    options: TuneOptions
    seed: int


def gate_and_tune(given: TuneInput, context: Context) -> Tuned:
    """Checks and measures. Raises what :func:`portside.building.tune.tune` raises, and CorruptArtifact."""
    before, after = context.made_by(StepName.CONVERT), context.made_by(StepName.OPTIMIZE)
    converted, optimized = given.converted.converted, given.optimized
    subject = Subject(
        converted=Stage(graph_path(before, converted), converted.signature, given.converted.processing),
        candidate=Stage(artifact_path(after, optimized), optimized.signature, optimized.processing),
        digest=Artifact.of(after, optimized.graph, optimized.files).digest,
        seed=given.seed,
        raw=raw_pictures(before),
    )
    baseline = _baseline(given, context.tools.converters)
    cases = load_cases(before / CASES)
    tuned = tune(subject, cases, context.tools.engines, given.options, baseline, context.progress)
    return msgspec.structs.replace(tuned, evidence=_with_notes(tuned.evidence, given.converted))


def _baseline(given: TuneInput, converters: Sequence[Converter]) -> Baseline | None:
    """The original framework; none for a source that was a portable graph already (its reference is not for speed)."""
    source_kind, _, target_kind = given.converted.converted.converter.partition("2")
    if source_kind == target_kind:
        return None
    reference = detect(given.source, converters).reference(given.source, given.converted.converted)
    reference.set_threads(given.options.cores)
    return Baseline(reference.framework, reference.run, given.options.cores)


def _with_notes(evidence: Evidence, converted: ConvertOutput) -> Evidence:
    """The evidence with what the conversion noticed about the original framework and the samples."""
    notes = dict(evidence.checks)
    if converted.noise:
        largest = max(converted.noise.values())
        notes["framework noise"] = (
            f"{converted.framework} differs from itself by up to {largest:.2g} with another number of threads"
        )
    if converted.refused:
        notes["left out"] = f"{converted.framework} cannot answer these invented inputs: {', '.join(converted.refused)}"
    if converted.skipped:
        notes["unreadable samples"] = "; ".join(converted.skipped)
    return msgspec.structs.replace(evidence, checks=notes)


TUNE = Step(StepName.TUNE, TuneInput, Tuned, gate_and_tune, EngineFailed)
