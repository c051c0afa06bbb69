"""Which ways of running a model are worth measuring on a machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from portside.engine.base import Engine
from portside.model.artifact import Format
from portside.model.config import EngineConfig, EngineName, Precision

_MOST_SPLITS = 4


class Way(msgspec.Struct, frozen=True):
    """An engine and an arithmetic: what decides the answers."""

    engine: EngineName
    precision: Precision


def ways(
    engines: Mapping[EngineName, Engine],
    format_: Format,
    allowed: Iterable[EngineName],
    precisions: Iterable[Precision],
) -> list[Way]:
    """The engines that read the format, with the arithmetics that they and the caller both allow; exact ones first."""
    wanted = set(precisions)
    found = [
        Way(name, precision)
        for name in allowed
        if name in engines and format_ in engines[name].formats
        for precision in engines[name].precisions() & wanted
    ]
    return sorted(found, key=lambda way: (list(Precision).index(way.precision), list(EngineName).index(way.engine)))


def splits(cores: int) -> list[tuple[int, int]]:
    """How cores can be divided: ``(threads, instances)``, from one instance with all of them to one thread each.

    At most four; between the extremes, instances double.
    """
    instances = 1
    found: list[tuple[int, int]] = []
    while instances < cores and len(found) < _MOST_SPLITS - 1:
        found.append((cores // instances, instances))
        instances *= 2
    found.append((1, max(1, cores)))
    return found


def configs(way: Way, cores: int) -> list[EngineConfig]:
    """All splits of one way."""
    return [EngineConfig(way.engine, way.precision, threads, instances) for threads, instances in splits(cores)]
