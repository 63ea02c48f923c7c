"""A film of a face moves a portrait: following the face, carrying its motion over, writing the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mooe.audio import iter_audio
from mooe.demo.limits import MAX_FILM_SECONDS, check_film, check_film_seconds
from mooe.demo.studio import MAX_SIDE, Progress, Studio, stop_if
from mooe.errors import ConfigError
from mooe.media import VideoReader, VideoWriter, read_video, shrink_to, write_json
from mooe.media.video import SOUND_RATE
from mooe.metrics.tracks import TrackRecorder
from mooe.pipeline_output import FaceMotion
from mooe.reenactment import Mode, Performance, performance_of, retarget
from mooe.report import StageClock, versions

MANNERS: dict[str, tuple[Mode, bool]] = {
    "relative": ("relative", False),
    "best frame": ("relative", True),
    "absolute": ("absolute", False),
}
"""Ways to carry a performance over, as `mode` and `best_frame` of :func:`mooe.reenactment.retarget`."""
_CLOSEST = 0.025  # seconds between frames that are followed; a film in slow motion has more than the result can show
_FOLLOWING = 0.5  # share of the work that is done when the face has been followed


@dataclass(frozen=True)
class Drive:
    """What a visitor asks for.

    Attributes:
        portrait: the photograph's file.
        film: the driving film's file.
        face: which face in the photograph, 0 is the largest.
        manner: one of ``MANNERS``.
    """

    portrait: str | None
    film: str | None
    face: int = 0
    manner: str = "relative"


@dataclass(frozen=True)
class DrivenFilm:
    """A finished film.

    Attributes:
        path: the mp4.
        report: the report's file.
        content: what the report says, as that of ``mooe reenact``.
    """

    path: Path
    report: Path
    content: dict[str, Any]


def reenact(
    studio: Studio, drive: Drive, folder: Path, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Progress | DrivenFilm]:
    """Make a film; gives how far it is, and at last the film.

    Args:
        studio: follows the face and draws the portrait.
        drive: what to make.
        folder: where to; nothing is left in it when the film is not finished.
        cancelled: asked at each frame.

    Raises:
        Cancelled: `cancelled` said yes.
        MooeError: something in the wish cannot be used.
    """
    if drive.manner not in MANNERS:
        raise ConfigError(f"The manner '{drive.manner}' is unknown: use {', '.join(MANNERS)}.")
    clock = StageClock()
    yield Progress("Looking at the portrait", 0.0)
    with clock.stage("portrait"):
        portrait = studio.portrait(drive.portrait, drive.face)
    with read_video(check_film(drive.film)) as film:
        recorder, times = TrackRecorder(), list[float]()
        for share in _follow(studio, film, recorder, times):
            stop_if(cancelled)
            yield Progress("Following the face", _FOLLOWING * share)
        clock.seconds["tracking"] = clock.total - clock.seconds["portrait"]
        heard = iter_audio(film.path, chunk_seconds=1.0, sample_rate=SOUND_RATE) if film.info.has_audio else None
    performance = performance_of(recorder.finish(), times)
    motion = retarget(performance, portrait, *MANNERS[drive.manner])
    path = folder / "mooe.mp4"
    height, width = portrait.picture.shape[:2]
    with clock.stage("video"), VideoWriter(path, width, height, audio=heard, sample_rate=SOUND_RATE) as writer:
        for number, frame in enumerate(studio.animate(portrait, motion), start=1):
            stop_if(cancelled)
            writer.write(frame)
            yield Progress("Animating", _FOLLOWING + (1 - _FOLLOWING) * number / len(motion))
    content = _report(drive, performance, motion, clock)
    write_json(folder / "report.json", content)
    yield DrivenFilm(path, folder / "report.json", content)


def _follow(studio: Studio, film: VideoReader, recorder: TrackRecorder, times: list[float]) -> Iterator[float]:
    """Record the largest face and the time of each frame; gives the share of the longest film that has been read."""
    check_film_seconds(film.info.seconds)
    for image in film:
        if times and film.time - times[-1] < _CLOSEST:
            continue
        check_film_seconds(film.time)  # films of a webcam do not say how long they are
        faces = studio.faces(shrink_to(image, MAX_SIDE))
        recorder.add(faces[0] if faces else None)
        times.append(film.time)
        yield min(film.time / (film.info.seconds or MAX_FILM_SECONDS), 1.0)


def _report(drive: Drive, performance: Performance, motion: FaceMotion, clock: StageClock) -> dict[str, Any]:
    return {
        "frames": len(motion),
        "frames_without_face": performance.bridged,
        "manner": drive.manner,
        "wall_seconds": {name: round(seconds, 3) for name, seconds in clock.seconds.items()},
        "versions": versions(),
    }
