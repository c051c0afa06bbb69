"""Which engine runs an artifact, and how."""

from __future__ import annotations

from enum import Enum

import msgspec


class EngineName(Enum):
    """The engines Portside can serve with."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Precision(Enum):
    """The arithmetic that an engine is asked to use inside the graph."""

    FP32 = "fp32"
    BF16 = "bf16"


class EngineConfig(msgspec.Struct, frozen=True):
    """One way to run an artifact.

    Attributes:
        engine: which runtime.
        precision: which arithmetic.
        threads: intra-op threads of one instance, at least 1.
        instances: how many requests run at the same time, at least 1.
    """

    engine: EngineName = EngineName.ONNXRUNTIME
    precision: Precision = Precision.FP32
    threads: int = 1
    instances: int = 1

    def __str__(self) -> str:
        return f"{self.engine.value} {self.precision.value} {self.instances}x{self.threads} thread(s)"


class Goal(Enum):
    """What the tuner optimises for."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"
