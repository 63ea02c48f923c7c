"""Whether mouth and sound belong together and at which offset, by a network of two towers (after SyncNet, Chung and
Zisserman, 2016), trained by ``training/train_sync.py`` on right and shifted pairs.

It measures; nothing is trained against it, and it shares no weights with what animates the mouth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from mooe.audio.constants import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count
from mooe.audio.encoder import PHONE_TOKENS, STEPS_PER_FRAME, HamaSpeechEncoder
from mooe.audio.level import speech_gain
from mooe.face.alignment import HeadAlignment
from mooe.face.regions import LIPS_INNER, LIPS_OUTER
from mooe.metrics.tracks import FaceTracks
from mooe.weights import asset_folder

Array = NDArray[np.float32]

SYNC_POINTS: tuple[int, ...] = LIPS_INNER + LIPS_OUTER + (152,)  # the lips and the chin
MOUTH_DIM = 2 * len(SYNC_POINTS)
LONGEST_OFFSET = 15
"""Frames by which mouth and sound are shifted against each other, both ways."""
_MEL_BANDS = 40
_MEL_WINDOW, _MEL_STEP = 512, 320  # samples: 32 ms every 20 ms
SOUND_DIM = PHONE_TOKENS + 2 * _MEL_BANDS
_MOUTH_SCALE, _MEL_SCALE, _MEL_MEAN = 60.0, 3.0, -4.0  # bring the inputs to about unit size
_SHORTEST = 25  # frames that both must have at each offset


def log_mel(waveform: Array) -> Array:
    """Log energies of 40 mel bands at the usual loudness, two 20-ms steps a video frame.

    Args:
        waveform: float32 [n], 16 kHz.

    Returns:
        float32 ``[ceil(n / 640), 80]``.
    """
    from transformers.audio_utils import mel_filter_bank

    steps = 2 * frame_count(len(waveform))
    before = (_MEL_WINDOW - _MEL_STEP) // 2
    padded = np.zeros((steps - 1) * _MEL_STEP + _MEL_WINDOW, np.float32)
    padded[before : before + len(waveform)] = waveform * np.float32(speech_gain([waveform]))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _MEL_WINDOW)[::_MEL_STEP]
    power = np.abs(np.fft.rfft(pieces * np.hanning(_MEL_WINDOW).astype(np.float32), axis=1)) ** 2
    bank = mel_filter_bank(_MEL_WINDOW // 2 + 1, _MEL_BANDS, 60.0, 7600.0, SAMPLE_RATE)
    energies: Array = np.log(power @ bank + 1e-5).reshape(steps // 2, -1).astype(np.float32)
    return energies


def sound_features(posteriors: Array, mel: Array) -> Array:
    """What the sound's tower reads, ``[F, 271]``: phone posteriors and mel energies.

    Args:
        posteriors: features of :class:`~mooe.audio.HamaSpeechEncoder`, ``[F, 390]``.
        mel: from :func:`log_mel`, ``[F, 80]``.
    """
    phones = posteriors[:, : STEPS_PER_FRAME * PHONE_TOKENS].reshape(len(posteriors), STEPS_PER_FRAME, -1).max(1)
    return np.concatenate([phones, (mel - _MEL_MEAN) / _MEL_SCALE], 1, dtype=np.float32)


def mouth_features(points: Array) -> Array:
    """What the mouth's tower reads, ``[F, 82]``: where each point is beside its mean over the clip.

    Args:
        points: :data:`SYNC_POINTS` in the head frame, eye distances, ``[F, 41, 2 or 3]``.
    """
    across = points[..., :2].reshape(len(points), -1)
    moved: Array = ((across - across.mean(0)) * _MOUTH_SCALE).astype(np.float32)
    return moved


def tracked_mouth(tracks: FaceTracks) -> Array:
    """The tracked mouth in the head frame at 25 frames a second, ``[F, 41, 3]``."""
    chosen = list(SYNC_POINTS)
    points = np.stack([HeadAlignment.from_landmarks(face).to_head(face[chosen]) for face in tracks.landmarks])
    if abs(tracks.fps - FRAME_RATE) < 1e-3:
        return points
    times = (np.arange(round(len(points) / tracks.fps * FRAME_RATE)) + 0.5) / FRAME_RATE
    known = (np.arange(len(points)) + 0.5) / tracks.fps
    flat = points.reshape(len(points), -1)
    columns = [np.interp(times, known, column) for column in flat.T]
    return np.stack(columns, 1).reshape(len(times), *points.shape[1:]).astype(np.float32)


class _Tower(nn.Module):
    """Dilated convolutions over time; a frame sees 9 frames on either side."""

    def __init__(self, inputs: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(inputs, channels, 1)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=d, dilation=d) for d in (1, 2, 4, 2))
        self.out = nn.Conv1d(channels, outputs, 1)

    def forward(self, values: Tensor) -> Tensor:
        """``[B, F, inputs]`` -> unit vectors ``[B, F, outputs]``."""
        hidden = functional.silu(self.project(values.transpose(1, 2)))
        for layer in self.layers:
            hidden = hidden + functional.silu(layer(hidden))
        return functional.normalize(self.out(hidden).transpose(1, 2), dim=-1)


class SyncNetwork(ModelMixin, ConfigMixin):
    """Mouth and sound as vectors that lie near each other where they belong together.

    Args:
        channels: width of the layers.
        embedding_dim: length of the vectors.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, channels: int = 64, embedding_dim: int = 48) -> None:
        super().__init__()
        self.mouth = _Tower(MOUTH_DIM, channels, embedding_dim)
        self.sound = _Tower(SOUND_DIM, channels, embedding_dim)
        self.log_sharpness = nn.Parameter(torch.tensor(2.5))

    def forward(self, mouth: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """:func:`mouth_features` ``[B, F, 82]`` and :func:`sound_features` ``[B, F, 271]`` -> vectors ``[B, F, d]``."""
        return self.mouth(mouth), self.sound(sound)


def offset_distances(mouth: Tensor, sound: Tensor, longest: int = LONGEST_OFFSET) -> Tensor:
    """Mean distance of the mouth's vectors from the sound's, the mouth moved earlier by -longest..longest frames.

    Args:
        mouth, sound: unit vectors ``[F, d]``.
        longest: frames.

    Returns:
        ``[2 longest + 1]``; the smallest at index longest + k where the mouth moves k frames after its sound.
    """
    count = min(len(mouth), len(sound))
    found = []
    for offset in range(-longest, longest + 1):
        late = mouth[max(offset, 0) : count + min(offset, 0)]
        heard = sound[max(-offset, 0) : count - max(offset, 0)]
        found.append((late - heard).norm(dim=-1).mean())
    return torch.stack(found)


@dataclass(frozen=True)
class Sync:
    """How mouth and sound go together.

    Attributes:
        offset_frames: by how many frames at 25 a second the mouth moves later than its sound (negative: earlier).
        confidence: how much nearer they are at that offset than at the median one; 0 is no relation.
        distance: mean distance as they are, 0 to 2.
    """

    offset_frames: int
    confidence: float
    distance: float


@lru_cache(maxsize=1)
def load_sync_network() -> SyncNetwork:
    """The network inside the package.

    Raises:
        WeightsError: its weights are missing.
    """
    network: SyncNetwork = SyncNetwork.from_pretrained(asset_folder("sync"))
    return network.eval()


def measure_sync(tracks: FaceTracks, waveform: Array, network: SyncNetwork | None = None) -> Sync | None:
    """Measure how the mouth goes with the sound; arguments as of :func:`sync_vectors`.

    Returns:
        None where the clip is too short (2.2 s) or the mouth does not move.
    """
    found = sync_vectors(tracks, waveform, network)
    return None if found is None else sync_from_distances(offset_distances(*found))


@torch.no_grad()
def sync_vectors(
    tracks: FaceTracks, waveform: Array, network: SyncNetwork | None = None
) -> tuple[Tensor, Tensor] | None:
    """Vectors of the mouth and of the sound of each frame.

    Args:
        tracks: the face.
        waveform: its speech, float32 [n], 16 kHz.
        network: instead of the one inside the package.

    Returns:
        Unit vectors ``[F, d]`` of either at 25 frames a second; None where the clip is too short (2.2 s) or the mouth
        does not move.
    """
    mouth = mouth_features(tracked_mouth(tracks))
    count = min(len(mouth), len(waveform) // SAMPLES_PER_FRAME)
    if count < _SHORTEST + 2 * LONGEST_OFFSET or mouth.std() < 1e-3:
        return None
    network = network or load_sync_network()
    sound = sound_features(HamaSpeechEncoder().encode(waveform), log_mel(waveform))
    seen, heard = network(torch.from_numpy(mouth[None, :count]), torch.from_numpy(sound[None, :count]))
    return seen[0], heard[0]


def sync_from_distances(distances: Tensor) -> Sync:
    """Offset and confidence from :func:`offset_distances`."""
    longest = len(distances) // 2
    best = int(distances.argmin())
    confidence = float(distances.median() - distances[best])
    return Sync(best - longest, confidence, float(distances[longest]))
