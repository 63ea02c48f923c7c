"""The demo without a browser: stills and films for many at once, words for mixtures, limits, and a clean end."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from demo_films import film_of_a_face
from numpy.typing import NDArray
from PIL import Image

from mooe import MoEEPipeline
from mooe.audio import Speech
from mooe.demo.capabilities import speaking_voices
from mooe.demo.driving import MANNERS, Drive, DrivenFilm, reenact
from mooe.demo.limits import (
    MAX_FILM_SECONDS,
    MAX_SPEECH_SECONDS,
    MAX_TEXT,
    MAX_UPLOAD_MB,
    check_text,
    read_speech,
    sentence,
)
from mooe.demo.mood import WHEEL, mix_of, name_of, wheel_layout
from mooe.demo.pictures import face_at, gates_areas, gates_plot, peaks, with_boxes
from mooe.demo.server import working_folder
from mooe.demo.studio import Cancelled, Film, Progress, Studio, Wish
from mooe.emotion import COMPOUND_EMOTIONS, EMOTIONS, EmotionMix, parse_emotion
from mooe.errors import AudioError, ConfigError, EmotionError, MooeError, MotionError, PortraitError
from mooe.media import VideoWriter, read_image, read_video
from mooe.media.inspection import inspect_video
from mooe.motion.lora import add_speaker_lora, save_unet_lora

WriteWav = Callable[..., Path]
try:
    import gradio  # noqa: F401
    from gradio_client import Client, handle_file

    HAS_GRADIO = True
except ImportError:
    HAS_GRADIO = False
needs_gradio = pytest.mark.skipif(not HAS_GRADIO, reason="the extra demo (gradio) is not installed")
needs_speech = pytest.mark.skipif(not speaking_voices(), reason="the extra tts is not installed")
FRAMES = 20
HAPPY = (0.8, 0.0, 0.0, 0.0, 0.0, 0.0)


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
def driving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    portrait = Path(__file__).parent.parent / "examples" / "portraits" / "astronaut.png"
    return film_of_a_face(portrait, tmp_path_factory.mktemp("driving") / "face.mp4", FRAMES)


@pytest.fixture
def two_people(tmp_path: Path, portrait_path: Path) -> str:
    """One person on the left, twice as large as the other on the right."""
    large = Image.open(portrait_path).convert("RGB")
    canvas = Image.new("RGB", (large.width + large.width // 2, large.height), (90, 90, 90))
    canvas.paste(large, (0, 0))
    canvas.paste(large.resize((large.width // 2, large.height // 2)), (large.width, 0))
    canvas.save(tmp_path / "two.png")
    return str(tmp_path / "two.png")


def made(studio: Studio, wish: Wish, folder: Path) -> Film:
    folder.mkdir(exist_ok=True)
    *steps, film = studio.film(wish, folder)
    shares = [step.share for step in steps if isinstance(step, Progress)]
    assert len(shares) == len(steps)
    assert shares == sorted(shares)
    assert isinstance(film, Film)
    return film


def test_every_emotion_and_compound_is_called_by_its_name() -> None:
    for name in EMOTIONS:
        assert name_of(parse_emotion(f"{name}:0.6")) == f"{name}, 60 %"
    for name in COMPOUND_EMOTIONS:
        assert name_of(parse_emotion(name)) == f"{name.replace('_', ' ')}, 100 %"
    assert name_of(EmotionMix.neutral()) == "neutral"
    assert name_of(parse_emotion({"happy": 0.3, "sad": 0.3})) == "happy and sad, 60 %"


def test_the_wheel_holds_everything_the_taxonomy_has() -> None:
    layout: dict[str, Any] = wheel_layout()
    assert sorted(WHEEL) == sorted(EMOTIONS)
    assert [EMOTIONS[entry["slider"]] for entry in layout["emotions"]] == list(WHEEL)
    assert len(layout["compounds"]) == len(COMPOUND_EMOTIONS)
    neighbours = {frozenset((a, b)) for a, b in zip(WHEEL, WHEEL[1:] + WHEEL[:1], strict=True)}
    assert neighbours <= {frozenset(shares) for shares in COMPOUND_EMOTIONS.values()}


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


@pytest.mark.parametrize("manner", MANNERS)
def test_a_film_of_a_face_moves_the_portrait(
    studio: Studio, portrait_path: Path, driving: Path, manner: str, tmp_path: Path
) -> None:
    *steps, film = reenact(studio, Drive(str(portrait_path), str(driving), manner=manner), tmp_path)
    shares = [step.share for step in steps if isinstance(step, Progress)]
    assert shares == sorted(shares)
    assert isinstance(film, DrivenFilm)
    assert json.loads(film.report.read_text(encoding="utf-8")) == film.content
    with read_video(film.path) as video:
        frames = np.stack(list(video))
        assert video.info.has_audio
    assert len(frames) == film.content["frames"] == FRAMES
    assert np.ptp(frames.astype(int), axis=0).max() > 40
    assert inspect_video(film.path).pixel_mark


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_a_stopped_reenactment_leaves_nothing(
    studio: Studio, portrait_path: Path, driving: Path, share: float, tmp_path: Path
) -> None:
    seen = [0.0]
    steps = reenact(studio, Drive(str(portrait_path), str(driving)), tmp_path, lambda: seen[-1] > share)
    with pytest.raises(Cancelled):
        for step in steps:
            assert isinstance(step, Progress)
            seen.append(step.share)
    assert not list(tmp_path.iterdir())


def test_films_that_cannot_drive_are_refused_in_sentences(
    studio: Studio, portrait_path: Path, driving: Path, tmp_path: Path, write_wav: WriteWav
) -> None:
    (tmp_path / "text.mp4").write_text("not a film")
    with VideoWriter(tmp_path / "meadow.mp4", 64, 64) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
    with VideoWriter(tmp_path / "long.mp4", 64, 64, fps=1) as writer:
        for _ in range(round(MAX_FILM_SECONDS) + 2):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    folder = tmp_path / "film"
    folder.mkdir()
    good = Drive(str(portrait_path), str(driving))
    cases: list[tuple[dict[str, Any], type[MooeError], str]] = [
        ({"portrait": None}, PortraitError, "no portrait yet"),
        ({"film": None}, MotionError, "no film of a face yet"),
        ({"film": str(tmp_path / "text.mp4")}, MooeError, "give a video file"),
        ({"film": str(write_wav(np.zeros(16_000)))}, MooeError, "no picture track"),
        ({"film": str(tmp_path / "meadow.mp4")}, PortraitError, "No face"),
        ({"film": str(tmp_path / "long.mp4")}, MotionError, "longer than 30 seconds"),
        ({"manner": "sideways"}, ConfigError, "use relative"),
    ]
    for change, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            list(reenact(studio, replace(good, **change), folder))
        assert "/" not in sentence(caught.value)
        assert not list(folder.iterdir())


def test_bad_inputs_are_refused_in_sentences(
    studio: Studio, portrait_path: Path, voice: str, tmp_path: Path, write_wav: WriteWav
) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "text.wav").write_text("not a sound")
    (tmp_path / "large.png").touch()
    with (tmp_path / "large.png").open("r+b") as file:
        file.truncate(MAX_UPLOAD_MB * 2**20 + 1)
    Image.new("RGB", (300, 300), (90, 120, 60)).save(tmp_path / "meadow.png")
    long = str(write_wav(np.zeros(round((MAX_SPEECH_SECONDS + 2) * 4000)), "long.wav", 4000))
    good = {"portrait": str(portrait_path), "voice": voice}
    cases: list[tuple[dict[str, Any], type[MooeError], str]] = [
        ({"portrait": None}, PortraitError, "no portrait yet"),
        ({"portrait": str(tmp_path / "text.png")}, PortraitError, "not a picture"),
        ({"portrait": str(tmp_path / "large.png")}, PortraitError, f"more than {MAX_UPLOAD_MB} MB"),
        ({"portrait": str(tmp_path / "meadow.png")}, PortraitError, "No face"),
        ({"face": 5}, PortraitError, "no face number 5"),
        ({"voice": None}, AudioError, "no voice yet"),
        ({"voice": str(tmp_path / "text.wav")}, AudioError, "not a sound file"),
        ({"voice": long}, AudioError, "longer than 60 seconds"),
        ({"text": "a" * (MAX_TEXT + 1)}, ConfigError, "shorten it"),
        ({"weights": (2.0, 0, 0, 0, 0, 0)}, EmotionError, "between 0 and 1"),
        ({"intensity": 3.0}, EmotionError, "between 0 and 1"),
        ({"keyframes": ((-1.0, HAPPY),)}, EmotionError, "Keyframe times"),
        ({"controls": {"head_motion": 9}}, ConfigError, "out of range"),
        ({"speaker": "nobody"}, ConfigError, "choose one from the list"),
    ]
    folder = tmp_path / "film"
    folder.mkdir()
    for change, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            list(studio.film(Wish(**(good | change)), folder))
        said = sentence(caught.value)
        assert str(tmp_path) not in said
        assert "/" not in said.replace("NAME/", "")
        assert not list(folder.iterdir())


def test_long_recordings_are_not_decoded_to_their_end(tmp_path: Path, write_wav: WriteWav) -> None:
    assert check_text("  hello ") == "hello"
    exactly = write_wav(np.zeros(round(MAX_SPEECH_SECONDS * 4000)), "minute.wav", 4000)
    assert len(read_speech(str(exactly))) == pytest.approx(MAX_SPEECH_SECONDS * 16_000, rel=0.001)


def test_pictures_of_gates_and_waveform() -> None:
    gates = np.zeros((50, 6), np.float32)
    gates[:25, 0] = gates[25:, 1] = 1
    drawn = gates_areas(gates)
    assert drawn.count("<polygon") == 6
    assert "happy 50 %" in drawn
    assert "2.0 s" in gates_plot(gates)
    assert "neutral" in gates_plot(np.zeros((50, 6), np.float32))
    assert gates_areas(np.zeros((0, 6), np.float32)) == ""
    assert max(peaks(np.linspace(0, 0.5, 9000, dtype=np.float32))) == 1
    assert set(peaks(np.zeros(9000, np.float32))) == {0}
    assert len(peaks(np.ones(30, np.float32))) <= 200


def test_folders_of_killed_processes_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    running = working_folder()
    left = tmp_path / "mooe-demo-4194304-abc"  # larger than any process number of Linux
    (left / "films").mkdir(parents=True)
    another = working_folder()
    assert running.is_dir()
    assert another.is_dir()
    assert not left.exists()


@needs_gradio
def test_only_controls_that_work_are_on_the_page(studio: Studio, tmp_path: Path) -> None:
    from mooe.demo.page import build

    text = json.dumps(build(studio, tmp_path).get_config_file(), default=str)
    for name, there in {
        '"prompt"': True,
        '"action-units"': True,
        '"tts-voice"': bool(studio.voices),
        '"speaker"': bool(studio.speakers),
        '"head-motion"': True,
        '"from-voice"': True,
        '"timeline"': True,
        '"driving"': True,
    }.items():
        assert (name in text) == there, name


@needs_gradio
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
def test_programs_wait_in_turn_and_a_killed_server_leaves_nothing(
    tmp_path: Path, portrait_path: Path, voice: str, driving: Path, write_wav: WriteWav
) -> None:
    from demo_server import demo_server

    (tmp_path / "text.png").write_text("not a picture")
    not_a_film = tmp_path / "text.mp4"
    not_a_film.write_text("not a film")
    long = write_wav(np.zeros(600 * 4000), "ten minutes.wav", 4000)
    with demo_server(tmp_path / "server") as server:
        clients = [Client(server.url, verbose=False, download_files=tmp_path / f"got{k}") for k in range(3)]
        portrait = handle_file(str(portrait_path))
        jobs = [
            client.submit(portrait, handle_file(voice), "happy:0.6", 1.0, 1.0, number, api_name="/film")
            for number, client in enumerate(clients)
        ]
        results = [job.result(timeout=300) for job in jobs]
        assert [report["seed"] for _, report in results] == [0, 1, 2]
        films = [Path(film["video"] if isinstance(film, dict) else film).read_bytes() for film, _ in results]
        assert len(set(films)) == 3
        moved = clients[0].predict(portrait, handle_file(str(driving)), "best frame", 0, api_name="/reenact")
        assert moved[1]["frames"] == FRAMES
        with read_video(moved[0]["video"] if isinstance(moved[0], dict) else moved[0]) as video:
            assert sum(1 for _ in video) == FRAMES
            assert video.info.has_audio
        with pytest.raises(Exception, match="give a video file"):
            clients[0].predict(portrait, handle_file(str(not_a_film)), "relative", 0, api_name="/reenact")
        boxes = clients[0].predict(portrait, api_name="/faces")
        assert len(boxes) == 1
        assert read_image(clients[0].predict(portrait, 0, "sad", 1.0, api_name="/still")).shape == (256, 256, 3)
        for arguments, words in (
            ((handle_file(str(tmp_path / "text.png")), handle_file(voice), "happy", 1, 1, 0), "not a picture"),
            ((portrait, handle_file(str(long)), "happy", 1, 1, 0), "longer than 60 seconds"),
            ((portrait, handle_file(voice), "hapy", 1, 1, 0), "did you mean 'happy'"),
            ((portrait, handle_file(voice), "happy", 1, 1, 0.5), "whole numbers"),
            ((None, handle_file(voice), "happy", 1, 1, 0), "no portrait yet"),
        ):
            with pytest.raises(Exception, match=re.escape(words)) as caught:
                clients[0].predict(*arguments, api_name="/film")
            assert "Traceback" not in str(caught.value)
            assert str(tmp_path) not in str(caught.value)
        assert not [path for path in server.folder.rglob("*") if path.name.endswith(".part")]
        minute = write_wav(np.random.default_rng(0).standard_normal(55 * 4000) * 0.1, "minute.wav", 4000)
        clients[0].submit(portrait, handle_file(str(minute)), "happy", 1, 1, 0, api_name="/film")
        deadline = time.monotonic() + 120
        while not list(server.folder.rglob("*.part")) and time.monotonic() < deadline:
            time.sleep(0.05)
        printed = server.stop(signal.SIGTERM)
        assert "Traceback" not in printed
        assert not list(server.folder.rglob("*.part"))
        assert not list(server.folder.rglob("*.mp4"))
