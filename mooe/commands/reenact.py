"""`mooe reenact`: a portrait moves as a film or a recorded motion says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mooe.commands.terminal import MAX_VIDEO_SIDE, BooksOption, books_wanted, check_size, native_logs_hidden
from mooe.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from mooe.decoder import SourcePortrait
    from mooe.pipeline_output import FaceMotion


@dataclass(frozen=True)
class _Drive:
    """Where the motion comes from and how it is carried over."""

    path: Path
    absolute: bool
    best_frame: bool
    audio: Path | None

    @property
    def is_film(self) -> bool:
        from mooe.motion_files import MOTION_SUFFIXES

        return self.path.suffix.lower() not in MOTION_SUFFIXES

    def check(self) -> None:
        if not self.is_film and (self.absolute or self.best_frame):
            raise ConfigError("--absolute and --best-frame belong to films: a motion file says all by itself.")
        if self.absolute and self.best_frame:
            raise ConfigError("--best-frame chooses what --relative starts from: leave out one of it and --absolute.")

    def motion(self, portrait: SourcePortrait) -> tuple[FaceMotion, int]:
        """The motion, and how many frames of a film showed no face."""
        if not self.is_film:
            from mooe.motion_files import read_motion

            return read_motion(self.path), 0
        from mooe.reenactment import film_performance, retarget

        performance = film_performance(self.path)
        motion = retarget(performance, portrait, "absolute" if self.absolute else "relative", self.best_frame)
        return motion, performance.bridged

    def sound(self) -> Path | None:
        """What is heard: the sound asked for, or the film's own if it has any."""
        if self.audio is not None or not self.is_film:
            return self.audio
        from mooe.media import read_video

        with read_video(self.path) as film:
            return self.path if film.info.has_audio else None


def reenact(
    portrait: Annotated[Path, typer.Option(help="The photograph: JPEG, PNG or WebP with a face.")],
    driving: Annotated[
        Path,
        typer.Option(help="The motion: a film of a face, a .csv of Live Link Face, or a .npz of --export."),
    ],
    out: Annotated[Path, typer.Option(help="The video to make, ending in .mp4.")],
    relative: Annotated[
        bool | None,
        typer.Option(
            "--relative/--absolute",
            help="Add the film's changes to the photograph, or take over expression and pose [default: relative].",
        ),
    ] = None,
    best_frame: Annotated[
        bool, typer.Option("--best-frame", help="Start from the frame of the film most like the photograph.")
    ] = False,
    audio: Annotated[Path | None, typer.Option(help="Sound to put under it [default: that of the film].")] = None,
    face: Annotated[int, typer.Option(help="Which face, if there are several: 0 is the largest.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the animated head crop in pixels, 128 to 1024.")] = 256,
    no_paste_back: Annotated[
        bool, typer.Option("--no-paste-back", help="Give the head crop, not the full picture.")
    ] = False,
    books: BooksOption = None,
    report: Annotated[Path | None, typer.Option(help="Write frames, times and versions to this .json.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing results.")] = False,
) -> None:
    """Move a portrait by a film or a recorded motion."""
    from mooe.media.outputs import check_output

    drive = _Drive(driving, relative is False, best_frame, audio)
    drive.check()
    check_size(size)
    check_output(out, ".mp4", force=force)
    if report is not None:
        check_output(report, ".json", force=force)
    if out.exists() and driving.exists() and out.samefile(driving):
        raise OutputError(f"{out} is read and written at once: choose another name for the result.")
    with native_logs_hidden():
        frames, bridged = _write(portrait, drive, out, face, size, not no_paste_back, books, report, force)
    note = f", {bridged} of them without a face in the film and bridged" if bridged else ""
    print(f"{out}: {frames} frames{note}")


def _write(
    portrait: Path, drive: _Drive, out: Path, face: int, size: int, paste_back: bool, books: bool | None,
    report: Path | None, force: bool,
) -> tuple[int, int]:
    from mooe.animation import read_portrait, render_motion
    from mooe.audio import iter_audio
    from mooe.media import VideoWriter, read_image, shrink_to, write_json
    from mooe.media.video import SOUND_RATE
    from mooe.report import StageClock, versions
    from mooe.weights import embedded_compensator

    clock = StageClock()
    with clock.stage("portrait"):
        source = read_portrait(shrink_to(read_image(portrait), MAX_VIDEO_SIDE), face, size)
        compensator = embedded_compensator() if books_wanted(books) else None
    with clock.stage("tracking"):
        motion, bridged = drive.motion(source)
    heard = drive.sound()
    sound = None if heard is None else iter_audio(heard, chunk_seconds=1.0, sample_rate=SOUND_RATE)
    height, width = source.picture.shape[:2] if paste_back else (source.size, source.size)
    with (
        clock.stage("video"),
        VideoWriter(out, width, height, audio=sound, sample_rate=SOUND_RATE, force=force) as writer,
    ):
        for frame in render_motion(source, motion, paste_back=paste_back, compensator=compensator):
            writer.write(frame)
    if report is not None:
        found = {"frames": len(motion), "frames_without_face": bridged, "wall_seconds": dict(clock.seconds)}
        write_json(report, {**found, "driving": str(drive.path), "versions": versions()})
    return len(motion), bridged
