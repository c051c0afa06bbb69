"""The tolerances of one check, ready to be laid on any comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portside.model.config import Precision
from portside.model.evidence import OutputParity
from portside.model.tensors import DType
from portside.verify.answers import Key
from portside.verify.parity import Difference
from portside.verify.tolerance import Noise, Rule, Tolerance, judge, tolerance
from portside.verify.yardstick import Yardstick


@dataclass(frozen=True)
class Gauge:
    """One rule and one tolerance for every kind of case and output.

    Attributes:
        rules: what they depend on.
        allowed: the tolerances.
    """

    rules: Mapping[Key, Rule]
    allowed: Mapping[Key, Tolerance]

    def rows(self, found: Mapping[Key, Difference]) -> tuple[OutputParity, ...]:
        """The judgement on every output and kind of case that was compared."""
        return tuple(
            judge(key[1], self.rules[key], difference, self.allowed[key])
            for key, difference in found.items()
            if key in self.rules
        )

    def passes(self, found: Mapping[Key, Difference]) -> bool:
        """Whether anything was compared, and all of it passes."""
        rows = self.rows(found)
        return bool(rows) and all(row.passed for row in rows)


def make_gauge(measure: Yardstick, precision: Precision) -> Gauge:
    """The tolerances for an arithmetic."""
    classes = measure.subject.candidate.processing.classification
    scores = "" if classes is None else classes.output
    dtypes = {spec.name: spec.dtype for spec in measure.subject.converted.signature.outputs}
    rules = {
        (kind, name): Rule(kind, dtypes.get(name, DType.FLOAT32), precision, scores == name)
        for kind, name in measure.reference
    }
    allowed = {
        key: tolerance(measure.reference[key], measure.noise.get(key, Noise()), rule) for key, rule in rules.items()
    }
    return Gauge(rules, allowed)
