"""Windows of head-crop frames with their speech and emotion, from a corpus prepared with ``crop_size``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mooe.errors import ConfigError
from mooe.media import read_video
from training.corpus.filmed import FilmedClip, filmed_clips
from training.corpus.motion import hold_last, sound_window
from training.corpus.prepared_video import CROPS_FOLDER


@dataclass
class CropBatch:
    """A batch of windows of F frames.

    Attributes:
        frames: ``[B, F, 3, size, size]`` in [-1, 1].
        reference: another frame of the same clip, ``[B, 3, size, size]`` in [-1, 1].
        features: speech features with context ``[B, F + 32, D]``.
        emotion: weights ``[B, F, 6]``.
        audible: bool ``[B]``.
    """

    frames: Tensor
    reference: Tensor
    features: Tensor
    emotion: Tensor
    audible: Tensor

    def to(self, device: torch.device) -> CropBatch:
        """All of it on another device."""
        return CropBatch(*(tensor.to(device) for tensor in vars(self).values()))


class CropCorpus:
    """Windows of crops.

    Args:
        folder: that ``training/prepare.py`` wrote with ``--set crop_size=N``.
        window: frames in a window.

    Raises:
        ConfigError: the folder has no crops.
    """

    def __init__(self, folder: Path, window: int) -> None:
        pairs = [(clip, folder / CROPS_FOLDER / f"{clip.stem}.mp4") for clip in filmed_clips(folder)]
        self.pairs = [(clip, crop) for clip, crop in pairs if crop.is_file()]
        if not self.pairs:
            raise ConfigError(f"There are no crops in {folder}: run training/prepare.py with --set crop_size=256.")
        self.window = window

    def draw(self, streams: list[np.random.Generator]) -> CropBatch:
        """A window for each source of randomness."""
        rows = [self._window(stream) for stream in streams]
        frames, references, features, emotions, audible = zip(*rows, strict=True)
        return CropBatch(
            _pictures(np.stack(frames)), _pictures(np.stack(references)), torch.from_numpy(np.stack(features)),
            torch.from_numpy(np.stack(emotions)), torch.tensor(audible),
        )  # fmt: skip

    def _window(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], np.ndarray, np.ndarray, bool]:
        path, crop = self.pairs[int(rng.integers(len(self.pairs)))]
        clip = FilmedClip.load(path)
        first = int(rng.integers(max(clip.num_frames - self.window, 0) + 1))
        other = int(rng.integers(clip.num_frames))
        kept: list[NDArray[np.uint8]] = []
        reference: NDArray[np.uint8] | None = None
        with read_video(crop) as video:
            for number, frame in enumerate(video):
                if number == other or reference is None:
                    reference = frame
                if first <= number < first + self.window:
                    kept.append(frame)
        if not kept or reference is None:
            raise ConfigError(f"The crop {crop} is shorter than its clip: delete both and prepare them again.")
        frames = hold_last(np.stack(kept), self.window)  # type: ignore[arg-type]
        emotion = np.repeat(clip.emotion[None], self.window, 0).astype(np.float32)
        features = sound_window(clip.features, first, self.window)
        return frames, reference, features, emotion, clip.audible  # type: ignore[return-value]


def _pictures(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 ``[..., H, W, 3]`` -> float ``[..., 3, H, W]`` in [-1, 1]."""
    return torch.from_numpy(frames).movedim(-1, -3).float() / 127.5 - 1
