"""Videos made in parts, put together without encoding their pictures anew."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import av

from mooe.errors import OutputError
from mooe.media.outputs import as_output_error
from mooe.media.video import FRAME_RATE, Sound, VideoWriter, read_video

_REORDERED = 2  # frames by which x264 reorders pictures at most, with the writer's preset


class VideoJoiner(VideoWriter):
    """Appends the pictures of whole video files, with one sound track under all of them.

    Args:
        path: the target, ending in .mp4.
        like: the first of the files; the others must have been written with the same settings.
        audio, sample_rate, fps, force: as in :class:`VideoWriter`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        like: Path,
        *,
        audio: Sound | None = None,
        sample_rate: int = 16_000,
        fps: int = FRAME_RATE,
        force: bool = False,
    ) -> None:
        with read_video(like) as video:
            width, height = video.info.width, video.info.height
        super().__init__(path, width, height, audio=audio, sample_rate=sample_rate, fps=fps, force=force)
        self._like = like

    def append(self, part: Path) -> None:
        """Append the pictures of a file, and the sound that goes with them."""
        with as_output_error(part), av.open(str(part.absolute())) as container:
            source = container.streams.video[0]
            unit = source.time_base
            if unit is None:
                raise OutputError(f"{part} holds no pictures: delete it and start anew.")
            frame = round(1 / (self.fps * unit))
            offset = self.frames_written * frame
            for packet in container.demux(source):
                if packet.dts is None:  # demuxing ends with an empty packet
                    continue
                packet.stream = self._video
                packet.pts = (packet.pts or 0) + offset
                # a file's own decoding times start earlier the more its pictures are reordered; here one rule holds
                packet.dts = (self.frames_written - _REORDERED) * frame
                self._container.mux(packet)
                self.frames_written += 1
                self._write_sound(until=self.frames_written / self.fps)

    def _add_video(self) -> Any:
        with av.open(str(self._like.absolute())) as container:
            return self._container.add_stream_from_template(container.streams.video[0])

    def _flush_video(self) -> None:
        """Nothing is encoded here, so nothing is held."""


def join_videos(
    parts: Sequence[Path],
    path: str | PathLike[str],
    *,
    audio: Sound | None = None,
    sample_rate: int = 16_000,
    fps: int = FRAME_RATE,
    force: bool = False,
) -> None:
    """Put video files of the same settings behind each other; see :class:`VideoJoiner` (raises OutputError)."""
    joiner = VideoJoiner(path, parts[0], audio=audio, sample_rate=sample_rate, fps=fps, force=force)
    with joiner:
        for part in parts:
            joiner.append(part)
