"""What a visitor does on the page and sees of it, for the tests in a browser.

With MOOE_SCREENSHOTS=FOLDER they leave pictures of the page there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mooe.emotion import EMOTIONS

if TYPE_CHECKING:
    from playwright.sync_api import Page

WAIT = 180_000  # milliseconds; a busy machine is slow, and a test that fails costs more than one that waits


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("MOOE_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def upload(page: Page, component: str, path: str) -> None:
    """Clear a component of what it holds and upload a file as by its button."""
    for name in ("Remove Image", "Clear"):
        button = page.locator(f'{component} button[aria-label="{name}"]')
        if button.count():
            button.first.click()
    page.set_input_files(f"{component} input[type=file]", path)


def slide(page: Page, emotion: str, value: float) -> None:
    page.fill(f"#emotion-{emotion} input[type=number]", str(value))
    page.keyboard.press("Tab")


def weights(page: Page) -> dict[str, float]:
    return {name: float(page.input_value(f"#emotion-{name} input[type=number]")) for name in EMOTIONS}


def keyframes(page: Page) -> list[tuple[str, float]]:
    """Name and seconds of each keyframe, as a screen reader tells them."""
    found = page.locator("#timeline [data-key]").evaluate_all(
        "keys => keys.map(key => [key.getAttribute('aria-label'), Number(key.getAttribute('aria-valuenow'))])"
    )
    return [(label.partition(": ")[2], at) for label, at in found]


def errors(page: Page) -> list[str]:
    """Sentences of the errors shown, which are then closed."""
    page.wait_for_selector(".toast-body")
    shown = [text.partition("×")[2].strip() for text in page.locator(".toast-body").all_inner_texts()]
    shoot(page, "error")
    for close in page.locator(".toast-close").all():
        close.click()
    page.wait_for_selector(".toast-body", state="detached")
    return shown


def until(page: Page, condition: str, argument: object = None) -> None:
    page.wait_for_function(condition, arg=argument)


def says(page: Page, where: str, words: str) -> None:
    """Wait until a place on the page holds these words."""
    until(page, "([at, words]) => (document.querySelector(at)?.innerText ?? '').includes(words)", [where, words])
