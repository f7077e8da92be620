from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from fizzbuzz import rules
from tests.browser.conftest import Visit
from tests.service import Service, serving


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    with serving(DATA_DIR=str(shared_data_dir)) as service:
        service.request("/api/fizzbuzz/batch", {"numbers": [rules.SMALLEST, rules.SMALLEST, *range(40)]})
        yield service


@pytest.fixture(params=["light", "dark"])
def page(visit: Visit, request: pytest.FixtureRequest) -> Page:
    return visit(color_scheme=request.param)


def test_statistics_are_accessible(page: Page) -> None:
    page.goto("/stats")
    page.get_by_text("Show as a table").click()

    assert [violation["id"] for violation in Axe().run(page).response["violations"]] == []
    expect(page.get_by_role("img")).to_have_accessible_name("Submissions of the last hour, by kind")
    expect(page.get_by_role("img")).to_have_accessible_description(
        "42 in all: 23 Number, 11 Fizz, 5 Buzz, 3 FizzBuzz. At most 42 per minute."
    )
