"""Free memory of the computer, or of the container that this process runs in, on Linux.

`/proc/meminfo` describes the whole machine, also inside a container. What kills a process there is the limit of its
control group (cgroup), or of a group above it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

NO_LIMIT = 2**60
"""Bytes from which on a limit is none: version 1 says "no limit" by the largest number of pages there can be."""


@dataclass(frozen=True)
class _Hierarchy:
    """Where a version of cgroups keeps its numbers, under the names of `Documentation/admin-guide/cgroup-v*`."""

    mounts: tuple[str, ...]
    limit: str
    usage: str
    reclaimable: tuple[str, ...]
    """Keys in memory.stat of what the usage counts, but the system gives up before it kills: the page cache and such;
    like the usage, with all groups below."""


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
    """Memory that this process can still take, in bytes; None where the system does not tell.

    root: of the file system, for tests.
    """
    known = [free for free in (_available(root), *_left_in_groups(root)) if free is not None]
    return min(known, default=None)


def _available(root: Path) -> int | None:
    """What the machine has, page cache that can be dropped included."""
    fields = _fields(_read(root / "proc/meminfo"))
    return fields["MemAvailable"] * 1024 if "MemAvailable" in fields else None


def _left_in_groups(root: Path) -> Iterator[int | None]:
    """What is left in this process's groups and in each group above them."""
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
                yield _left(root / mount / group, hierarchy)


def _with_parents(path: str) -> list[PurePosixPath]:
    """A group and all above it, relative to the mount point.

    In a container the mount point often is the container's own group, and the path, which may be the host's, names
    nothing below it: all groups are tried, and those that are not there set no limit.
    """
    group = PurePosixPath(path.lstrip("/"))
    if ".." in group.parts:  # outside of this cgroup namespace, and not to be seen
        group = PurePosixPath()
    return [group, *group.parents]


def _left(group: Path, hierarchy: _Hierarchy) -> int | None:
    """Bytes that a group can still take; None if it has no limit.

    Page cache is used memory, but given up for others: models that are read from memory-mapped files lie there.
    """
    statistics = _fields(_read(group / "memory.stat"))
    limits = (
        _number(_read(group / hierarchy.limit)),
        statistics.get("hierarchical_memory_limit"),  # version 1: the tightest one above, which may be out of sight
    )
    limit = min((limit for limit in limits if limit is not None), default=NO_LIMIT)
    if limit >= NO_LIMIT:
        return None
    used = _number(_read(group / hierarchy.usage)) or 0
    kept = used - sum(statistics.get(key, 0) for key in hierarchy.reclaimable)
    return max(0, limit - max(0, kept))


def _read(path: Path) -> str:
    """A small file's text; empty if it is not there, not to be read, or its group has just vanished."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    """Of a file with one number; None for "max" and for nothing."""
    text = text.strip()
    return int(text) if text.isdecimal() else None


def _fields(text: str) -> dict[str, int]:
    """Of a file with a name and a number in each line: "MemAvailable:  123 kB", "inactive_file 123"."""
    words = [line.replace(":", " ").split() for line in text.splitlines()]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}
