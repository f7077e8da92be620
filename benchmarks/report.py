"""Write docs/benchmarks.md, and the picture in the README, from benchmarks/results.json."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.postgres import ROOT
from benchmarks.systems import BARE, BEFORE, COPY, OURS, PAGE, TITLES, USUAL

RESULTS = Path(__file__).with_name("results.json")  # each run of each part
MARKDOWN = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "benchmarks.svg"

# Of each figure: its column, and its number of decimal places.
FIGURES = {
    "requests_per_second": ("requests/s", 0),
    "rows_per_second": ("rows/s", 0),
    "p50_ms": ("p50 ms", 2),
    "p99_ms": ("p99 ms", 2),
    "cpu_ms": ("CPU ms per request", 2),
    "postgres_cpu_ms": ("PostgreSQL's", 2),
    "cpu_us": ("CPU µs per request", 0),
    "of_floor": ("times its floor", 2),
    "pages_per_core": ("open pages per core", 0),
    "mb_per_worker": ("MB per worker", 0),
    "seconds_to_start": ("s to start", 1),
}
_CPU = """\
By WSGI, without gunicorn. A floor is a view that returns a constant, behind the same middleware. Targets: at most 1.2
times for pages that all share, 3.5 for a number's, 2.5 for the counts, 7 for the log."""
# Of each part: its title, and what its figures are.
PARTS = {
    "post": ("Submissions per second", "One number in each. Hot: nine of ten are the same number."),
    "read": (
        "The three most common numbers, p50 in ms",
        "Read by one client. In SQL: the statements alone. The log holds a million different numbers.",
    ),
    "mixed": ("Nine submissions for each read of the most common numbers, requests per second", ""),
    "pages": ("Pages and reads by HTTP", "16 connections, 100,000 rows, all of the last hour."),
    "cpu": (
        "CPU time of pages and reads in one process",
        _CPU,
    ),
    "import": (
        "Rows per second of `import_numbers`",
        r"psql's `\copy` fills an empty table with the same indexes.",
    ),
}
MIN_SHOWN_US = 2  # of a middleware
NOT_SHOWN = {"p50_ms", "postgres_cpu_ms"}  # in tables with a column for each figure
_INTRODUCTION = """\
# Benchmarks

How fast is the service compared with its peers? `make bench` writes this page, and each run to
[results.json](../benchmarks/results.json); [benchmarks/](../benchmarks/README.md) describes the method and the peers.
Figures are medians of rounds in which the systems took turns; a ratio is the median of the rounds' ratios.
"""

Run = dict[str, Any]


def about() -> dict[str, str]:
    """Return the measured machine and code revision."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    revision = ["git", "describe", "--always", "--dirty"]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": str(os.cpu_count()),
        "processor": models[0].partition(": ")[2] if models else platform.machine(),
        "python": platform.python_version(),
        "revision": subprocess.run(revision, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip(),
    }


def write() -> None:
    """Write the document and the picture from all results that exist."""
    results = json.loads(RESULTS.read_text())
    MARKDOWN.write_text("\n".join(_markdown(results)) + "\n")
    PICTURE.write_text(_picture(results["post"]["runs"]))


def keep(part: str, rounds: int, runs: list[Run]) -> None:
    """Replace the results of a part. Those of other parts stay."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[part] = {"about": about(), "rounds": rounds, "runs": runs}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def _markdown(results: dict[str, Any]) -> Iterator[str]:
    yield _INTRODUCTION
    yield from ("| | measured | target |", "|---|--:|--:|")
    yield from _goals({part: result["runs"] for part, result in results.items()})
    for part, (title, note) in PARTS.items():
        if part in results:
            runs = results[part]["runs"]
            several = len({run["system"] for run in runs}) > 1 and part not in {"pages", "memory"}
            yield from ("", f"## {title}", "", *([note, ""] if note else []))
            yield from _compare(runs) if several else _table(runs)
    machines: dict[str, list[str]] = {}
    for part, result in results.items():
        on = result["about"]
        text = f"{on['cores']} cores of {on['processor']}, Python {on['python']}, {on['date']}, {on['revision']}"
        machines.setdefault(text, []).append(part)
    yield from ("", "## Measured on", "", *(f"- {text}: {', '.join(parts)}" for text, parts in machines.items()))


def _compare(runs: list[Run]) -> Iterator[str]:
    """Yield a table of the first figure, with a column for each system."""
    name = next(iter(runs[0]["figures"]))
    systems = list(dict.fromkeys(run["system"] for run in runs))
    yield f"| | {' | '.join(TITLES[system] for system in systems)} |"
    yield f"|---|{'--:|' * len(systems)}"
    for case in dict.fromkeys(run["case"] for run in runs):
        yield f"| {case} | {' | '.join(_cell(runs, case, system, name) for system in systems)} |"


def _table(runs: list[Run]) -> Iterator[str]:
    """Yield a table with a column for each figure."""
    names = [name for name in FIGURES if name in runs[0]["figures"] and name not in NOT_SHOWN]
    yield f"| | {' | '.join(FIGURES[name][0] for name in names)} |"
    yield f"|---|{'--:|' * len(names)}"
    for case, system in dict.fromkeys((run["case"], run["system"]) for run in runs):
        title = case if system == OURS else f"{case}, {TITLES[system]}"
        values = _values(runs, case, system, names[0])
        if "." not in case or median(values) >= MIN_SHOWN_US:  # a middleware has a dotted name
            yield f"| {title} | {' | '.join(_cell(runs, case, system, name) for name in names)} |"


def _cell(runs: list[Run], case: str, system: str, name: str) -> str:
    values = _values(runs, case, system, name)
    return f"{median(values):,.{FIGURES[name][1]}f}" if values else ""


def _values(runs: list[Run], case: str, system: str, name: str) -> list[float]:
    """Return one value per round."""
    wanted = (run for run in runs if (run["case"], run["system"]) == (case, system) and name in run["figures"])
    return [run["figures"][name] for run in wanted]


def _ratio(runs: list[Run], name: str, one: tuple[str, str], other: tuple[str, str]) -> float | None:
    """Return how many times as fast the one is: for rates higher is faster, for all else lower."""
    pairs = list(zip(_values(runs, *one, name), _values(runs, *other, name), strict=False))
    ratios = [a / b if name.endswith("per_second") else b / a for a, b in pairs]
    return median(ratios) if ratios else None


def _times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:,.0f} ×" if ratio >= 10 else f"{ratio:.2f} ×"


def _goals(runs: dict[str, list[Run]]) -> Iterator[str]:
    for text, ratio, bound, *word in _targets(runs):
        if ratio is not None:
            yield f"| {text} | {_times(ratio)} | {''.join(word) or 'at least'} {bound:,g} × |"


def _targets(runs: dict[str, list[Run]]) -> Iterator[tuple[Any, ...]]:
    first_page: Callable[[str], float | None] = lambda other: _ratio(  # noqa: E731
        runs.get("pages", []), "requests_per_second", ("/", OURS), ("/", other)
    )
    yield "GET / against the earlier release", first_page(BEFORE), 10
    yield f"GET / against {TITLES[PAGE]}", first_page(PAGE), 10
    sizes = [case for case in dict.fromkeys(run["case"] for run in runs.get("read", [])) if "SQL" not in case]
    mixed = next((run["case"] for run in runs.get("mixed", [])), "")
    imported = next((run["case"] for run in runs.get("import", [])), "")
    spread, hot = "16 connections, spread", "16 connections, hot"
    rate, p50 = "requests_per_second", "p50_ms"
    ratio: Callable[..., float | None] = lambda part, *rest: _ratio(runs.get(part, []), *rest)  # noqa: E731
    yield "POST against the earlier release", ratio("post", rate, (spread, OURS), (spread, BEFORE)), 0.95
    yield f"POST against {TITLES[USUAL]}", ratio("post", rate, (spread, OURS), (spread, USUAL)), 3
    yield f"POST against {TITLES[BARE]}", ratio("post", rate, (spread, OURS), (spread, BARE)), 0.7
    yield "POST of a hot number against spread ones", ratio("post", rate, (hot, OURS), (spread, OURS)), 0.9
    small, large = (sizes[0], sizes[-1]) if sizes else ("1,000 rows", "10,000,000 rows")
    growth = ratio("read", p50, (small, OURS), (large, OURS))
    yield f"GET most_common, p50 at {large} against {small}", growth, 1.2, "at most"
    in_sql = f"{large}, in SQL"
    against = ratio("read", p50, (in_sql, OURS), (in_sql, BARE))
    yield f"top 3 in SQL against GROUP BY at {large}", against, 1000
    for peer in (USUAL, BARE):
        yield f"mixed against {TITLES[peer]}", ratio("mixed", rate, (mixed, OURS), (mixed, peer)), 100
    against = ratio("import", "rows_per_second", (imported, OURS), (imported, COPY))
    yield r"import against `\copy`", against, 0.5


def _picture(runs: list[Run]) -> str:
    """Return a bar chart of the submissions by 16 clients, readable on light and on dark pages."""
    case, name = "16 connections, spread", "requests_per_second"
    shown = [system for system in TITLES if system != BEFORE]
    rates = [(system, median(values)) for system in shown if (values := _values(runs, case, system, name))]
    most = max(value for _, value in rates)
    bars = []
    for index, (system, value) in enumerate(rates):
        y, width = 52 + 34 * index, 330 * value / most
        style = "ours" if system == OURS else "peer"
        bars.append(
            f'  <text x="290" y="{y + 15}" text-anchor="end">{TITLES[system]}</text>\n'
            f'  <rect class="{style}" x="302" y="{y}" width="{width:.0f}" height="22" rx="3"/>\n'
            f'  <text x="{310 + width:.0f}" y="{y + 15}">{value:,.0f}</text>'
        )
    title = "Durable submissions per second, 16 clients"
    return _SVG.format(height=60 + 34 * len(bars), title=title, bars="\n".join(bars))


_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" role="img" aria-label="{title}">
  <style>
    text {{ font: 14px system-ui, sans-serif; fill: #1f2328 }}
    .title {{ font-weight: 600 }}
    .ours {{ fill: #1a7f64 }}
    .peer {{ fill: #b8c0c8 }}
    @media (prefers-color-scheme: dark) {{
      text {{ fill: #e6edf3 }}
      .ours {{ fill: #3fb68f }}
      .peer {{ fill: #4b5560 }}
    }}
  </style>
  <text class="title" x="16" y="28">{title}</text>
{bars}
</svg>
"""
