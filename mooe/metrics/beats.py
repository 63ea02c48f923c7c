"""Whether the head moves with the speech's beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mooe.audio.constants import FRAME_RATE
from mooe.audio.prosody import prosody
from mooe.metrics.tracks import FaceTracks

Times = NDArray[np.float64]

_WIDTH = 0.12  # seconds, three frames: the kernel of Siyao et al. (Bailando, CVPR 2022)
_SMOOTHED = 1.5  # frames, of the head's speed
_LEAST_RISE = 0.12  # of the scaled band energy within two frames: an onset
_SHIFTS = (-1.3, -0.9, 0.9, 1.3)  # seconds by which the sound's beats are moved to see what chance gives


@dataclass(frozen=True)
class BeatAlignment:
    """Mean closeness of the head's beats to the sound's, 0 to 1.

    Attributes:
        score: as it is.
        chance: with the sound's beats shifted in time.
        head_beats, sound_beats: how many of each there are.
    """

    score: float
    chance: float
    head_beats: int
    sound_beats: int


def sound_beats(waveform: NDArray[np.float32]) -> Times:
    """Onsets of syllables, in seconds: peaks of the rise of the energy of 300 to 3000 Hz. float32 [n], 16 kHz."""
    from scipy.signal import find_peaks

    rise = prosody(waveform)[:, 7]
    peaks, _ = find_peaks(rise, height=_LEAST_RISE, distance=3)
    return np.asarray((peaks + 0.5) / FRAME_RATE, np.float64)


def head_beats(tracks: FaceTracks) -> Times:
    """When the head comes to a stop or turns back, in seconds: minima of its angular speed."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks
    from scipy.spatial.transform import Rotation

    if len(tracks) < 3:
        return np.zeros(0)
    rotations = Rotation.from_rotvec(tracks.rotations.astype(np.float64))
    speed = (rotations[:-1].inv() * rotations[1:]).magnitude()
    smooth = gaussian_filter1d(speed, _SMOOTHED)
    # a minimum counts where the head moved before: by a tenth of its usual speed at least
    minima, _ = find_peaks(-smooth, distance=3, prominence=0.1 * float(smooth.mean()))
    return np.asarray((minima + 1) / tracks.fps, np.float64)


def beat_alignment(head: Times, sound: Times) -> BeatAlignment | None:
    """The beat alignment score: each head beat's distance to the nearest of the sound's under a Gaussian kernel.

    Args:
        head, sound: beats in seconds, [N] and [M].

    Returns:
        None where either has no beats.
    """
    if not len(head) or not len(sound):
        return None

    def score(beats: Times) -> float:
        distance = np.abs(head[:, None] - beats[None]).min(1)
        return float(np.exp(-(distance**2) / (2 * _WIDTH**2)).mean())

    chance = float(np.mean([score(sound + shift) for shift in _SHIFTS]))
    return BeatAlignment(score(sound), chance, len(head), len(sound))
