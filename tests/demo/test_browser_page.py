"""The page in a real headless Chromium: its fields, its looks, its use by keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from demo_server import DemoServer
from PIL import Image
from visitor import WAIT, keyframes, says, shoot, slide, until, upload, weights

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow


def test_the_wheel_and_the_sliders_agree(open_page: Callable[..., Page]) -> None:
    page = open_page()
    box = page.locator("#wheel svg").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 0.3 * box["height"])
    says(page, "#mood", "happy")
    chosen = weights(page)
    assert chosen["happy"] == pytest.approx(0.2 * 360 / 140, abs=0.03)
    assert sum(chosen.values()) == pytest.approx(chosen["happy"], abs=0.03)
    slide(page, "happy", 0)
    slide(page, "fearful", 1)
    until(page, "() => document.querySelector('#wheel svg').getAttribute('aria-label').includes('fearful')")
    shoot(page, "wheel")


def test_keyframes_are_set_dragged_changed_and_removed(open_page: Callable[..., Page]) -> None:
    page = open_page()
    slide(page, "sad", 0.8)
    says(page, "#mood", "sad")
    wave = page.locator("#timeline .wave")
    wave.scroll_into_view_if_needed()
    box = wave.bounding_box()
    assert box is not None
    seconds = float(page.inner_text("#timeline .axis").split()[-2])

    def at(share: float) -> tuple[float, float]:
        return box["x"] + share * box["width"], box["y"] + 0.8 * box["height"]

    page.mouse.click(*at(0.2))
    page.wait_for_selector('[data-key="0"].chosen')
    page.mouse.click(*at(0.6))
    page.wait_for_selector('[data-key="1"].chosen')
    assert [(name, pytest.approx(time, abs=0.1)) for name, time in keyframes(page)] == [
        ("sad", 0.2 * seconds),
        ("sad", 0.6 * seconds),
    ]
    slide(page, "sad", 0)
    slide(page, "angry", 1)
    until(page, "() => document.querySelector('[data-key=\"1\"]')?.getAttribute('aria-label')?.includes('angry')")
    page.mouse.move(*at(0.6))
    page.mouse.down()
    page.mouse.move(*at(0.1), steps=5)
    page.mouse.up()
    until(page, "() => document.querySelector('[data-key=\"0\"]')?.getAttribute('aria-label')?.includes('angry')")
    assert [name for name, _ in keyframes(page)] == ["angry", "sad"]
    first = keyframes(page)[0][1]
    page.locator('[data-key="0"]').focus()
    page.keyboard.press("ArrowRight")
    until(page, "was => Number(document.querySelector('[data-key=\"0\"]')?.ariaValueNow) > was", first)
    shoot(page, "timeline")
    page.locator('[data-key="1"]').focus()
    page.keyboard.press("Enter")
    says(page, "#mood", "sad")
    page.locator('[data-key="1"]').focus()
    page.keyboard.press("Delete")
    until(page, "() => document.querySelectorAll('[data-key]').length == 1")
    page.click("#clear")
    until(page, "() => document.querySelectorAll('[data-key]').length == 0")


def test_one_of_several_faces_is_chosen_by_a_click(
    open_page: Callable[..., Page], tmp_path: Path, portrait_path: Path
) -> None:
    one = Image.open(portrait_path).convert("RGB")
    both = Image.new("RGB", (2 * one.width, one.height))
    both.paste(one, (0, 0))
    both.paste(one.resize((one.width * 3 // 4, one.height * 3 // 4)), (one.width, 0))
    both.save(tmp_path / "both.png")
    page = open_page()
    upload(page, "#portrait", str(tmp_path / "both.png"))
    until(page, "() => document.querySelectorAll('#face input').length == 2")
    until(
        page, "() => { const i = document.querySelector('#faces img'); return i && i.naturalWidth > i.naturalHeight }"
    )
    before = page.get_attribute("#preview img", "src")
    picture = page.locator("#faces img").bounding_box()
    assert picture is not None
    page.mouse.click(picture["x"] + 0.7 * picture["width"], picture["y"] + 0.5 * picture["height"])
    until(page, "() => document.querySelectorAll('#face input')[1].checked")
    until(page, "src => document.querySelector('#preview img').src != src", before)
    shoot(page, "faces")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(open_page: Callable[..., Page], scheme: str) -> None:
    size = {"width": 390, "height": 844}
    page = open_page(viewport=size, color_scheme=scheme, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for component in ("#portrait", "#voice", "#timeline", "#wheel", "#preview", "#make", "#film", "#emotion-happy"):
        box = page.locator(component).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    shoot(page, f"phone-{scheme}")


def test_nothing_jumps_while_a_film_is_made(open_page: Callable[..., Page], short_voice: str) -> None:
    page = open_page()
    upload(page, "#voice", short_voice)
    says(page, "#timeline .axis", "1.5 s")
    places = """() => ['#preview', '#make', '#status', '#film', '#download', '#timeline', '#seed'].map(
        name => Math.round(document.querySelector(name).getBoundingClientRect().top))"""
    before = page.evaluate(places)
    slide(page, "angry", 1)
    says(page, "#mood", "angry")
    assert page.evaluate(places) == before
    page.click("#make")
    says(page, "#status", "Animating")
    assert page.evaluate(places) == before
    says(page, "#status", "Done")
    page.wait_for_selector("#film video")
    assert page.evaluate(places) == before


def test_everything_has_a_name_and_is_reached_by_keyboard(open_page: Callable[..., Page]) -> None:
    page = open_page()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, select, [role=slider]')].filter(e => {
            if (!e.offsetParent || e.type == 'file') return false;
            const labels = e.labels && e.labels.length ? e.labels[0].innerText : '';
            const named = e.ariaLabel || e.title || e.innerText || e.placeholder || e.getAttribute('aria-labelledby');
            return !(named || labels || e.querySelector('img')?.alt);
        }).map(e => e.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    reached: set[str] = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.closest('[id]')?.id || ''"))
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"make", "cancel", "clear"} <= reached
    pictures = page.evaluate("() => [...document.querySelectorAll('img')].filter(i => i.alt === null).length")
    assert pictures == 0


def test_the_page_fetches_nothing_from_elsewhere(browser: Browser, server: DemoServer) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(WAIT)
    page.goto(server.url)
    page.wait_for_selector("#preview img")
    own = (server.url, "data:", "blob:")
    foreign = [url for url in asked if not url.startswith(own)]
    context.close()
    assert foreign == []
