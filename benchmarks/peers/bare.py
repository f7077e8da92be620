"""FastAPI on a bare asyncpg pool: the minimal implementation, without an ORM, metrics or HTML pages."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field

from benchmarks.peers.rules import kind, result

INSERT = "INSERT INTO fizzbuzz_submission (number) VALUES ($1) RETURNING id, created_at"
MOST_COMMON = """
    SELECT number, count(*) FROM fizzbuzz_submission GROUP BY number ORDER BY count(*) DESC, number LIMIT $1
"""


class Submitted(BaseModel):
    number: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


async def leave_as_is(connection: Any) -> None:
    """Replace asyncpg's reset on release, which would need another round trip."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, reset=leave_as_is) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)


def json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


@app.post("/api/fizzbuzz", status_code=201)
async def submit(submitted: Submitted) -> Response:
    number = submitted.number
    row = await app.state.pool.fetchrow(INSERT, number)
    id_, created_at = row
    return json(
        {"id": id_, "number": number, "result": result(number), "kind": kind(number), "created_at": created_at},
        status=201,
    )


@app.get("/api/most_common")
async def most_common(limit: Annotated[int, Field(ge=1, le=100)] = 3) -> Response:
    rows = await app.state.pool.fetch(MOST_COMMON, limit)
    return json([{"number": number, "result": result(number), "count": count} for number, count in rows])
