"""Stills and films without a page, for many visitors at once."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mooe import MoEEPipeline
from mooe.audio import Speech
from mooe.demo.capabilities import speaking_voices
from mooe.demo.mood import mix_of
from mooe.demo.pictures import face_at, with_boxes
from mooe.demo.studio import Cancelled, Film, Progress, Studio, Wish
from mooe.emotion import EmotionMix
from mooe.errors import EmotionError
from mooe.media import read_video
from mooe.media.inspection import inspect_video
from mooe.motion.lora import add_speaker_lora, save_unet_lora

needs_speech = pytest.mark.skipif(not speaking_voices(), reason="the extra tts is not installed")
HAPPY = (0.8, 0.0, 0.0, 0.0, 0.0, 0.0)


def made(studio: Studio, wish: Wish, folder: Path) -> Film:
    folder.mkdir(exist_ok=True)
    *steps, film = studio.film(wish, folder)
    shares = [step.share for step in steps if isinstance(step, Progress)]
    assert len(shares) == len(steps)
    assert shares == sorted(shares)
    assert isinstance(film, Film)
    return film


def test_a_still_shows_the_emotion_and_only_that(studio: Studio, portrait_path: Path) -> None:
    def still(mix: EmotionMix) -> NDArray[np.uint8]:
        return studio.still(str(portrait_path), 0, mix)

    happy = mix_of(HAPPY)
    assert np.array_equal(still(happy), still(happy))
    assert np.array_equal(still(mix_of(HAPPY, 0.0)), still(EmotionMix.neutral()))
    assert not np.array_equal(still(happy), still(EmotionMix.neutral()))
    assert still(happy).shape == (256, 256, 3)


def test_faces_are_found_chosen_and_marked(studio: Studio, two_people: str) -> None:
    image = studio.picture(two_people)
    faces = studio.faces(image)
    assert len(faces) == 2
    for number, face in enumerate(faces):
        assert face_at(faces, *face.center) == number
        marked = with_boxes(image, faces, number)
        left, top, right, _ = (round(x) for x in face.box)
        assert tuple(marked[top, (left + right) // 2]) == (46, 139, 255)
    first, second = (studio.portrait(two_people, number) for number in (0, 1))
    assert first.crop.native().size > second.crop.native().size
    assert studio.portrait(two_people, 0) is first


def test_a_film_is_whole_marked_and_reported(studio: Studio, portrait_path: Path, voice: str, tmp_path: Path) -> None:
    film = made(studio, Wish(str(portrait_path), voice=voice, weights=HAPPY, seed=3), tmp_path / "one")
    with read_video(film.path) as video:
        assert sum(1 for _ in video) == len(film.gates) == 75
        assert video.info.has_audio
    assert inspect_video(film.path).pixel_mark
    content = json.loads(film.report.read_text(encoding="utf-8"))
    assert content == film.content
    assert content["seed"] == 3
    assert content["emotion"] == [{"at": 0.0, "happy": pytest.approx(0.8)}]
    again = made(studio, Wish(str(portrait_path), voice=voice, weights=HAPPY, seed=3), tmp_path / "two")
    assert again.path.read_bytes() == film.path.read_bytes()


def test_keyframes_take_the_place_of_the_sliders(
    studio: Studio, portrait_path: Path, voice: str, tmp_path: Path
) -> None:
    sad = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    wish = Wish(str(portrait_path), voice=voice, weights=HAPPY, keyframes=((2.0, sad), (1.0, HAPPY)))
    film = made(studio, wish, tmp_path / "film")
    assert [entry["at"] for entry in film.content["emotion"]] == [1.0, 2.0]
    constant = made(studio, Wish(str(portrait_path), voice=voice, keyframes=((0.5, sad),)), tmp_path / "held")
    plain = made(studio, Wish(str(portrait_path), voice=voice, weights=sad), tmp_path / "plain")
    assert constant.path.read_bytes() == plain.path.read_bytes()
    with pytest.raises(EmotionError):
        Wish(None, keyframes=((1.0, HAPPY), (1.0, sad))).emotion()


def test_visitors_at_the_same_time_get_what_they_would_get_alone(
    studio: Studio, portrait_path: Path, voice: str, tmp_path: Path
) -> None:
    wishes = [Wish(str(portrait_path), voice=voice, weights=tuple(np.roll(HAPPY, k)), seed=k) for k in range(2)]
    alone = [made(studio, wish, tmp_path / f"alone{k}").path.read_bytes() for k, wish in enumerate(wishes)]
    together: dict[int, bytes] = {}

    def visit(number: int) -> None:
        together[number] = made(studio, wishes[number], tmp_path / f"together{number}").path.read_bytes()

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(2)]
    for visitor in visitors:
        visitor.start()
    while any(visitor.is_alive() for visitor in visitors):
        studio.still(str(portrait_path), 0, mix_of(HAPPY))
    assert [together[0], together[1]] == alone


def test_a_stopped_film_leaves_nothing(studio: Studio, portrait_path: Path, voice: str, tmp_path: Path) -> None:
    folder = tmp_path / "film"
    folder.mkdir()
    seen: list[Progress | Film] = []
    with pytest.raises(Cancelled):
        for step in studio.film(Wish(str(portrait_path), voice=voice), folder, lambda: bool(seen and seen[-1].share)):
            seen.append(step)
    assert any(isinstance(step, Progress) and 0 < step.share < 1 for step in seen)
    assert not list(folder.iterdir())
    half = studio.film(Wish(str(portrait_path), voice=voice), folder)
    while next(half).share == 0:  # type: ignore[union-attr]
        pass
    assert list(folder.iterdir())
    half.close()  # type: ignore[attr-defined]
    assert not list(folder.iterdir())


@needs_speech
def test_typed_speech_brings_the_times_of_its_phones(studio: Studio, portrait_path: Path, tmp_path: Path) -> None:
    wish = Wish(str(portrait_path), text="Good morning.", voice="not looked at")
    spoken = studio.voice(wish).audio
    assert isinstance(spoken, Speech)
    assert spoken.phones
    film = made(studio, wish, tmp_path / "film")
    assert np.array_equal(film.waveform, spoken.waveform)
    whole = studio.portrait(str(portrait_path))
    stream = MoEEPipeline.from_pretrained("debug").stream(whole, spoken, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(film.gates, np.concatenate([chunk.gates for chunk in stream]))


def test_a_speaker_changes_the_film_by_its_weight(portrait_path: Path, voice: str, tmp_path: Path) -> None:
    pipeline = MoEEPipeline.from_pretrained("debug")
    add_speaker_lora(pipeline.unet, rank=2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in pipeline.unet.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    save_unet_lora(pipeline.unet, tmp_path / "ann", blink_length=1.5)
    with closing(Studio(MoEEPipeline.from_pretrained("debug"), {"ann": tmp_path / "ann"})) as studio:
        wishes = [Wish(str(portrait_path), voice=voice)]
        wishes += [replace(wishes[0], speaker="ann", speaker_weight=weight) for weight in (0.0, 1.0)]
        plain, none, full = (made(studio, w, tmp_path / f"{k}").path.read_bytes() for k, w in enumerate(wishes))
        assert plain == none
        assert plain != full
        assert studio.speakers == ("ann",)
