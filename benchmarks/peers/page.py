"""The usual peer with a first page: the form, the top 3, the latest, and the last hour as a chart."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates
from sqlalchemy import func, select

from benchmarks.peers import rules
from benchmarks.peers.usual import Session, Submission, app, most_common

KINDS = ("Number", "Fizz", "Buzz", "FizzBuzz")
MINUTES = 60
templates = Jinja2Templates(Path(__file__).parent)


@app.get("/")
async def home(request: Request, session: Session) -> Response:
    latest = await session.scalars(select(Submission).order_by(Submission.id.desc()).limit(7))
    context = {"top": await most_common(session), "latest": latest, "chart": await chart(session), "kinds": KINDS}
    return templates.TemplateResponse(request, "home.html", context)


async def chart(session: Session) -> dict[str, Any]:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    start = now - timedelta(minutes=MINUTES - 1)
    minute = func.date_trunc("minute", Submission.created_at).label("minute")
    remainder = (Submission.number % 15).label("remainder")
    query = select(minute, remainder, func.count()).where(Submission.created_at >= start)
    bars = [{"start": start + timedelta(minutes=place), **dict.fromkeys(KINDS, 0)} for place in range(MINUTES)]
    for begun, rest, count in await session.execute(query.group_by(minute, remainder)):
        place = int((begun - start).total_seconds() // 60)
        if place < MINUTES:  # a minute may have begun since
            bars[place][rules.kind(rest)] += count  # type: ignore[operator]  # a kind's value is a count
    highest = max(sum(bar[kind] for kind in KINDS) for bar in bars)  # type: ignore[misc]  # as above
    return {"bars": bars, "highest": max(highest, 1)}
