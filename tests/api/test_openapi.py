"""The OpenAPI document: what it says is what the service does, and its examples are real."""

import importlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import schemathesis
from django.test import Client
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, settings
from schemathesis import Case

from fizzbuzz import database_setup
from fizzbuzz.models import IdempotencyKey, Submission
from fizzbuzz_site.wsgi import application
from tests.marks import commits

pytestmark = commits

GENERATOR = shutil.which("openapi-python-client")

served = schemathesis.openapi.from_wsgi("/api/schema?format=json", application, headers={"Host": "localhost"})


@served.hook
def filter_body(context: Any, body: Any) -> bool:
    return not _differs_from_schema(body)


@served.hook
def filter_query(context: Any, query: Any) -> bool:
    may_be_reversed = {"since", "until"} <= (query or {}).keys()  # which the schema can't exclude
    return not may_be_reversed and not _differs_from_schema(query)


def _differs_from_schema(value: Any) -> bool:
    """To JSON Schema 15.0 is an integer, and "15" is none: the service differs, as the document says."""
    if isinstance(value, dict | list):
        return any(map(_differs_from_schema, value.values() if isinstance(value, dict) else value))
    if isinstance(value, str):
        return value.lstrip("+-").isdecimal()
    return isinstance(value, float) and value.is_integer()


# Of each operation.
EXAMPLES = settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


@served.parametrize()
@settings(EXAMPLES)
def test_service_conforms_to_the_document(case: Case) -> None:
    check(case)


@pytest.mark.slow
@served.parametrize()
@settings(EXAMPLES, max_examples=200)
def test_service_conforms_to_the_document_in_many_examples(case: Case) -> None:
    check(case)


def check(case: Case) -> None:
    IdempotencyKey.objects.all().delete()  # a key that is used again with another body is rejected
    case.call_and_validate(headers={"Host": "localhost"})


@pytest.fixture
def document(client: Client) -> Any:
    return client.get("/api/schema?format=json").json()


def operations_of(document: Any) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def test_document_describes_every_operation(document: Any) -> None:
    operations = operations_of(document)
    schemas = document["components"]["schemas"]

    validate_schema(document)  # type: ignore[no-untyped-call]  # drf-spectacular has no annotations
    assert (document["openapi"], document["servers"]) == ("3.1.0", [{"url": "/", "description": "This service"}])
    assert "contact" not in document["info"]  # without FEEDBACK_URL
    assert {name: sorted(each["responses"]) for name, each in operations.items()} == {
        "GET /api/fizzbuzz": ["200", "400", "404", "406", "503"],
        "POST /api/fizzbuzz": ["201", "400", "406", "408", "409", "411", "413", "415", "422", "429", "503"],
        "GET /api/fizzbuzz/{id}": ["200", "404", "406", "503"],
        "POST /api/fizzbuzz/batch": ["201", "400", "406", "408", "409", "411", "413", "415", "422", "429", "503"],
        "GET /api/most_common": ["200", "304", "400", "406", "412", "429", "503"],
        "GET /api/numbers/{number}": ["200", "404", "406", "503"],
        "GET /info": ["200", "503"],
        "GET /health": ["200", "503"],
        "GET /health/live": ["200"],
    }
    bodies = [list(each["requestBody"]["content"]) for each in operations.values() if "requestBody" in each]
    assert bodies == [["application/json"], ["application/json"]]
    assert {each["name"] for each in document["tags"]} == {tag for each in operations.values() for tag in each["tags"]}
    # No docstrings of base classes.
    described = {name: schema["description"] for name, schema in schemas.items() if "description" in schema}
    assert described == {"Problem": "An error, as problem details (RFC 9457)."}


def test_failed_health_check_matches_its_schema(client: Client, document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_setup, "sequence_status", lambda database: "behind the log")

    response = client.get("/health")

    content = document["paths"]["/health"]["get"]["responses"]["503"]["content"]
    assert response.status_code == 503
    jsonschema.validate(response.json(), content[response["Content-Type"]]["schema"])


@pytest.mark.slow
@pytest.mark.skipif(not GENERATOR, reason="needs a generator of clients: pip install openapi-python-client")
def test_generated_client_submits_a_plain_value(document: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "document.json").write_text(json.dumps(document))
    (tmp_path / "configuration.json").write_text('{"post_hooks": []}')
    options = ["--path", "document.json", "--config", "configuration.json", "--output-path", "generated", "--meta=none"]
    subprocess.run([GENERATOR or "", "generate", *options], cwd=tmp_path, check=True)
    monkeypatch.syspath_prepend(tmp_path)
    generated, models = importlib.import_module("generated"), importlib.import_module("generated.models")
    create = importlib.import_module("generated.api.fizzbuzz.fizzbuzz_create")
    transport = httpx.WSGITransport(application)

    with generated.Client("http://localhost", httpx_args={"transport": transport}) as client:
        submission = create.sync(client=client, body=models.Submit(number=2**53 + 1))

    assert (submission.number, Submission.objects.get().number) == (2**53 + 1, 2**53 + 1)


def test_examples_fit_their_schemas_and_equal_the_responses(client: Client, document: Any) -> None:
    bodies = {
        f"{name} {part}": body
        for name, operation in operations_of(document).items()
        for part, body in {"request": operation.get("requestBody", {}), **operation["responses"]}.items()
    }
    examples = {}
    for name, body in bodies.items():
        for content in body.get("content", {}).values():
            for example in content.get("examples", {}).values():
                jsonschema.validate(example["value"], content["schema"] | {"components": document["components"]})
                examples[name] = example["value"]

    sent = examples["POST /api/fizzbuzz request"]
    first, _ = (client.post("/api/fizzbuzz", sent, "application/json").json() for _ in range(2))
    assert len(examples) == 8
    assert first == examples["POST /api/fizzbuzz 201"] | {"id": first["id"], "created_at": first["created_at"]}
    assert client.get("/api/numbers/15").json() == examples["GET /api/numbers/{number} 200"]
    assert client.get("/api/most_common").json() == examples["GET /api/most_common 200"]
    batch = client.post("/api/fizzbuzz/batch", examples["POST /api/fizzbuzz/batch request"], "application/json").json()
    assert [each["kind"] for each in batch] == ["Fizz", "Buzz", "FizzBuzz", "Number"]


def test_docs_page_loads_the_document_from_this_site(client: Client) -> None:
    page = client.get("/docs").text

    assert 'data-schema="/api/schema?format=json"' in page
    assert "://" not in page
    assert client.get("/api/schema")["Content-Type"] == "application/vnd.oai.openapi; charset=utf-8"
