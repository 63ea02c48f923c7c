"""Laws of carrying a filmed face's motion over to a portrait."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mooe.decoder import PortraitDecoder, SourcePortrait, encode_at_rest
from mooe.errors import ConfigError, MooeError, NoFaceError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_to_displacement
from mooe.face.tracker import FaceTracker
from mooe.media import VideoWriter
from mooe.metrics.tracks import track_frames
from mooe.motion.lips import lip_gap
from mooe.reenactment import Performance, film_performance, performance_of, retarget

PORTRAITS = Path(__file__).parent.parent / "examples" / "portraits"
FRAMES = 24


@pytest.fixture(scope="module")
def portrait() -> SourcePortrait:
    image = np.asarray(Image.open(PORTRAITS / "grace_hopper.jpg").convert("RGB"))
    with FaceTracker() as tracker:
        return encode_at_rest(image, tracker.detect_one(image), tracker, 256)


@pytest.fixture(scope="module")
def acted() -> tuple[np.ndarray, np.ndarray]:
    """Jaw and brows that rise and fall, a head that turns: displacements [F, 478, 3] and rotations [F, 3]."""
    wave = 0.5 - 0.5 * np.cos(np.linspace(0, 4 * np.pi, FRAMES))
    weights = np.zeros((FRAMES, 52), np.float32)
    weights[:, ARKIT_NAMES.index("jawOpen")] = 0.6 * wave
    turn = np.zeros((FRAMES, 3), np.float32)
    turn[:, 1] = np.linspace(0, 0.15, FRAMES)
    return arkit_to_displacement(weights), turn


@pytest.fixture(scope="module")
def film(portrait: SourcePortrait, acted: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    decoder = PortraitDecoder(portrait)
    return [decoder.render(d, r, np.zeros(3, np.float32)) for d, r in zip(*acted, strict=True)]


@pytest.fixture(scope="module")
def performance(film: list[np.ndarray]) -> Performance:
    return performance_of(track_frames(film))


def test_mouth_and_turn_are_followed(
    performance: Performance, portrait: SourcePortrait, acted: tuple[np.ndarray, np.ndarray]
) -> None:
    for mode in ("relative", "absolute"):
        motion = retarget(performance, portrait, mode)
        gap, wanted = lip_gap(motion.displacement)[:, 4], lip_gap(acted[0])[:, 4]
        assert np.corrcoef(gap, wanted)[0, 1] > 0.95
        assert np.corrcoef(motion.rotation[:, 1], acted[1][:, 1])[0, 1] > 0.95


def test_relative_reference_gives_the_photograph(performance: Performance, portrait: SourcePortrait) -> None:
    motion = retarget(performance, portrait, "relative")
    assert np.allclose(motion.displacement[0], portrait.points - portrait.neutral, atol=1e-5)
    assert np.abs(motion.rotation[0]).max() < 0.03
    assert np.abs(motion.translation[0]).max() < 0.03


def test_best_frame_is_no_less_like_the_photograph(performance: Performance, portrait: SourcePortrait) -> None:
    absolute = retarget(performance, portrait, "absolute").displacement
    shown = portrait.points - portrait.neutral
    best = retarget(performance, portrait, "relative", best_frame=True).displacement
    reference = int(np.abs(best - shown).max((1, 2)).argmin())
    assert np.abs(absolute[reference] - shown).mean() <= np.abs(absolute - shown).mean((1, 2)).max()


def test_turns_stay_within_what_a_photograph_shows(portrait: SourcePortrait) -> None:
    count = 12
    angles = np.linspace(0, 1.2, count)
    rotation = np.zeros((count, 3, 3), np.float32)
    for i, a in enumerate(angles):
        rotation[i] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    still = Performance(np.zeros((count, 478, 3), np.float32), rotation, np.zeros((count, 3), np.float32), 0)
    turned = np.linalg.norm(retarget(still, portrait).rotation, axis=1)
    assert turned.max() < 0.5
    assert (np.diff(turned) > -1e-3).all()


def test_frames_without_a_face_are_bridged(film: list[np.ndarray]) -> None:
    holed = [np.zeros_like(f) if 8 <= i < 11 else f for i, f in enumerate(film)]
    performance = performance_of(track_frames(holed))
    assert performance.bridged == 3
    assert len(performance) == len(film)
    assert np.isfinite(performance.displacement).all()


def test_other_frame_rates_keep_their_duration(film: list[np.ndarray]) -> None:
    assert len(performance_of(track_frames(film, fps=12.5))) == 2 * len(film)


def test_frames_at_irregular_times_move_as_steady_ones(
    film: list[np.ndarray], acted: tuple[np.ndarray, np.ndarray]
) -> None:
    kept = [number for number in range(FRAMES) if number % 5 != 2]
    tracks = track_frames([film[number] for number in kept], fps=1000)
    performance = performance_of(tracks, [number / 25 for number in kept])
    assert len(performance) == FRAMES
    wanted = lip_gap(acted[0])[:, 4]
    assert np.corrcoef(lip_gap(performance.displacement)[:, 4], wanted)[0, 1] > 0.95
    with pytest.raises(MooeError, match="times"):
        performance_of(tracks, [0.0])


def test_films_are_read_from_files(film: list[np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "a film.mp4"
    with VideoWriter(path, 256, 256) as writer:
        for frame in film:
            writer.write(frame)
    assert len(film_performance(path)) == len(film)


def test_bad_films_and_modes_are_refused(portrait: SourcePortrait, performance: Performance, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    with pytest.raises(MooeError, match="video"):
        film_performance(text)
    with pytest.raises(NoFaceError):
        performance_of(track_frames([np.zeros((64, 64, 3), np.uint8)] * 3))
    with pytest.raises(ConfigError, match="relative"):
        retarget(performance, portrait, "sideways")  # type: ignore[arg-type]
