"""What the machine gives this process: cores, instruction sets, package versions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

from portside.model.evidence import Host

_TELLING = frozenset({
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "sve", "i8mm", "bf16",
})  # fmt: skip
_PACKAGES = ("portside", "numpy", "onnx", "onnxruntime", "openvino", "torch", "tensorflow", "keras", "pillow")
_ROOT = Path("/")


def quota_v2(cpu_max: str) -> float | None:
    """Cores that a cgroup v2 ``cpu.max`` file grants (``"150000 100000"`` is 1.5); ``None`` for no limit."""
    quota, _, period = cpu_max.strip().partition(" ")
    return _ratio(quota, period or "100000")


def quota_v1(quota_us: str, period_us: str) -> float | None:
    """Cores that cgroup v1's ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` grant; ``None`` for no limit (-1)."""
    return _ratio(quota_us.strip(), period_us.strip())


def cgroup_paths(proc_self_cgroup: str) -> tuple[str, str]:
    """The process's group below the v1 ``cpu`` controller and below the v2 hierarchy, from ``/proc/self/cgroup``.

    Returns:
        two absolute paths inside the hierarchies; ``"/"`` where the file does not say.
    """
    v1 = v2 = "/"
    for line in proc_self_cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            v2 = path or "/"
        elif "cpu" in controllers.split(","):
            v1 = path or "/"
    return v1, v2


def cores_within(affinity: int, quotas: Iterable[float | None]) -> int:
    """Whole cores that can be kept busy: the affinity count cut by the smallest quota, at least 1.

    A fraction is dropped: threads beyond the quota are stopped for the rest of each period, which costs more in
    latency than the fraction gives in throughput.
    """
    limit = min((q for q in quotas if q is not None), default=float(affinity))
    return max(1, min(affinity, int(limit)))


def available_cores(root: Path = _ROOT) -> int:
    """Cores this process may use: ``sched_getaffinity`` and the CPU quota of its control groups (v1 and v2).

    Args:
        root: where ``proc`` and ``sys`` lie; something else only in tests.
    """
    return cores_within(len(os.sched_getaffinity(0)), _quotas(root))


def isa_flags(root: Path = _ROOT) -> tuple[str, ...]:
    """The processor's flags that change numbers or speed, sorted; empty where the system does not tell."""
    return isa_from(_read(root / "proc/cpuinfo") or "")


def isa_from(cpuinfo: str) -> tuple[str, ...]:
    """The telling flags out of the text of ``/proc/cpuinfo`` (x86 ``flags``, Arm ``Features``)."""
    words = (_field(cpuinfo, "flags") or _field(cpuinfo, "Features")).split()
    return tuple(sorted(_TELLING.intersection(words)))


def describe_host(root: Path = _ROOT) -> Host:
    """The machine and the installed packages, for evidence and manifests."""
    cpuinfo = _read(root / "proc/cpuinfo") or ""
    cpu = _field(cpuinfo, "model name") or _field(cpuinfo, "Processor") or os.uname().machine
    return Host(cpu=cpu, isa=isa_from(cpuinfo), cores=available_cores(root), versions=dict(_versions()))


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def _quotas(root: Path) -> Iterator[float | None]:
    v1, v2 = cgroup_paths(_read(root / "proc/self/cgroup") or "")
    base = root / "sys/fs/cgroup"
    for hierarchy in (base, base / "unified"):
        for folder in _upwards(hierarchy, v2):
            text = _read(folder / "cpu.max")
            if text is not None:
                yield quota_v2(text)
    for hierarchy in (base / "cpu", base / "cpu,cpuacct"):
        for folder in _upwards(hierarchy, v1):
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
            if quota is not None and period is not None:
                yield quota_v1(quota, period)


def _upwards(hierarchy: Path, group: str) -> Iterator[Path]:
    """The group's folder and all above it: any of them may limit. Inside a container the group may not exist here."""
    inside = PurePosixPath(group.lstrip("/"))
    if ".." not in inside.parts:
        yield from (hierarchy / part for part in (inside, *inside.parents))


def _ratio(quota: str, period: str) -> float | None:
    try:
        cores = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


def _field(cpuinfo: str, name: str) -> str:
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
