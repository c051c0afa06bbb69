"""The step ``convert``: source -> portable graph, cases, and what the original framework answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from portside.building.declare import fit
from portside.building.samples import Samples, read_samples
from portside.building.steps import Context, Step, StepName
from portside.convert.base import Reference
from portside.convert.detect import detect
from portside.errors import ConversionFailed, InvalidSettings
from portside.model.evidence import CaseKind
from portside.model.processing import Activation, Processing
from portside.model.source import Converted, Source
from portside.model.tensors import Array
from portside.observe.ports import Progress
from portside.verify.cases import Case, make_cases, save_cases

CASES = "cases.npz"
"""The cases with their golden outputs, among the step's files."""
GRAPH = "graph"
"""Folder of the converted graph, among the step's files."""
RAW = "raw"
"""Folder of some picture files as the user gave them, likewise."""
_ONE = 1e-3
"""How far from 1 a sum of rounded probabilities may be."""


class ConvertInput(msgspec.Struct, frozen=True):
    """What the step ``convert`` takes.

    Attributes:
        source: what is converted.
        processing: as declared; names may be empty.
        samples: path of the real samples, if there are any.
        sample_limit: most of them that are used.
        seed: of the random cases.
        cores: threads the framework may use.
    """

    source: Source
    processing: Processing
    samples: str | None
    sample_limit: int
    seed: int
    cores: int


class ConvertOutput(msgspec.Struct, frozen=True):
    """What the step ``convert`` gives; its files are the graph (in the folder ``graph``) and the cases.

    Attributes:
        converted: the graph.
        processing: with its names filled in.
        framework: name and version that the golden outputs come from.
        noise: how far the framework is from itself when it uses another number of threads, by output.
        real_rows: rows that came from real samples.
        skipped: samples that could not be read.
        refused: invented cases that the original framework could not answer.
    """

    converted: Converted
    processing: Processing
    framework: str
    noise: dict[str, float]
    real_rows: int
    skipped: tuple[str, ...]
    refused: tuple[str, ...]


def graph_path(files: Path, converted: Converted) -> Path:
    """The converted graph among the step's files."""
    return files / GRAPH / converted.graph


def raw_pictures(files: Path) -> tuple[bytes, ...]:
    """The picture files among the step's files, as the user gave them."""
    return tuple(path.read_bytes() for path in sorted((files / RAW).glob("*")))


def convert(given: ConvertInput, context: Context) -> ConvertOutput:
    """Converts, makes the cases, and asks the original framework.

    Raises:
        SourceNotRecognised, MissingExtra, ConversionFailed: from the converter.
        InvalidSettings: the processing or the samples do not fit the model.
    """
    progress = context.progress
    progress.start("convert")
    converter = detect(given.source, context.tools.converters)
    folder = context.files / GRAPH
    folder.mkdir(parents=True, exist_ok=True)
    converted = converter.convert(given.source, folder)
    progress.advance(note=f"opset {converted.opset}")
    processing = fit(given.processing, converted.signature)
    samples = Samples()
    if given.samples is not None:
        samples = read_samples(Path(given.samples), converted.signature, processing.image, given.sample_limit)
    cases = make_cases(converted.signature, processing, samples, given.seed)
    reference = converter.reference(given.source, converted)
    progress.advance(note=reference.framework)
    noise = _noise(cases, reference, given.cores)
    cases, refused = _golden(cases, reference, progress)
    _refuse_second_softmax(processing, cases)
    save_cases(context.files / CASES, cases)
    _save_raw(context.files / RAW, samples.raw)
    progress.finish(f"{reference.framework} -> ONNX opset {converted.opset}, {samples.rows or 'no'} real samples")
    return ConvertOutput(converted, processing, reference.framework, noise, samples.rows, samples.skipped, refused)


def _golden(cases: Sequence[Case], reference: Reference, progress: Progress) -> tuple[list[Case], tuple[str, ...]]:
    """The cases with what the original framework answers, and the names of invented ones that it refuses."""
    answered, refused = [], []
    for case in cases:
        try:
            answered.append(msgspec.structs.replace(case, expected=reference.run(case.inputs)))
        except ConversionFailed:
            if case.kind is CaseKind.REAL:
                raise
            # zeros or extremes need not be anything that the network was made for
            refused.append(case.name)
        progress.advance(note=case.name)
    return answered, tuple(refused)


def _refuse_second_softmax(processing: Processing, cases: Sequence[Case]) -> None:
    """Refuses a softmax over scores that are one already: every answer would be nearly uniform, and no check sees it.

    Raises:
        InvalidSettings: that is what is declared.
    """
    classes = processing.classification
    if classes is None or classes.activation is not Activation.SOFTMAX:
        return
    real = [case.expected[classes.output] for case in cases if case.kind is CaseKind.REAL and case.expected is not None]
    scores = [array.reshape(len(array), -1).astype(np.float64) for array in real]
    if scores and all(a.shape[1] > 1 and (a >= 0).all() and (np.abs(a.sum(axis=1) - 1) < _ONE).all() for a in scores):
        raise InvalidSettings(
            f"the output '{classes.output}' already adds up to 1 in every row, and a softmax over it is declared, "
            "which would make all scores nearly equal: declare the activation 'none' (--activation none)"
        )


def _noise(cases: Sequence[Case], reference: Reference, cores: int) -> dict[str, float]:
    """How far the framework is from itself with one thread and with ``cores``: largest absolute difference an output.

    Leaves the framework at ``cores`` threads. Empty without real cases, or with one core.
    """
    case = next((c for c in cases if c.kind is CaseKind.REAL), None)
    if case is None or cores == 1:
        reference.set_threads(cores)
        return {}
    reference.set_threads(1)
    one = reference.run(case.inputs)
    reference.set_threads(cores)
    several = reference.run(case.inputs)
    return {name: _distance(one[name], several[name]) for name in one if one[name].dtype.kind == "f"}


def _distance(one: Array, other: Array) -> float:
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    finite = apart[np.isfinite(apart)]
    return float(finite.max()) if finite.size else 0.0


def _save_raw(folder: Path, pictures: Sequence[bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        (folder / f"{number:03}").write_bytes(picture)


CONVERT = Step(StepName.CONVERT, ConvertInput, ConvertOutput, convert, ConversionFailed)
