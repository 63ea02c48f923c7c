"""What the tests of the demo share: the studio without a page, and a visitor's browser with one.

The browser's tests need the extra `browser` and Debian's chromium.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from demo_films import FRAMES, film_of_a_face
from demo_server import DemoServer, demo_server
from PIL import Image
from visitor import WAIT

from mooe import MoEEPipeline
from mooe.demo.studio import Studio

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WriteWav = Callable[..., Path]


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    made = Studio(MoEEPipeline.from_pretrained("debug"))
    yield made
    made.close()


@pytest.fixture
def voice(write_wav: WriteWav) -> str:
    noise = np.random.default_rng(0).standard_normal(3 * 16_000) * 0.05
    return str(write_wav(noise, "voice.wav"))


@pytest.fixture(scope="module")
def driving(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_of_a_face(
        examples / "portraits" / "astronaut.png", tmp_path_factory.mktemp("driving") / "face.mp4", FRAMES
    )


@pytest.fixture
def two_people(tmp_path: Path, portrait_path: Path) -> str:
    """One person on the left, twice as large as the other on the right."""
    large = Image.open(portrait_path).convert("RGB")
    canvas = Image.new("RGB", (large.width + large.width // 2, large.height), (90, 90, 90))
    canvas.paste(large, (0, 0))
    canvas.paste(large.resize((large.width // 2, large.height // 2)), (large.width, 0))
    canvas.save(tmp_path / "two.png")
    return str(tmp_path / "two.png")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    pytest.importorskip("gradio", reason="the extra demo (gradio) is not installed")
    with demo_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="the extra browser (playwright) is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no chromium: apt-get install -y chromium")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, server: DemoServer) -> Iterator[Callable[..., Page]]:
    """Opens the page and waits for its first still: open_page(script that runs before its own, **browser settings)."""
    contexts = []

    def open_it(script: str = "", **settings: object) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1300, "height": 1700}} | settings))  # type: ignore
        contexts.append(context)
        context.add_init_script(script)
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
