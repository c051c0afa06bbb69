"""What every candidate of one build is measured against: golden answers, and how much noise there is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from portside.engine.base import Engine
from portside.errors import EngineFailed, InvalidSettings
from portside.model.config import EngineConfig, EngineName, Precision
from portside.verify.answers import Answer, Key, ask_stage, compare, few
from portside.verify.cases import Case
from portside.verify.noise import measure_noise
from portside.verify.parity import Difference
from portside.verify.spoil import Spoiled, spoiled_copies
from portside.verify.subject import Subject
from portside.verify.tolerance import Noise

_SPOIL_CASES = 2
_SPOIL_TRIES = 5
_MATTERS = 0.2
"""A weight matters if scaling it moves the outputs by this part of their size (relative RMS)."""


@dataclass(frozen=True)
class Yardstick:
    """Made once a build, used for every engine and precision.

    Attributes:
        subject: what is checked.
        cases: the inputs.
        engines: by name.
        golden: what the original framework answered (the converted graph, where nobody asked the original).
        converted: what the converted graph answers on ``reference_config``.
        reference: the golden answers compared with themselves: their size, by kind and output.
        noise: measured, likewise.
        noise_from: what the noise was measured with, for a person.
        reference_config: how the reference engine runs.
        spoiled: a copy of the candidate that must fail; ``None`` if there is none.
        spoil_error: why there is none.
    """

    subject: Subject
    cases: Sequence[Case]
    engines: Mapping[EngineName, Engine]
    golden: Sequence[Answer]
    converted: Sequence[Answer]
    reference: Mapping[Key, Difference]
    noise: Mapping[Key, Noise]
    noise_from: str
    reference_config: EngineConfig
    spoiled: Spoiled | None
    spoil_error: str


@contextmanager
def yardstick(subject: Subject, cases: Sequence[Case], engines: Mapping[EngineName, Engine]) -> Iterator[Yardstick]:
    """Makes the yardstick; the spoiled copy is deleted at the end.

    Args:
        subject: what is checked.
        cases: with ``expected`` filled in by the original framework.
        engines: the first is the reference, ONNX Runtime if it is there; a second one helps to measure the noise.

    Raises:
        InvalidSettings: there are no cases or no engines.
        MissingExtra: ``onnx`` is not installed.
    """
    if not cases or not engines:
        raise InvalidSettings(
            f"there are {len(cases)} cases and {len(engines)} engines: at least one of each is needed"
        )
    config = EngineConfig(_reference_engine(engines), Precision.FP32, 1, 1)
    converted = ask_stage(subject.converted, cases, engines[config.engine], config)
    golden = [
        Answer(case.expected) if case.expected is not None else own for case, own in zip(cases, converted, strict=True)
    ]
    signature = subject.converted.signature
    noise, noise_from = measure_noise(subject.converted, cases, converted, engines, config)
    with TemporaryDirectory(prefix="portside-verify-") as folder:
        spoiled, error = _spoil(subject, cases, engines[config.engine], config, Path(folder))
        yield Yardstick(
            subject=subject,
            cases=cases,
            engines=engines,
            golden=golden,
            converted=converted,
            reference=compare(cases, golden, golden, signature),
            noise=noise,
            noise_from=noise_from,
            reference_config=config,
            spoiled=spoiled,
            spoil_error=error,
        )


def _reference_engine(engines: Mapping[EngineName, Engine]) -> EngineName:
    return EngineName.ONNXRUNTIME if EngineName.ONNXRUNTIME in engines else next(iter(engines))


def _spoil(
    subject: Subject, cases: Sequence[Case], engine: Engine, config: EngineConfig, folder: Path
) -> tuple[Spoiled | None, str]:
    """The first spoiled copy whose weight matters; of several tries that do not, the one that comes closest."""
    some = [cases[i] for i in few(cases)[:_SPOIL_CASES]]
    right = ask_stage(subject.candidate, some, engine, config)
    best: tuple[float, Spoiled] | None = None
    try:
        for number, copy in enumerate(spoiled_copies(subject.candidate.path, folder, subject.seed)):
            wrong = ask_stage(msgspec.structs.replace(subject.candidate, path=copy.path), some, engine, config)
            moved = _moved(compare(some, right, wrong, subject.candidate.signature).values())
            if best is None or moved > best[0]:
                best = moved, Spoiled(copy.path, f"{copy.what}, which moves the outputs by {moved:.0%}")
            if best[0] >= _MATTERS or number + 1 >= _SPOIL_TRIES:
                break
    except EngineFailed as e:
        return None, e.message
    return (best[1], "") if best else (None, "the graph has nothing that can be spoiled")


def _moved(differences: Iterable[Difference]) -> float:
    """How far outputs are from others, as a part of their size; the output that moved most."""
    moved = 0.0
    for found in differences:
        part = found.rms / found.reference_rms if found.reference_rms > 0 else 0.0
        moved = max(moved, part if found.floating else found.unequal, 0.0 if found.nan_equal else 1.0)
    return moved
