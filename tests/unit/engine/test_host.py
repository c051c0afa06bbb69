from __future__ import annotations

import os
from pathlib import Path

import pytest

from portside.engine.host import (
    available_cores,
    cgroup_paths,
    cores_within,
    describe_host,
    isa_flags,
    isa_from,
    quota_v1,
    quota_v2,
)

AFFINITY = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", None),
        ("max", None),
        ("150000 100000\n", 1.5),
        ("50000 100000", 0.5),
        ("400000", 4.0),
        ("200000 50000", 4.0),
        ("", None),
        ("0 100000", None),
        ("100000 0", None),
        ("nonsense", None),
    ],
)
def test_quota_v2(text: str, cores: float | None) -> None:
    assert quota_v2(text) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [
        ("-1\n", "100000\n", None),
        ("250000\n", "100000\n", 2.5),
        ("50000", "100000", 0.5),
        ("", "", None),
        ("100000", "0", None),
    ],
)
def test_quota_v1(quota: str, period: str, cores: float | None) -> None:
    assert quota_v1(quota, period) == cores


@pytest.mark.parametrize(
    ("text", "v1", "v2"),
    [
        ("0::/system.slice/portside.service\n", "/", "/system.slice/portside.service"),
        ("4:cpu,cpuacct:/docker/abc\n3:cpuset:/x\n0::/\n", "/docker/abc", "/"),
        ("1:cpu:/a\n2:cpuacct:/b\n", "/a", "/"),
        ("9:name=systemd:/s\n", "/", "/"),
        ("", "/", "/"),
    ],
)
def test_cgroup_paths(text: str, v1: str, v2: str) -> None:
    assert cgroup_paths(text) == (v1, v2)


@pytest.mark.parametrize(
    ("affinity", "quotas", "cores"),
    [
        (8, [], 8),
        (8, [None, None], 8),
        (8, [4.0], 4),
        (8, [None, 2.5, 6.0], 2),
        (2, [64.0], 2),
        (8, [0.2], 1),
        (1, [None], 1),
    ],
)
def test_cores_within(affinity: int, quotas: list[float | None], cores: int) -> None:
    assert cores_within(affinity, quotas) == cores


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "files",
    [
        {"sys/fs/cgroup/cpu.max": "100000 100000\n"},
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "100000 100000"},
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "100000 100000"},
        {"proc/self/cgroup": "0::/gone\n", "sys/fs/cgroup/cpu.max": "100000 100000"},
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/unified/a/cpu.max": "100000 100000"},
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/docker/x\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "60000",
            "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "50000",
        },
    ],
    ids=["v2-root", "v2-own", "v2-above", "v2-container", "hybrid", "v1-root", "v1-own"],
)
def test_a_quota_of_one_core_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    assert available_cores(write(tmp_path, files)) == 1


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == AFFINITY


def test_a_group_cannot_lead_out_of_the_hierarchy(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/../../outside\n", "sys/outside/cpu.max": "1000 100000"}
    assert available_cores(write(tmp_path, files)) == AFFINITY


def test_half_a_quota_file_pair_is_no_quota(tmp_path: Path) -> None:
    assert available_cores(write(tmp_path, {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "1000"})) == AFFINITY


def test_isa_of_x86_and_arm() -> None:
    x86 = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512_bf16 sse4_2 amx_bf16\n"
    assert isa_from(x86) == ("amx_bf16", "avx2", "avx512_bf16", "sse4_2")
    assert isa_from("Features\t: fp asimd i8mm\n") == ("asimd", "i8mm")
    assert isa_from("") == ()


def test_the_host_describes_itself(tmp_path: Path) -> None:
    host = describe_host(write(tmp_path, {"proc/cpuinfo": "model name\t: Some CPU @ 2 GHz\nflags\t: avx2 vmx\n"}))
    assert host.cpu == "Some CPU @ 2 GHz"
    assert host.isa == ("avx2",)
    assert host.cores == AFFINITY
    assert "onnxruntime" in host.versions
    assert "numpy" in host.versions


def test_a_host_that_tells_nothing_still_has_a_name(tmp_path: Path) -> None:
    assert describe_host(tmp_path).cpu == os.uname().machine


def test_this_host() -> None:
    assert 1 <= available_cores() <= AFFINITY
    assert set(isa_flags()) <= set(describe_host().isa)
