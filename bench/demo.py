"""How long a visitor of the demo waits: from a slider's move to the new still, from the click to the film.

    python -m bench.demo [--seconds 5] [--repeats 5]

Drives the page of `mooe demo` in headless Chromium (extra `browser`, Debian's chromium). Beside the times on the
clock stands the processor time of the server, which tells what a machine with nothing else to do would need at least.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

from mooe.audio import load_audio
from mooe.demo import samples
from tests.demo.demo_server import DemoServer, demo_server


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the speech")
    parser.add_argument("--repeats", type=int, default=5, help="slider moves")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        demo_server(Path(folder), model=None) as server,
        sync_playwright() as playwright,
    ):
        speech = _cut(Path(folder) / "speech.wav", arguments.seconds)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1700})
        page.set_default_timeout(300_000)
        page.goto(server.url)
        page.wait_for_selector("#preview img")
        page.wait_for_selector("#timeline .wave")
        stills = [_still(page, server, 0.2 + 0.7 * k / arguments.repeats) for k in range(arguments.repeats)]
        _print("slider to still", stills)
        _print(f"click to film, {arguments.seconds:g} s of speech", [_film(page, server, speech, arguments.seconds)])
        browser.close()


def _cut(path: Path, seconds: float) -> Path:
    speech = samples.speech()
    if speech is None:
        raise FileNotFoundError("the example recording is missing: run this in a checkout")
    samples_16k = np.resize(load_audio(speech), round(seconds * 16_000))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples_16k * 32767).astype("<i2").tobytes())
    return path


def _still(page: Page, server: DemoServer, value: float) -> tuple[float, float]:
    before = page.get_attribute("#preview img", "src")
    with _Watch(server) as watch:
        page.fill("#emotion-happy input[type=number]", f"{value:.2f}")
        page.keyboard.press("Tab")
        page.wait_for_function("src => document.querySelector('#preview img')?.src != src", arg=before)
    page.wait_for_timeout(500)
    return watch.wall, watch.processor


def _film(page: Page, server: DemoServer, speech: Path, seconds: float) -> tuple[float, float]:
    page.locator('#voice button[aria-label="Clear"]').first.click()
    page.set_input_files("#voice input[type=file]", str(speech))
    ready = "words => (document.querySelector('#timeline .axis')?.innerText ?? '').includes(words)"
    page.wait_for_function(ready, arg=f"{seconds:.1f} s")
    with _Watch(server) as watch:
        page.click("#make")
        page.wait_for_function("() => document.querySelector('#film video')?.readyState >= 2")
    return watch.wall, watch.processor


class _Watch:
    """Seconds on the clock and of the server's processor time in a `with` block."""

    def __init__(self, server: DemoServer) -> None:
        self._process = psutil.Process(server.process.pid)
        self.wall = self.processor = 0.0

    def _used(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def __enter__(self) -> _Watch:
        self._start, self._begin = time.perf_counter(), self._used()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.processor = time.perf_counter() - self._start, self._used() - self._begin


def _print(title: str, times: list[tuple[float, float]]) -> None:
    wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{title}: {wall:.2f} s on the clock, {processor:.2f} s of processor time (median of {len(times)})")


if __name__ == "__main__":
    main()
