"""Pictures and videos in and out."""

from mooe.media.images import read_image, shrink_to
from mooe.media.outputs import check_output, replacing, write_json
from mooe.media.video import VideoInfo, VideoReader, VideoWriter, read_video

__all__ = [
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "check_output",
    "read_image",
    "read_video",
    "replacing",
    "shrink_to",
    "write_json",
]
