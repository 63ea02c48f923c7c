"""`mooe reenact`: a portrait moves as a recorded motion says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mooe.commands.terminal import MAX_VIDEO_SIDE, check_size, native_logs_hidden


def reenact(
    portrait: Annotated[Path, typer.Option(help="The photograph: JPEG, PNG or WebP with a face.")],
    driving: Annotated[Path, typer.Option(help="The motion: a .csv of Live Link Face, or a .npz of --export.")],
    out: Annotated[Path, typer.Option(help="The video to make, ending in .mp4.")],
    audio: Annotated[Path | None, typer.Option(help="Sound to put under it [default: none].")] = None,
    face: Annotated[int, typer.Option(help="Which face, if there are several: 0 is the largest.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the animated head crop in pixels, 128 to 1024.")] = 256,
    no_paste_back: Annotated[
        bool, typer.Option("--no-paste-back", help="Give the head crop, not the full picture.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing results.")] = False,
) -> None:
    """Move a portrait by a recorded motion."""
    from mooe.media.outputs import check_output

    check_size(size)
    check_output(out, ".mp4", force=force)
    with native_logs_hidden():
        frames = _write(portrait, driving, out, audio, face, size, not no_paste_back, force)
    print(f"{out}: {frames} frames")


def _write(
    portrait: Path, driving: Path, out: Path, audio: Path | None, face: int, size: int, paste_back: bool, force: bool
) -> int:
    from mooe.audio import iter_audio
    from mooe.media import VideoWriter, read_image, shrink_to
    from mooe.media.video import SOUND_RATE
    from mooe.motion_files import read_motion
    from mooe.reenactment import read_portrait, render_motion

    motion = read_motion(driving)
    source = read_portrait(shrink_to(read_image(portrait), MAX_VIDEO_SIDE), face, size)
    sound = None if audio is None else iter_audio(audio, chunk_seconds=1.0, sample_rate=SOUND_RATE)
    height, width = source.picture.shape[:2] if paste_back else (source.size, source.size)
    with VideoWriter(out, width, height, audio=sound, sample_rate=SOUND_RATE, force=force) as writer:
        for frame in render_motion(source, motion, paste_back=paste_back):
            writer.write(frame)
    return len(motion)
