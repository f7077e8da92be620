"""FastAPI with SQLAlchemy's async ORM and Prometheus instrumentation, as in their tutorials."""

import os
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import BigInteger, DateTime, Identity, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers import rules

engine = create_async_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"))
new_session = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()
Instrumentator().instrument(app).expose(app)


class Base(DeclarativeBase):
    pass


class Submission(Base):
    __tablename__ = "fizzbuzz_submission"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    @property
    def result(self) -> str:
        return rules.result(self.number)

    @property
    def kind(self) -> str:
        return rules.kind(self.number)


class SubmissionIn(BaseModel):
    number: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]


class SubmissionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    number: int
    result: str
    kind: str
    created_at: datetime


class NumberOut(BaseModel):
    number: int
    result: str
    count: int


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


@app.post("/api/fizzbuzz", status_code=201, response_model=SubmissionOut)
async def submit(submitted: SubmissionIn, session: Session) -> Any:
    submission = Submission(number=submitted.number)
    session.add(submission)
    await session.commit()
    return submission


@app.get("/api/most_common", response_model=list[NumberOut])
async def most_common(session: Session, limit: Annotated[int, Query(ge=1, le=100)] = 3) -> Sequence[Any]:
    counted = func.count().label("count")
    query = select(Submission.number, counted).group_by(Submission.number)
    rows = await session.execute(query.order_by(counted.desc(), Submission.number).limit(limit))
    return [{"number": number, "result": rules.result(number), "count": count} for number, count in rows]
