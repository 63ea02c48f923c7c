"""What a video says of where it comes from: the marks that mooe leaves, read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mooe.errors import MooeError
from mooe.media import content_credentials
from mooe.media.pixel_mark import ENOUGH, PAYLOAD, REFRESH, read_pixel_mark
from mooe.media.video import COMMENT, VideoInfo, read_video

_LOOKS = 6


@dataclass(frozen=True)
class Inspection:
    """Marks found in a video.

    Attributes:
        path: the video.
        video: its size, rate and length.
        comment: the comment in the container, empty if there is none.
        pixel_bits: bits of the pixel mark that agree, of 64; None where the picture is too small to hold one.
        manifest: the C2PA manifest, see :func:`~mooe.media.content_credentials.read_manifest`; None if there is none.
        manifest_read: whether the extra that reads manifests is installed.
    """

    path: Path
    video: VideoInfo
    comment: str
    pixel_bits: int | None
    manifest: dict[str, Any] | None
    manifest_read: bool

    @property
    def pixel_mark(self) -> bool:
        """Whether the mark is in the pixels."""
        return self.pixel_bits is not None and self.pixel_bits >= ENOUGH

    @property
    def ai_generated(self) -> bool:
        """Whether any mark says that the video was made by a machine; False proves nothing."""
        return self.comment == COMMENT or self.pixel_mark or bool(self.manifest and self.manifest["ai_generated"])

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "file": self.path.name,
            "width": self.video.width,
            "height": self.video.height,
            "seconds": round(self.video.seconds, 3),
            "ai_generated": self.ai_generated,
            "comment": self.comment or None,
            "pixel_mark": {"found": self.pixel_mark, "bits_right": self.pixel_bits, "bits": len(PAYLOAD)},
            "c2pa": self.manifest if self.manifest_read else "not read: the extra c2pa is not installed",
        }

    def text(self) -> str:
        """The findings for people, a line each."""
        if self.pixel_bits is None:
            pixels = "none (the picture is too small to hold one)"
        else:
            pixels = f"{'found' if self.pixel_mark else 'none'} ({self.pixel_bits} of {len(PAYLOAD)} bits agree)"
        if self.manifest:
            c2pa = "{state}, made by {generator}, signed by {signer}".format(**self.manifest)
        else:
            c2pa = "none" if self.manifest_read else "not read (pip install 'mooe[c2pa]')"
        verdict = "AI-generated" if self.ai_generated else "no mark found, which proves nothing"
        rows = (("verdict", verdict), ("comment", self.comment or "none"), ("pixel mark", pixels), ("C2PA", c2pa))
        return "\n".join(f"{title:<11} {value}" for title, value in rows)


def inspect_video(path: str | PathLike[str]) -> Inspection:
    """Look for the marks of a machine in a video (raises MooeError when it cannot be read)."""
    file = Path(path)
    if not file.is_file():
        raise MooeError(f"There is no file {file}: check the path of the video.")
    with read_video(file) as video:
        info, comment = video.info, video.comment
        bits = read_pixel_mark(_looks(iter(video)))
    readable = content_credentials.available()
    manifest = content_credentials.read_manifest(file) if readable else None
    return Inspection(file, info, comment, bits, manifest, readable)


def _looks(frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The first few frames in which the pixel mark was drawn anew."""
    for number, frame in enumerate(frames):
        if number % REFRESH == 0:
            yield frame
        if number >= (_LOOKS - 1) * REFRESH:
            return
