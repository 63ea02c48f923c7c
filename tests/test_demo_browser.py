"""The demo as a visitor uses it, in a real headless Chromium.

Needs the extra `browser` and Debian's chromium. With MOOE_SCREENSHOTS=FOLDER it leaves pictures of the page there.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from demo_films import film_of_a_face
from demo_server import DemoServer, demo_server
from PIL import Image

from mooe.demo.limits import MAX_UPLOAD_MB
from mooe.emotion import EMOTIONS
from mooe.media import read_video
from mooe.media.inspection import inspect_video

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("gradio", reason="the extra demo (gradio) is not installed")
playwright_api = pytest.importorskip("playwright.sync_api", reason="the extra browser (playwright) is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install -y chromium"),
    pytest.mark.slow,
]
WAIT = 180_000  # milliseconds; a busy machine is slow, and a test that fails costs more than one that waits
WriteWav = Callable[..., Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    with demo_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, server: DemoServer) -> Iterator[Callable[..., Page]]:
    """Opens the page and waits for its first still: open_page(**settings of the browser context)."""
    contexts = []

    def open_it(**settings: object) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1300, "height": 1700}} | settings))  # type: ignore
        contexts.append(context)
        page: Page = context.new_page()
        page.set_default_timeout(WAIT)
        page.goto(server.url)
        # a phone loads the still when it is scrolled to
        page.locator("#preview").scroll_into_view_if_needed()
        page.wait_for_selector("#preview img")
        page.wait_for_selector("#timeline .wave")
        return page

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture
def short_voice(write_wav: WriteWav) -> str:
    return str(write_wav(np.random.default_rng(0).standard_normal(24_000) * 0.1, "voice.wav"))


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


def test_upload_slide_generate(
    open_page: Callable[..., Page], examples: Path, short_voice: str, tmp_path: Path
) -> None:
    page = open_page()
    upload(page, "#portrait", str(examples / "portraits" / "astronaut.png"))
    upload(page, "#voice", short_voice)
    says(page, "#timeline .axis", "1.5 s")
    before = page.get_attribute("#preview img", "src")
    slide(page, "happy", 0.5)
    slide(page, "surprised", 0.5)
    says(page, "#mood", "happily surprised, 100 %")
    until(page, "src => document.querySelector('#preview img').src != src", before)
    page.click("#make")
    page.wait_for_selector("#film video")
    until(page, "() => document.querySelector('#film video')?.readyState >= 2")
    says(page, "#status", "Done")
    playing = page.evaluate(
        "() => { const v = document.querySelector('#film video'); return [v.videoWidth, v.duration] }"
    )
    assert playing == [512, pytest.approx(1.5, abs=0.05)]
    assert page.locator("#gates polygon").count() == len(EMOTIONS)
    assert page.locator("#timeline .gates polygon").count() == len(EMOTIONS)
    page.wait_for_selector("#before img")
    shoot(page, "film")
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(tmp_path / "film.mp4")
    with read_video(tmp_path / "film.mp4") as video:
        assert video.info.has_audio
    assert inspect_video(tmp_path / "film.mp4").pixel_mark


def test_an_example_is_taken_by_its_button(open_page: Callable[..., Page]) -> None:
    page = open_page()
    before = page.get_attribute("#preview img", "src")
    page.get_by_role("button", name="Eileen Collins").click()
    until(page, "src => document.querySelector('#preview img')?.src != src", before)
    until(page, "() => document.querySelector('#faces img')?.naturalHeight == 512")


def test_cancelling_stops_and_the_next_film_comes(
    open_page: Callable[..., Page], server: DemoServer, write_wav: WriteWav, short_voice: str
) -> None:
    page = open_page()
    minute = write_wav(np.random.default_rng(0).standard_normal(55 * 4000) * 0.1, "minute.wav", 4000)
    upload(page, "#voice", str(minute))
    says(page, "#timeline .axis", "55.0 s")
    page.click("#make")
    until(page, "() => /Animating · [1-9]/.test(document.querySelector('#status')?.innerText)")
    shoot(page, "progress")
    page.click("#cancel")
    says(page, "#status", "Stopped")
    deadline = time.monotonic() + 60
    while list(server.folder.rglob("films/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not list(server.folder.rglob("films/*"))
    upload(page, "#voice", short_voice)
    says(page, "#timeline .axis", "1.5 s")
    page.click("#make")
    says(page, "#status", "Done")


def test_a_film_of_a_face_moves_the_portrait(
    open_page: Callable[..., Page], server: DemoServer, examples: Path, tmp_path: Path
) -> None:
    page = open_page()
    page.get_by_role("button", name="Or let a film of a face move the portrait").click()
    page.click("#reenact")
    assert "no film of a face yet" in errors(page)[0]
    upload(page, "#driving", str(film_of_a_face(examples / "portraits" / "astronaut.png", tmp_path / "face.mp4", 100)))
    page.wait_for_selector("#driving video")
    page.click("#reenact")
    until(page, "() => /[1-9]/.test(document.querySelector('#reenact-status')?.innerText)")
    page.click("#reenact-cancel")
    says(page, "#reenact-status", "Stopped")
    deadline = time.monotonic() + 60
    while list(server.folder.rglob("films/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not list(server.folder.rglob("films/*"))
    page.click("#reenact")
    says(page, "#reenact-status", "Done")
    until(page, "() => document.querySelector('#driven-film video')?.readyState >= 2")
    assert page.evaluate("document.querySelector('#driven-film video').duration") == pytest.approx(4, abs=0.1)
    shoot(page, "reenactment")


def test_leaving_the_page_stops_its_film(
    open_page: Callable[..., Page], server: DemoServer, write_wav: WriteWav
) -> None:
    page = open_page()
    minute = write_wav(np.random.default_rng(0).standard_normal(55 * 4000) * 0.1, "minute.wav", 4000)
    upload(page, "#voice", str(minute))
    says(page, "#timeline .axis", "55.0 s")
    page.click("#make")
    until(page, "() => /Animating · [1-9]/.test(document.querySelector('#status')?.innerText)")
    page.close()
    deadline = time.monotonic() + 60
    while list(server.folder.rglob("films/*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not list(server.folder.rglob("films/*"))


def test_what_cannot_be_used_is_answered_with_a_sentence(
    open_page: Callable[..., Page], tmp_path: Path, write_wav: WriteWav
) -> None:
    page = open_page()
    (tmp_path / "text.png").write_text("not a picture")
    Image.new("RGB", (300, 300), (90, 120, 60)).save(tmp_path / "meadow.png")
    with (tmp_path / "large.png").open("wb") as large:
        large.truncate(200_000_000)
    for name, words in (
        ("text.png", "not a picture"),
        ("meadow.png", "No face"),
        ("large.png", "maximum allowed size"),
    ):
        upload(page, "#portrait", str(tmp_path / name))
        shown = errors(page)
        assert len(shown) == 1, shown
        assert words in shown[0]
        assert str(tmp_path) not in shown[0]
    assert MAX_UPLOAD_MB < 200
    upload(page, "#voice", str(write_wav(np.zeros(600 * 4000), "ten minutes.wav", 4000)))
    assert "longer than 60 seconds" in errors(page)[0]
    page.click("#make")
    assert errors(page)
    assert page.is_enabled("#make")


def test_the_wheel_and_the_sliders_agree(open_page: Callable[..., Page]) -> None:
    page = open_page()
    box = page.locator("#wheel svg").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 0.3 * box["height"])
    says(page, "#mood", "happy")
    chosen = weights(page)
    assert chosen["happy"] == pytest.approx(0.2 * 360 / 108, abs=0.03)
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
