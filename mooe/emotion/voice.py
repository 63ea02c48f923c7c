"""The voice -> emotion: how something is said (pitch, loudness, tempo, timbre), read by a small head trained here.

A speech-emotion classifier of transformers can take its place (`ClassifierReader`).
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from mooe.audio import FRAME_RATE, SAMPLE_RATE
from mooe.audio.encoder import PHONE_TOKENS
from mooe.audio.prosody import PROSODY_DIM
from mooe.emotion.taxonomy import EMOTIONS, NEUTRAL, canonical_name
from mooe.errors import ConfigError, EmotionError, WeightsError
from mooe.weights import control_folder

Array = NDArray[np.float32]

VOICE_CLASSES: tuple[str, ...] = (NEUTRAL, "happy", "sad", "angry", "fearful")
"""What is told apart in a voice; disgust and surprise are not, as too little of them is in the sound alone."""

STATISTICS: tuple[str, ...] = (
    "pitch", "pitch_deviation", "pitch_range", "pitch_slope", "energy_deviation", "energy_change", "tilt", "flatness",
    "zero_crossings", "voicing", "voiced_share", "speech_share", "phone_rate",
)  # fmt: skip
"""Statistics of a window of speech (see `voice_statistics`)."""

WINDOW_SECONDS = 4.0
HOP_SECONDS = 1.0
_SMOOTHING = 0.6  # seconds
_SPEECH_LEVEL = 0.6  # scaled energy from which on somebody speaks
_VOICED = 0.45
_LEAST_SPEECH = 12  # frames without which nothing can be heard


class VoiceReader:
    """Interface: hears an emotion in speech."""

    def __call__(self, waveform: Array, features: Array) -> Array:
        """Emotion over time.

        Args:
            waveform: float32 [n] in [-1, 1], 16 kHz.
            features: of the pipeline's speech encoder, [F, D].

        Returns:
            Weights float32 [F, 6] in the order of `EMOTIONS`, at most 1 in sum; 0 is neutral.
        """
        raise NotImplementedError


def voice_statistics(features: Array) -> Array | None:
    """Statistics of a window of speech; None if there is too little speech in it.

    Args:
        features: float [F, D] of `HamaSpeechEncoder`.

    Returns:
        float32 [13] in the order of `STATISTICS`. Pitch is in octaves from 160 Hz, its slope in octaves a frame,
        energies and tilt in steps of 30 dB, the phone rate a second of speech; the others are shares.
    """
    prosody = features[:, -PROSODY_DIM:].astype(np.float64)
    energy, band, pitch, voicing, flatness, crossings = prosody[:, :6].T
    speech = energy > _SPEECH_LEVEL
    voiced = speech & (voicing > _VOICED)
    if voiced.sum() < _LEAST_SPEECH:
        return None
    octaves = pitch[voiced] / voicing[voiced]
    low, high = np.percentile(octaves, (10, 90))
    neighbours = np.flatnonzero(voiced[1:] & voiced[:-1])
    track = pitch / np.maximum(voicing, _VOICED)
    slope = np.abs(track[neighbours + 1] - track[neighbours]).clip(max=0.3).mean() if len(neighbours) else 0.0
    first, last = np.flatnonzero(speech)[[0, -1]]
    values = (
        np.median(octaves), octaves.clip(low, high).std(), high - low, slope, energy[speech].std(),
        np.abs(prosody[speech, 6]).mean(), (band - energy)[voiced].mean(), flatness[voiced].mean(),
        crossings[voiced].mean(), voicing[voiced].mean(), voiced.sum() / speech.sum(),
        speech[first : last + 1].mean(), _phones(features[first : last + 1]) / speech.sum() * FRAME_RATE,
    )  # fmt: skip
    return np.array(values, np.float32)


def _phones(features: Array) -> int:
    """Phones that the recogniser emits: changes of its best token to another than the most common one, the blank."""
    steps = features[:, : 2 * PHONE_TOKENS].reshape(-1, PHONE_TOKENS).argmax(1)
    blank = np.bincount(steps).argmax()
    return int(((steps[1:] != steps[:-1]) & (steps[1:] != blank)).sum())


class VoiceEmotionHead(ModelMixin, ConfigMixin):
    """Statistics of a window -> classes of `VOICE_CLASSES`.

    Args:
        hidden_dim: width of the hidden layer.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, hidden_dim: int = 32) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(len(STATISTICS)))
        self.register_buffer("std", torch.ones(len(STATISTICS)))
        self.layers = nn.Sequential(
            nn.Linear(len(STATISTICS), hidden_dim), nn.SiLU(), nn.Linear(hidden_dim, len(VOICE_CLASSES))
        )

    def forward(self, statistics: Tensor) -> Tensor:
        """Statistics ``[N, 13]`` -> logits ``[N, 5]``."""
        return self.layers(((statistics - self.mean) / self.std).clamp(-4, 4))


class ProsodyReader(VoiceReader):
    """Hears the emotion by prosody and phones, in windows of four seconds; loads its head when it first hears.

    Args:
        head: the head; the one inside the package if None.
    """

    def __init__(self, head: VoiceEmotionHead | None = None) -> None:
        self._head = head

    def __call__(self, waveform: Array, features: Array) -> Array:
        """See :meth:`VoiceReader.__call__`.

        Raises:
            ConfigError: the features are not `HamaSpeechEncoder`'s.
        """
        return over_time(self.probabilities(features), len(features))

    @torch.no_grad()
    def probabilities(self, features: Array) -> Array:
        """Probabilities of `VOICE_CLASSES` in windows a second apart, [W, 5]; neutral where nobody speaks."""
        if features.shape[1] != 2 * PHONE_TOKENS + PROSODY_DIM:
            raise ConfigError(
                "The emotion of the voice is read from the features of HamaSpeechEncoder: use it, or set another "
                "voice_reader."
            )
        if self._head is None:
            self._head = VoiceEmotionHead.from_pretrained(control_folder("voice"))
        rows = [voice_statistics(features[span]) for span in windows(len(features))]
        result = np.tile(np.eye(len(VOICE_CLASSES), dtype=np.float32)[0], (len(rows), 1))
        heard = [i for i, row in enumerate(rows) if row is not None]
        if heard:
            stacked = torch.from_numpy(np.stack([row for row in rows if row is not None]))
            result[heard] = self._head.eval().float()(stacked).softmax(-1).numpy()
        return result


class ClassifierReader(VoiceReader):
    """Hears the emotion by an audio classifier of transformers (wav2vec2, HuBERT, WavLM, Whisper, emotion2vec's kin).

    Its labels are matched by name, so "ang", "angry" and "anger" all are anger; labels that are no basic emotion
    count as neutral.

    Args:
        name_or_path: a folder or a name on a model hub.

    Raises:
        WeightsError: it cannot be loaded, or none of its labels is an emotion.
    """

    def __init__(self, name_or_path: str | PathLike[str]) -> None:
        from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

        try:
            self._extractor: Any = AutoFeatureExtractor.from_pretrained(name_or_path)
            self._model: Any = AutoModelForAudioClassification.from_pretrained(name_or_path).eval()
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(
                f"The voice classifier '{name_or_path}' cannot be loaded ({reason}): give a folder that holds one."
            ) from error
        self._columns = label_columns(self._model.config.id2label)
        if not self._columns.any():
            raise WeightsError(f"None of the labels of '{name_or_path}' is an emotion: give a classifier of emotions.")

    @torch.no_grad()
    def __call__(self, waveform: Array, features: Array) -> Array:
        """See :meth:`VoiceReader.__call__`."""
        samples = SAMPLE_RATE // FRAME_RATE
        rows = []
        for span in windows(len(features)):
            piece = waveform[span.start * samples : span.stop * samples]
            inputs = self._extractor(piece, sampling_rate=SAMPLE_RATE, return_tensors="pt")
            rows.append(self._model(**inputs).logits[0].float().softmax(-1).numpy())
        return _smooth((np.stack(rows) @ self._columns).astype(np.float32), len(features))


def label_columns(labels: Mapping[int, str]) -> Array:
    """Which label is which emotion: float32 [label, 6] of 0 and 1."""
    short = {"hap": "happy", "ang": "angry", "fea": "fearful", "dis": "disgusted", "sur": "surprised"}
    columns = np.zeros((len(labels), len(EMOTIONS)), np.float32)
    for index, label in labels.items():
        # emotion2vec writes both languages: "生气/angry"
        name = str(label).split("/")[-1].strip().lower()
        try:
            name = canonical_name(short.get(name[:3], name))
        except EmotionError:
            continue
        if name in EMOTIONS:
            columns[int(index), EMOTIONS.index(name)] = 1
    return columns


def windows(num_frames: int) -> list[slice]:
    """Windows of four seconds, centres a second apart, cut at the ends of the clip."""
    half, hop = int(WINDOW_SECONDS * FRAME_RATE / 2), int(HOP_SECONDS * FRAME_RATE)
    count = max(1, round(num_frames / hop))
    centres = [int((i + 0.5) * num_frames / count) for i in range(count)]
    longest = min(2 * half, num_frames)
    starts = [min(max(centre - half, 0), num_frames - longest) for centre in centres]
    return [slice(start, start + longest) for start in starts]


def over_time(probabilities: Array, num_frames: int) -> Array:
    """Probabilities of `VOICE_CLASSES` [W, 5] -> weights [num_frames, 6]."""
    weights = np.zeros((len(probabilities), len(EMOTIONS)), np.float32)
    for column, name in enumerate(VOICE_CLASSES):
        if name in EMOTIONS:
            weights[:, EMOTIONS.index(name)] = probabilities[:, column]
    return _smooth(weights, num_frames)


def _smooth(weights: Array, num_frames: int) -> Array:
    """Weights of windows [W, 6] -> of frames [num_frames, 6], without steps."""
    centres = (np.arange(len(weights)) + 0.5) * num_frames / len(weights)
    frames = np.arange(num_frames)
    columns = [np.interp(frames, centres, weights[:, i]) for i in range(weights.shape[1])]
    smooth = gaussian_filter1d(np.stack(columns, 1), _SMOOTHING * FRAME_RATE, axis=0, mode="nearest")
    return smooth.astype(np.float32)
