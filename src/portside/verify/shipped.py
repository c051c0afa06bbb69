"""Whether the processing that is shipped (a JPEG decoded at reduced scale) gives the answers of the exact one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from portside.engine.base import Session
from portside.errors import PortsideError
from portside.model.evidence import CaseKind, Verdict
from portside.model.processing import ImageInput
from portside.processing.image import decode, normalise, tensor
from portside.verify.answers import Answer, answer, compare
from portside.verify.cases import Case
from portside.verify.parity import Difference
from portside.verify.sanity import Finding
from portside.verify.subject import Stage

MOST_PICTURES = 32
_NAME = "processing"
_MARGIN = 0.5
"""Of the scores' standard deviation: a picture whose best class led by more must keep it."""
_FLIPS = 0.1
_RMS = 0.2
"""How far outputs that are not scores may move, relative RMS."""


def shipped_processing(session: Session, stage: Stage, raw: Sequence[bytes]) -> Finding:
    """Answers the same files through both ways of decoding.

    Args:
        session: the candidate.
        stage: its signature and processing.
        raw: picture files; those that cannot be read are left out.
    """
    image = stage.processing.image
    if image is None:
        return Finding(_NAME, "none is declared")
    pairs = [pair for data in raw[:MOST_PICTURES] if (pair := _both(session, image, data)) is not None]
    if not pairs:
        return Finding(_NAME, "not checked: there are no picture files among the samples")
    cases = [Case(f"picture {i}", CaseKind.REAL, {}) for i in range(len(pairs))]
    apart = compare(cases, [exact for exact, _ in pairs], [fast for _, fast in pairs], stage.signature)
    classes = stage.processing.classification
    if classes is not None and (CaseKind.REAL, classes.output) in apart:
        return _scores(apart[CaseKind.REAL, classes.output])
    return _values({name: difference for (_, name), difference in apart.items()})


def _both(session: Session, image: ImageInput, data: bytes) -> tuple[Answer, Answer] | None:
    try:
        pixels = decode(data, image, exact=True)[np.newaxis]
        fast = tensor([data], image)
    except PortsideError:
        return None
    exact = pixels if image.fused else normalise(pixels, image)
    return answer(session, {image.input: exact}), answer(session, {image.input: fast})


def _scores(found: Difference) -> Finding:
    clear = sum(flip.margin > _MARGIN * found.reference_std for flip in found.flips)
    agree = f"{found.top1} of {found.ranked} pictures keep their best class"
    moved = f"scores move by {found.rms / found.reference_rms:.1%} (RMS)" if found.reference_rms else "no scores"
    if clear or len(found.flips) > max(1.0, _FLIPS * found.ranked):
        sentence = (
            f"decoding at reduced scale changes answers: {agree}, {clear} lost it by a clear margin ({moved}); "
            "declare the image input with reduced_decode off"
        )
        return Finding(_NAME, sentence, Verdict.FAIL)
    return Finding(_NAME, f"decoded as shipped and exactly: {agree}, {moved}")


def _values(found: dict[str, Difference]) -> Finding:
    moved = {n: d.rms / d.reference_rms for n, d in found.items() if d.floating and d.reference_rms > 0}
    worst = max(moved, key=lambda n: moved[n], default="")
    if not worst:
        return Finding(_NAME, "not checked: no output has numbers to compare")
    if moved[worst] > _RMS:
        sentence = (
            f"decoding at reduced scale moves output '{worst}' by {moved[worst]:.1%} (RMS), at most {_RMS:.0%} may: "
            "declare the image input with reduced_decode off"
        )
        return Finding(_NAME, sentence, Verdict.FAIL)
    return Finding(_NAME, f"decoded as shipped and exactly, the outputs move by at most {moved[worst]:.1%} (RMS)")
