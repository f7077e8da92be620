"""The first page, as its visitors use it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

from tests.service import Service


def field(page: Page) -> Locator:
    return page.get_by_label("Which number?")


def submit(page: Page, text: str) -> None:
    field(page).fill(text)
    field(page).press("Enter")


def answer(page: Page) -> Locator:
    return page.locator(".answer")


def count(service: Service, number: int) -> int:
    counted: int = service.request(f"/api/numbers/{number}").json()["count"]
    return counted
