"""CPU time and memory of a server's processes, as reported by Linux."""

import os
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PARENT, USER_TIME, CHILDREN_SYSTEM_TIME = 1, 11, 14  # fields of /proc/PID/stat after the program's name


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a process and all its descendants, including those that have ended."""
    stats = _stats()
    return sum(sum(map(int, stats[pid][USER_TIME : CHILDREN_SYSTEM_TIME + 1])) for pid in _family(root, stats)) / TICKS


def parent(pid: int) -> int:
    return int(_stats()[pid][PARENT])


def memory_of_workers(master: int) -> list[float]:
    """Return the MB of each worker as PSS, in which shared pages count proportionally."""
    stats = _stats()
    workers = [pid for pid in _family(master, stats) if pid != master and "resource_tracker" not in _command(pid)]
    return [_pss(pid) for pid in workers]


def _family(root: int, stats: dict[int, list[str]]) -> list[int]:
    children = [pid for pid, stat in stats.items() if int(stat[PARENT]) == root]
    return [root, *(pid for child in children for pid in _family(child, stats))]


def _stats() -> dict[int, list[str]]:
    stats = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            stats[int(process.name)] = (process / "stat").read_text().rpartition(")")[2].split()
    return stats


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _pss(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) / 1024
