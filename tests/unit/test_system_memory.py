"""Free memory on Linux: the machine's, or what the limits of a container and of the groups around it leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from apisr_pack.apisr_archs import NotEnoughMemory
from apisr_pack.engine import devices, system_memory, upscale
from apisr_pack.tests.standins import NearestModel

GIB = 2**30
NO_LIMIT_V1 = "9223372036854771712"
Files = dict[str, "str | int"]

MACHINE: Files = {"proc/meminfo": f"MemTotal:  {64 * 2**20} kB\nMemAvailable:  {60 * 2**20} kB\nHugePages_Total: 0\n"}
"""64 GiB, 60 of them free."""


def v2(group: str, limit: str | int, used: int, cache: int = 0) -> Files:
    """A group of version 2; `cache` is the part of `used` that can be dropped at once."""
    folder = f"sys/fs/cgroup{group}"
    statistics = f"anon {used - cache}\nfile {cache}\ninactive_file {cache - cache // 3}\nactive_file {cache // 3}\n"
    return {f"{folder}/memory.max": limit, f"{folder}/memory.current": used, f"{folder}/memory.stat": statistics}


def v1(group: str, limit: str | int, used: int, cache: int = 0, above: str | int = NO_LIMIT_V1) -> Files:
    """A group of version 1, whose statistics include a limit somewhere above it. inactive_file: of this group alone."""
    folder = f"sys/fs/cgroup/memory{group}"
    cached = f"total_inactive_file {cache - cache // 3}\ntotal_active_file {cache // 3}\n"
    statistics = f"inactive_file 0\nhierarchical_memory_limit {above}\n{cached}"
    limits = {f"{folder}/memory.limit_in_bytes": limit, f"{folder}/memory.usage_in_bytes": used}
    return {**limits, f"{folder}/memory.stat": statistics}


def own(*lines: str) -> Files:
    return {"proc/self/cgroup": "\n".join(lines) + "\n"}


CASES: dict[str, tuple[list[Files], int | None]] = {
    "no container": ([MACHINE, own("0::/user.slice/session-2.scope")], 60 * GIB),
    "nothing is told": ([{}], None),
    "version 2": ([MACHINE, own("0::/"), v2("", 8 * GIB, 3 * GIB)], 5 * GIB),
    "version 2, no limit": ([MACHINE, own("0::/"), v2("", "max", 3 * GIB)], 60 * GIB),
    "a limit above what is free": ([MACHINE, own("0::/"), v2("", 128 * GIB, 3 * GIB)], 60 * GIB),
    "page cache counts as free": ([MACHINE, own("0::/"), v2("", 8 * GIB, 7 * GIB, cache=4 * GIB)], 5 * GIB),
    "more is used than allowed": ([MACHINE, own("0::/"), v2("", GIB, 2 * GIB)], 0),
    "its own group": ([MACHINE, own("0::/a/b"), v2("/a/b", 4 * GIB, GIB), v2("/a", "max", 9 * GIB)], 3 * GIB),
    "a group above": ([MACHINE, own("0::/a/b"), v2("/a/b", "max", GIB), v2("/a", 6 * GIB, 2 * GIB)], 4 * GIB),
    "the tightest of all": (
        [MACHINE, own("0::/a/b"), v2("/a/b", 8 * GIB, GIB), v2("/a", 16 * GIB, 14 * GIB), v2("", 20 * GIB, 15 * GIB)],
        2 * GIB,
    ),
    "another group's limit": ([MACHINE, own("0::/a"), v2("/b", GIB, 0), v2("/a", 4 * GIB, 0)], 4 * GIB),
    "the host's path, in a container": ([MACHINE, own("0::/docker/4f9a"), v2("", 8 * GIB, GIB)], 7 * GIB),
    "outside of its namespace": ([MACHINE, own("0::/../../a"), v2("", 8 * GIB, GIB)], 7 * GIB),
    "a path with colons": ([MACHINE, own("0::/a:b"), v2("/a:b", 8 * GIB, GIB)], 7 * GIB),
    "version 1": ([MACHINE, own("4:memory:/", "0::/"), v1("", 8 * GIB, 3 * GIB)], 5 * GIB),
    "version 1, no limit": ([MACHINE, own("4:memory:/"), v1("", NO_LIMIT_V1, 3 * GIB)], 60 * GIB),
    "version 1, page cache": ([MACHINE, own("4:memory:/"), v1("", 8 * GIB, 7 * GIB, cache=3 * GIB)], 4 * GIB),
    "version 1, the host's path": ([MACHINE, own("4:memory:/docker/4f9a"), v1("", 8 * GIB, GIB)], 7 * GIB),
    "version 1, a group above": (
        [MACHINE, own("9:cpu:/", "4:cpuset,memory:/a/b"), v1("/a/b", NO_LIMIT_V1, 0), v1("/a", 6 * GIB, GIB)],
        5 * GIB,
    ),
    "version 1, a limit out of sight": (
        [MACHINE, own("4:memory:/docker/4f9a"), v1("", NO_LIMIT_V1, GIB, above=4 * GIB)],
        3 * GIB,
    ),
    "both versions": (
        [MACHINE, own("4:memory:/a", "0::/b"), v1("/a", 6 * GIB, GIB), v1("/b", GIB, GIB)],
        5 * GIB,
    ),
    "only the limit is told": ([MACHINE, own("0::/"), {"sys/fs/cgroup/memory.max": 2 * GIB}], 2 * GIB),
    "only the group is told": ([own("0::/"), v2("", 8 * GIB, GIB)], 7 * GIB),
    "no list of groups": ([MACHINE, v2("", 8 * GIB, GIB)], 7 * GIB),
    "nothing that makes sense": (
        [{"proc/meminfo": "\n:\nMemAvailable: much kB\n"}, own("", "0", "::", "memory"), v2("", "much", GIB)],
        None,
    ),
}


def system(folder: Path, files: list[Files]) -> Path:
    """A root folder with these files."""
    for name, content in (item for part in files for item in part.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n" if isinstance(content, int) else content, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_what_is_free(name: str, tmp_path: Path) -> None:
    files, expected = CASES[name]
    assert system_memory.free_bytes(system(tmp_path, files)) == expected


def test_what_cannot_be_read_is_no_limit(tmp_path: Path) -> None:
    """A folder in the file's place stands for any failure to read it."""
    root = system(tmp_path, [MACHINE, own("0::/a"), v2("", 8 * GIB, GIB)])
    for name in ("memory.max", "memory.stat", "memory.current"):
        (root / "sys/fs/cgroup/a" / name).mkdir(parents=True)
    assert system_memory.free_bytes(root) == 7 * GIB


def test_the_engine_plans_within_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 MiB are left of its limit, and 60 GiB of the machine."""
    root = system(tmp_path, [MACHINE, own("0::/"), v2("", 250 * 2**20, 200 * 2**20)])
    free_bytes = system_memory.free_bytes
    monkeypatch.setattr(system_memory, "free_bytes", lambda: free_bytes(root))
    model: Any = NearestModel()
    upscale(model, torch.rand(1, 200, 300, 3))  # 60 MB by its facts
    assert len(model.model.calls) > 1
    assert devices.usable_bytes(torch.device("cpu")) == 40 * 2**20
    with pytest.raises(NotEnoughMemory, match=r"on cpu; 0\.0 GB seem to be free"):
        upscale(model, torch.rand(1, 200, 300, 3), size=(3000, 3000))
