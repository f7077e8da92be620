"""OpenAPI description of /info and the probes, which are not DRF views."""

from typing import Any

TEXT = {"type": "string"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _get(operation_id: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"operationId": operation_id, "summary": summary, "tags": ["service"], "responses": responses}}


INFO = _object(
    name={"const": "fizzbuzz"},
    version=TEXT,
    revision=TEXT | {"description": "The deployed revision, such as a commit."},
    python=TEXT,
    django=TEXT,
    database=TEXT,
    started_at=TEXT | {"format": "date-time", "description": "Start of the worker process that responded."},
)
READY = _object(
    status={"enum": ["ok", "unavailable"]},
    checks=_object(database=TEXT, migrations=TEXT, sequence=TEXT)
    | {"additionalProperties": TEXT, "description": 'The outcome of each check: "ok", or the fault.'},
)

PATHS = {
    "/info": _get(
        "info",
        "Versions of the service and its main dependencies",
        {
            "200": _json("Versions", INFO),
            "503": {"description": "The database is unavailable", "content": {"text/html": {"schema": TEXT}}},
        },
    ),
    "/health": _get(
        "health",
        "Readiness: whether this instance can serve requests",
        {"200": _json("Ready", READY), "503": _json("Not ready", READY)},
    ),
    "/health/live": _get(
        "health_live",
        "Liveness: whether this process responds, independent of the database",
        {"200": _json("Alive", _object(status={"const": "ok"}))},
    ),
}
