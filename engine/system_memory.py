"""Free memory of the computer, or of the container that this process runs in, on Linux.

`/proc/meminfo` describes the whole machine, even inside a container. There, a process is killed when it exceeds the
limit of its control group (cgroup) or of one of its parents.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

NO_LIMIT = 2**60
"""Limits from this many bytes on mean "no limit": version 1 reports the largest possible number of pages."""


@dataclass(frozen=True)
class _Hierarchy:
    """The files of a cgroup version. See `Documentation/admin-guide/cgroup-v*` in the Linux kernel's source."""

    mounts: tuple[str, ...]
    limit: str
    usage: str
    reclaimable: tuple[str, ...]
    """Keys in memory.stat of memory that counts as used but is reclaimed before the kernel kills a process, like the
    page cache. Like the usage, they include all child groups."""


V1 = _Hierarchy(
    mounts=("sys/fs/cgroup/memory",),
    limit="memory.limit_in_bytes",
    usage="memory.usage_in_bytes",
    reclaimable=("total_inactive_file", "total_active_file"),
)
V2 = _Hierarchy(
    mounts=("sys/fs/cgroup", "sys/fs/cgroup/unified"),  # the second where both versions are mounted
    limit="memory.max",
    usage="memory.current",
    reclaimable=("inactive_file", "active_file", "slab_reclaimable"),
)


def free_bytes(root: Path = Path("/")) -> int | None:
    """Memory that this process can still allocate, in bytes; None if the system does not report it.

    root: root of the file system; other than "/" in tests.
    """
    known = [free for free in (_available(root), *_free_in_groups(root)) if free is not None]
    return min(known, default=None)


def _available(root: Path) -> int | None:
    """Available memory of the machine, including page cache that can be dropped."""
    fields = _fields(_read(root / "proc/meminfo"))
    return fields["MemAvailable"] * 1024 if "MemAvailable" in fields else None


def _free_in_groups(root: Path) -> Iterator[int | None]:
    """Free memory in this process's groups and in each of their parents."""
    own = {V1: "/", V2: "/"}
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            own[V1] = path
        elif number == "0":
            own[V2] = path
    for hierarchy, path in own.items():
        for mount in hierarchy.mounts:
            for group in _with_parents(path):
                yield _free_in_group(root / mount / group, hierarchy)


def _with_parents(path: str) -> list[PurePosixPath]:
    """A group and all of its parents, relative to the mount point.

    In a container the mount point is often the container's own group, while the path may be the host's, which does not
    exist there. So all groups are tried, and missing ones set no limit.
    """
    group = PurePosixPath(path.lstrip("/"))
    if ".." in group.parts:  # outside of this cgroup namespace, so not visible
        group = PurePosixPath()
    return [group, *group.parents]


def _free_in_group(group: Path, hierarchy: _Hierarchy) -> int | None:
    """Bytes that a group can still allocate; None if it has no limit.

    Page cache counts as used but can be reclaimed. Models that are read from memory-mapped files are in it.
    """
    statistics = _fields(_read(group / "memory.stat"))
    limits = (
        _number(_read(group / hierarchy.limit)),
        statistics.get("hierarchical_memory_limit"),  # version 1: the lowest of all parents, which may be invisible
    )
    limit = min((limit for limit in limits if limit is not None), default=NO_LIMIT)
    if limit >= NO_LIMIT:
        return None
    used = _number(_read(group / hierarchy.usage)) or 0
    kept = used - sum(statistics.get(key, 0) for key in hierarchy.reclaimable)
    return max(0, limit - max(0, kept))


def _read(path: Path) -> str:
    """The text of a small file; empty if it is missing or unreadable, or its group has just vanished."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    """The number in a file with a single number; None for "max" and for an empty file."""
    text = text.strip()
    return int(text) if text.isdecimal() else None


def _fields(text: str) -> dict[str, int]:
    """The numbers in a file with a name and a number per line: "MemAvailable:  123 kB", "inactive_file 123"."""
    words = [line.replace(":", " ").split() for line in text.splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}
