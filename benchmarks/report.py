"""Write the results: docs/benchmarks.md, and the picture in the README."""

from __future__ import annotations

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
from benchmarks.requests_cpu import API_FLOOR, CHANGED, PAGE_FLOOR
from benchmarks.systems import BARE, BEFORE, COPY, OURS, PAGE, TITLES, USUAL

RESULTS = Path(__file__).parent / "results"
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
    "rejected": ("errors", 0),
    "pages_per_core": ("open pages per core", 0),
    "mb_per_worker": ("MB per worker", 0),
    "seconds_to_start": ("s to start", 1),
}
SPEEDS = {"requests_per_second", "rows_per_second", "p50_ms"}
PARTS = {
    "pages": (
        "Pages and reads, by HTTP",
        (
            "16 connections, 100,000 rows, all of the last hour. The peer's first page shows the same: the form, the "
            "most common numbers, the latest submissions, and the last hour as a chart, by one query each. The two "
            "constants and /health/live are what the other URLs are compared with below."
        ),
    ),
    "cpu": (
        "CPU time of pages and reads in one process",
        (
            "One process answers by WSGI, without gunicorn, in many turns of 5 requests, of which the best counts. "
            "The floor of a page is a view that returns a constant, behind all middleware; that of a read and of a "
            "submission is the same below /api/; that of these two constants is /health/live, which most middleware "
            "does not see. `/`, `/live` and `/stats` are rendered once a second at most. The time of `/numbers/15` is "
            "given where nobody submits 15, and where it is submitted before each request."
        ),
    ),
    "post": (
        "Submitting one number",
        "Spread: uniform over a million numbers. Hot: nine of ten submissions send the same one.",
    ),
    "read": (
        "The three most common numbers",
        (
            "Read by one client. The log was filled by one INSERT of generate_series, uniform over a million numbers, "
            "the rollup by `top_numbers --rebuild`, and vacuumed. In SQL: the statements alone, without the services."
        ),
    ),
    "mixed": (
        "Nine submissions for each read of the most common numbers",
        "The log was filled as above. p50 and p99 are over both kinds of request.",
    ),
    "import": (
        "Importing a file",
        r"`import_numbers` against psql's `\copy`, each into an empty table with the same indexes.",
    ),
    "live": (
        "The live figures of the first page",
        (
            "Each open page requests them every 10 s. 200: the page has old figures; 304: it has the newest. Open "
            "pages per core: how many keep one core busy, PostgreSQL's work included, without a cache in between."
        ),
    ),
    "cost": (
        "CPU time of each middleware in a submission",
        (
            "One process answers POST /api/fizzbuzz by WSGI, without gunicorn and with one number per statement, with "
            "all middleware and with all but one, in 60 short turns, of which the quickest tenth counts. The figure of "
            "a middleware is the difference."
        ),
    ),
    "memory": ("Memory and start", "PSS after some seconds of submissions, and the time until the first response."),
}

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
    """Write both files from the results that exist. The text of the other parts stays unchanged."""
    results = {part: json.loads(file.read_text()) for part in PARTS if (file := RESULTS / f"{part}.json").exists()}
    MARKDOWN.parent.mkdir(exist_ok=True)
    before = MARKDOWN.read_text() if MARKDOWN.exists() else ""
    MARKDOWN.write_text("\n".join(_markdown(results, before)) + "\n")
    if "post" in results:
        PICTURE.write_text(_picture(results["post"]["runs"]))


def _markdown(results: dict[str, Any], before: str) -> Iterator[str]:
    summary, *others = before.split("\n## ")
    sections = dict(section.split("\n", 1) for section in others)
    known = {line.split(" | ")[0]: line for line in summary.splitlines() if line.startswith("| ")}
    yield "# Benchmarks"
    yield ""
    yield (
        "How fast is the service compared with its peers? Written by `make bench`; "
        "[benchmarks/](../benchmarks/README.md) describes the method."
    )
    if goals := list(_goals({part: result["runs"] for part, result in results.items()}, known)):
        yield from ("", "| | measured | wanted |", "|---|--:|--:|", *goals)
    for part, (title, note) in PARTS.items():
        if part not in results:
            if title in sections:
                yield from ("", f"## {title}", "", sections[title].strip())
            continue
        result = results[part]
        machine, plan = result["about"], result["plan"]
        yield from ("", f"## {title}", "", note)
        yield (
            f"Medians of {plan['rounds']} rounds, in each of which the systems took turns; the last column is the "
            f"median of the rounds' ratios. {machine['cores']} cores of {machine['processor']}, "
            f"Python {machine['python']}, {machine['date']}, revision {machine['revision']}."
        )
        yield from ("", *_table(result["runs"]))


def _table(runs: list[Run]) -> Iterator[str]:
    names = [name for name in FIGURES if any(name in run["figures"] for run in runs)]
    yield f"| | | {' | '.join(FIGURES[name][0] for name in names)} | this service is |"
    yield f"|---|---|{'--:|' * len(names)}--:|"
    for case in dict.fromkeys(run["case"] for run in runs):
        for system in dict.fromkeys(run["system"] for run in runs if run["case"] == case):
            cells = [_cell(runs, case, system, name) for name in names]
            compared = system != OURS and names[0] in SPEEDS
            ratio = _ratio(runs, names[0], (case, OURS), (case, system)) if compared else None
            yield f"| {case} | {TITLES.get(system, system)} | {' | '.join(cells)} | {_times(ratio)} |"


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


def _goals(runs: dict[str, list[Run]], known: dict[str, str]) -> Iterator[str]:
    """Yield a row for each target: what was measured, and what is wanted. A known row stays if nothing is newer."""
    for text, ratio, bound, *word in _targets(runs):
        if ratio is not None:
            yield f"| {text} | {_times(ratio)} | {''.join(word) or 'at least'} {bound:,g} × |"
        elif row := known.get(f"| {text}"):
            yield row


def _targets(runs: dict[str, list[Run]]) -> Iterator[tuple[Any, ...]]:
    first_page: Callable[[str], float | None] = lambda other: _ratio(  # noqa: E731
        runs.get("pages", []), "requests_per_second", ("/", OURS), ("/", other)
    )
    yield "GET / against the same before", first_page(BEFORE), 10
    yield f"GET / against {TITLES[PAGE]}", first_page(PAGE), 10
    for case, bound in {
        **dict.fromkeys(("/", "/live", "/stats"), 1.2),
        **dict.fromkeys(("/numbers/15", CHANGED), 3.5),
        **dict.fromkeys(("/api/most_common", "/api/numbers/15"), 2.5),
        "/api/fizzbuzz": 7,
        PAGE_FLOOR: 4.5,
        API_FLOOR: 2.5,
    }.items():
        values = _values(runs.get("cpu", []), case, OURS, "of_floor")
        yield f"CPU of {case} against its floor", median(values) if values else None, bound, "at most"
    sizes = [case for case in dict.fromkeys(run["case"] for run in runs.get("read", [])) if "SQL" not in case]
    mixed = next((run["case"] for run in runs.get("mixed", [])), "")
    imported = next((run["case"] for run in runs.get("import", [])), "")
    spread, hot = "16 connections, spread", "16 connections, hot"
    rate, p50 = "requests_per_second", "p50_ms"
    ratio: Callable[..., float | None] = lambda part, *rest: _ratio(runs.get(part, []), *rest)  # noqa: E731
    yield "POST against the same before", ratio("post", rate, (spread, OURS), (spread, BEFORE)), 0.95
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
