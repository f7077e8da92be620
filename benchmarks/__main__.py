"""`make bench`: measures the service against its peers, and writes docs/benchmarks.md and .svg."""

import argparse
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import report
from benchmarks.parts import PARTS, QUICK, Plan
from benchmarks.postgres import postgres
from benchmarks.systems import PEERS_PYTHON


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}, report; none: all")
    parser.add_argument("--rounds", type=int, help=f"number of measurements of each system (default: {Plan.rounds})")
    parser.add_argument("--quick", action="store_true", help="check that it works; the figures are not meaningful")
    arguments = parser.parse_args()
    wanted = arguments.parts or [*PARTS, "report"]
    if unknown := set(wanted) - {*PARTS, "report"}:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    plan = QUICK if arguments.quick else Plan()
    if arguments.rounds:
        plan = replace(plan, rounds=arguments.rounds)
    for part in wanted:
        if part != "report":
            _require_tools()
            _measure(part, plan)
    if "report" in wanted:
        report.write()


def _require_tools() -> None:
    if not shutil.which("wrk"):
        sys.exit("error: wrk, the load generator, is not installed; on Debian or Ubuntu: apt install wrk")
    if not Path(PEERS_PYTHON).exists():
        sys.exit(f"error: the peers are not installed: {PEERS_PYTHON} does not exist; run make .venv-bench/made")


def _measure(part: str, plan: Plan) -> None:
    runs = []
    with postgres() as server:
        for run in PARTS[part](server, plan):
            runs.append(asdict(run))
            figures = ", ".join(f"{name} {value:,.2f}" for name, value in run.figures.items())
            print(f"{part} {run.round + 1}/{plan.rounds}: {run.case}, {run.system}: {figures}", flush=True)
    if runs:
        report.keep(part, plan.rounds, runs)


if __name__ == "__main__":
    main()
