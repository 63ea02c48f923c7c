"""The demo as a visitor uses it, in a real headless Chromium: from the upload to the film, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from demo_films import film_of_a_face
from demo_server import DemoServer
from PIL import Image
from visitor import WAIT, errors, says, shoot, slide, until, upload

from mooe.demo.limits import MAX_UPLOAD_MB
from mooe.emotion import EMOTIONS
from mooe.media import read_video
from mooe.media.inspection import inspect_video

pytest.importorskip("gradio", reason="the extra demo (gradio) is not installed")
from gradio_client import Client, handle_file

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
WriteWav = Callable[..., Path]
LATE_ANSWERS = """{
  const fetched = window.fetch;
  window.fetch = async (...asked) => {
    const answer = await fetched(...asked);
    if (!String(asked[0].url ?? asked[0]).includes("queue/data")) return answer;
    const late = new TransformStream({
      transform: async (part, on) => { await new Promise((go) => setTimeout(go, 2000)); on.enqueue(part); },
    });
    return new Response(answer.body.pipeThrough(late), answer);
  };
}"""
"""Every part of the server's stream of answers reaches the page two seconds after it was sent."""


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
    until(page, "() => !document.querySelector('#make').disabled")
    assert page.inner_text("#make") == "Make the film"
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


def test_a_picture_that_replaces_another_is_looked_at_when_the_server_is_busy(
    open_page: Callable[..., Page], server: DemoServer, examples: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    page = open_page()
    with closing(Client(server.url, verbose=False)) as another:
        portrait = handle_file(str(examples / "portraits" / "astronaut.png"))
        jobs = [another.submit(portrait, api_name="/faces") for _ in range(8)]
        upload(page, "#portrait", str(tmp_path / "text.png"))
        assert "not a picture" in errors(page)[0]
        for job in jobs:
            assert len(job.result(timeout=WAIT / 1000)) == 1


def test_two_films_of_a_visitor_are_cancelled_each_by_its_button(
    open_page: Callable[..., Page], examples: Path, short_voice: str, write_wav: WriteWav, tmp_path: Path
) -> None:
    page = open_page()
    minute = write_wav(np.random.default_rng(0).standard_normal(55 * 4000) * 0.1, "minute.wav", 4000)
    upload(page, "#voice", str(minute))
    says(page, "#timeline .axis", "55.0 s")
    page.get_by_role("button", name="Or let a film of a face move the portrait").click()
    upload(page, "#driving", str(film_of_a_face(examples / "portraits" / "astronaut.png", tmp_path / "face.mp4", 20)))
    page.wait_for_selector("#driving video")
    page.click("#make")
    says(page, "#status", "Animating")
    page.click("#reenact")
    says(page, "#reenact-status", "Waiting: 1 film comes first")
    page.click("#reenact-cancel")
    says(page, "#reenact-status", "Stopped")
    page.click("#reenact")
    says(page, "#reenact-status", "Waiting: 1 film comes first")
    assert page.is_disabled("#make")
    page.click("#cancel")
    says(page, "#status", "Stopped")
    says(page, "#reenact-status", "Done")


def test_what_replaces_another_upload_is_taken_where_answers_come_late(
    open_page: Callable[..., Page], short_voice: str, two_people: str
) -> None:
    page = open_page(script=LATE_ANSWERS)
    upload(page, "#voice", short_voice)
    says(page, "#timeline .axis", "1.5 s")
    before = page.get_attribute("#preview img", "src")
    upload(page, "#portrait", two_people)
    until(page, "() => document.querySelectorAll('#face input').length == 2")
    until(page, "src => (document.querySelector('#preview img')?.src ?? src) != src", before)


def test_three_people_at_once_all_get_their_film(open_page: Callable[..., Page], short_voice: str) -> None:
    pages = [open_page() for _ in range(3)]
    for page, strength in zip(pages, (0.3, 0.6, 0.9), strict=True):
        upload(page, "#voice", short_voice)
        says(page, "#timeline .axis", "1.5 s")
        slide(page, "happy", strength)
        says(page, "#mood", f"happy, {100 * strength:.0f} %")
    for page in pages:
        page.click("#make")
    films = set()
    for page in pages:
        page.wait_for_selector("#film video")
        says(page, "#status", "Done")
        films.add(page.get_attribute("#film video", "src"))
    assert len(films) == 3


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
