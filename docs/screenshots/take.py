"""Take the README's screenshots of a temporary service with an hour of sample data: python -m docs.screenshots.take."""

import os
import random
import tempfile
from math import sin
from pathlib import Path

import django
from django.db import connection
from playwright.sync_api import Page, sync_playwright

from tests.service import collect_static, serving

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
SHOTS = [
    ("first-page-phone-light", "/", None, PHONE, "light"),
    ("answer-phone-dark", "/", "1000000", PHONE, "dark"),
    ("stats-desktop-dark", "/stats", None, DESKTOP, "dark"),
]
FAVOURITES = [15] * 8 + [7] * 6 + [42] * 5 + [100] * 3 + [3, 9, 12, 30]
INSERT = """
    INSERT INTO fizzbuzz_submission (number, created_at) VALUES (%s, now() - make_interval(mins => %s, secs => %s))
"""


def main() -> None:
    collect_static()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # started by root, PostgreSQL runs as another user
        data_dir = f"{folder}/var"
        with serving(DATA_DIR=data_dir) as service, sync_playwright() as playwright:
            _fill(data_dir)
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            for name, path, number, size, scheme in SHOTS:
                page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
                page.goto(service.address + path)
                if number:
                    _submit(page, number)
                page.screenshot(path=Path(__file__).with_name(f"{name}.png"))
            browser.close()


def _fill(data_dir: str) -> None:
    os.environ |= {"DATA_DIR": data_dir, "DJANGO_SETTINGS_MODULE": "fizzbuzz_site.settings"}
    django.setup()
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright has a loop in this thread
    chance = random.Random(15)  # noqa: S311 - the same picture each time
    rows: list[tuple[int, int, int]] = [
        (chance.choice([*FAVOURITES, *range(-60, 61)]), minute, chance.randrange(60))
        for minute in range(60)
        for _ in range(int(30 + 12 * sin(minute / 7) + chance.randrange(12)))
    ]
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, sorted(rows, key=lambda row: -row[1] * 60 - row[2]))
    connection.close()


def _submit(page: Page, number: str) -> None:
    page.get_by_label("Which number?").fill(number)
    page.keyboard.press("Enter")
    page.locator("#answer .facts").wait_for()


if __name__ == "__main__":
    main()
