"""What verification found: values only, produced by ``verify`` and kept in the manifest."""

from __future__ import annotations

from enum import Enum

import msgspec


class Verdict(Enum):
    """The outcome of a check. Only ``PASS`` can be published without force."""

    PASS = "pass"  # noqa: S105 -- a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class CaseKind(Enum):
    """Where an input of the check came from."""

    REAL = "real"
    """Samples of the user, through the shipped processing."""
    RANDOM = "random"
    """Seeded, in the declared range."""
    EDGE = "edge"
    """Zeros, extremes, tiny values, several batch sizes."""


class OutputParity(msgspec.Struct, frozen=True):
    """How one output compares with its reference over all cases of one kind.

    Attributes:
        name: output name.
        kind: which cases.
        rows: rows compared.
        max_abs: largest absolute difference over elements finite on both sides.
        mean_abs: mean absolute difference, likewise.
        max_rel: largest symmetric relative difference ``2|a-b| / (|a|+|b|+eps)``, elements near zero masked.
        mean_rel: its mean.
        cosine: smallest cosine similarity of a row.
        reference_std: standard deviation of the reference.
        floor: measured noise floor (absolute).
        limit: the largest ``max_abs`` that passes.
        nan_equal: whether NaN and infinity stand in the same places.
        top1: part of rows whose largest element is at the same index; ``None`` where that means nothing.
        top5: part of rows whose five largest are the same set; ``None`` likewise.
        confident_flips: rows whose largest element moved although the reference's margin exceeds the limit.
        passed: whether this row of the report passes.
        reason: why not, or empty.
    """

    name: str
    kind: CaseKind
    rows: int
    max_abs: float
    mean_abs: float
    max_rel: float
    mean_rel: float
    cosine: float
    reference_std: float
    floor: float
    limit: float
    nan_equal: bool
    top1: float | None
    top5: float | None
    confident_flips: int
    passed: bool
    reason: str = ""


class SelfTest(msgspec.Struct, frozen=True):
    """The verifier's test of itself, run every time.

    Attributes:
        identity_passed: a model compared with itself passed.
        corruption_detected: a copy with one weight tensor scaled failed.
        corrupted: which tensor was scaled, and by what.
    """

    identity_passed: bool
    corruption_detected: bool
    corrupted: str = ""

    @property
    def passed(self) -> bool:
        """Whether the verifier can be believed."""
        return self.identity_passed and self.corruption_detected


class Host(msgspec.Struct, frozen=True):
    """The machine something was measured on.

    Attributes:
        cpu: model name of the processor.
        isa: instruction-set flags that change numbers or speed (avx2, avx512f, avx512_vnni, avx512_bf16, amx_…).
        cores: cores this process may use (affinity and cgroup quota).
        versions: package versions, by package.
    """

    cpu: str
    isa: tuple[str, ...]
    cores: int
    versions: dict[str, str]


class Evidence(msgspec.Struct, frozen=True):
    """Everything the verdict rests on.

    Attributes:
        verdict: pass, fail or inconclusive.
        reasons: sentences; empty for a pass.
        subject: digest of the artifact that was checked.
        config: how it was run, as text.
        outputs: one row an output and kind of case.
        selftest: the verifier's test of itself.
        host: where.
        seed: of the random cases.
        real_rows: rows that came from real samples.
        checks: further named checks (determinism, sensitivity to the input, batch sizes, processing): name to a
            sentence; a failed one is also in ``reasons``.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    subject: str
    config: str
    outputs: tuple[OutputParity, ...]
    selftest: SelfTest
    host: Host
    seed: int
    real_rows: int
    checks: dict[str, str] = {}


class Measurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row of the tuner's table.

    Attributes:
        label: what was run, for a person ("PyTorch eager", "OpenVINO bf16").
        engine: engine name, or the framework's for the baseline.
        precision: arithmetic.
        threads: of one instance.
        instances: concurrent callers.
        latency_ms: median time of one request with one caller, milliseconds.
        p95_ms: 95th percentile, likewise.
        throughput_rps: rows a second with all instances busy.
        speedup: baseline latency over this latency.
        top1: agreement with the original framework on real samples; ``None`` where it means nothing.
        max_abs: largest difference from the original's outputs.
        verdict: outcome of the accuracy gate; ``None`` for the baseline.
        reason: why it was not chosen, or empty.
        chosen: whether this row is what was published.
    """

    label: str
    engine: str
    precision: str
    threads: int
    instances: int
    latency_ms: float
    p95_ms: float
    throughput_rps: float
    speedup: float
    top1: float | None = None
    max_abs: float | None = None
    verdict: Verdict | None = None
    reason: str = ""
    chosen: bool = False
