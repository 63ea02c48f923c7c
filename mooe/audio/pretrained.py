"""Speech encoders of transformers by name: Wav2Vec2, HuBERT (and others of their shape) and Whisper.

The shipped motion model reads the embedded encoder's features only; these are for training one's own
(``training/corpus/features.py --encoder NAME``), with ``pipe.speech_encoder = load_speech_encoder(NAME)`` afterwards.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mooe.audio.constants import SAMPLE_RATE, frame_count
from mooe.audio.encoder import HamaSpeechEncoder, SpeechEncoder, whole_frames
from mooe.audio.prosody import PROSODY_DIM, prosody
from mooe.audio.windows import WindowedSpeechEncoder
from mooe.errors import ConfigError, WeightsError

EMBEDDED = "embedded"
_WHISPER_WINDOW = 30  # seconds that Whisper's encoder was trained on; shorter sound is filled up with silence


class _PretrainedEncoder(WindowedSpeechEncoder):
    """Hidden states of a model at 25 frames a second, and the prosody behind them.

    Args:
        name: folder or name on a hub, which names the features as well.
        model: gives hidden states.
        extractor: waveform -> what the model wants.
        layer: which hidden state, 0 the embedding, -1 the last.
    """

    def __init__(self, name: str, model: Any, extractor: Any, layer: int) -> None:
        self._name, self._model, self._extractor, self._layer = (
            name,
            model.eval().requires_grad_(False),
            extractor,
            layer,
        )
        layers = _number_of_layers(model.config)
        if not -layers - 1 <= layer <= layers:
            raise ConfigError(f"'{name}' has no layer {layer}: choose one from 0 to {layers}, or -1 for the last.")

    @property
    def name(self) -> str:
        return f"{self._name}-layer{self._layer}-prosody"

    @property
    def feature_dim(self) -> int:
        return int(_width(self._model.config)) + PROSODY_DIM

    @torch.no_grad()
    def _encode_window(self, waveform: np.ndarray, first: int) -> np.ndarray:
        padded = whole_frames(waveform)
        hidden = self._hidden(padded).float()
        frames = to_video_frames(hidden, frame_count(len(padded)))
        return np.concatenate([frames.cpu().numpy(), prosody(padded)], axis=1, dtype=np.float32)

    def _hidden(self, waveform: np.ndarray) -> Tensor:
        """Hidden states ``[T, d]`` that lie evenly over the waveform [n]."""
        raise NotImplementedError


class Wav2Vec2SpeechEncoder(_PretrainedEncoder):
    """Wav2Vec 2.0 (Baevski et al., 2020), HuBERT (Hsu et al., 2021), WavLM and the like: a state every 20 ms."""

    def _hidden(self, waveform: np.ndarray) -> Tensor:
        inputs = self._extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        values = inputs.input_values.to(self._model.device, self._model.dtype)
        states: Tensor = self._model(values, output_hidden_states=True).hidden_states[self._layer][0]
        return states


class WhisperSpeechEncoder(_PretrainedEncoder):
    """Encoder of Whisper (Radford et al., 2022): a state every 20 ms of 30 s, of which those of the sound are kept."""

    def _hidden(self, waveform: np.ndarray) -> Tensor:
        inputs = self._extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        values = inputs.input_features.to(self._model.device, self._model.dtype)
        states: Tensor = self._model(values, output_hidden_states=True).hidden_states[self._layer][0]
        heard = len(waveform) / SAMPLE_RATE / _WHISPER_WINDOW
        return states[: max(1, round(heard * len(states)))]


def to_video_frames(states: Tensor, frames: int) -> Tensor:
    """States ``[T, d]`` that lie evenly over a sound -> ``[frames, d]`` at the middles of its video frames (linear)."""
    resampled = functional.interpolate(states.T[None], size=frames, mode="linear", align_corners=False)
    return resampled[0].T


def load_speech_encoder(name: str | PathLike[str], layer: int = -1) -> SpeechEncoder:
    """A speech encoder by name.

    Args:
        name: ``embedded``, or a folder or hub name of a Wav2Vec2, HuBERT, WavLM, Data2Vec or Whisper model.
        layer: which of its hidden states, 0 the embedding, -1 the last.

    Raises:
        WeightsError: it cannot be loaded.
        ConfigError: it is no such model, or has no such layer.
    """
    if str(name) == EMBEDDED:
        return HamaSpeechEncoder()
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

    try:
        kind = AutoConfig.from_pretrained(name).model_type
        if kind not in _ADAPTERS:
            raise ConfigError(f"'{name}' is a {kind} model, not a speech encoder: use {', '.join(_ADAPTERS)}.")
        model = AutoModel.from_pretrained(name)
        extractor = AutoFeatureExtractor.from_pretrained(name)
    except ConfigError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"The speech encoder '{name}' cannot be loaded ({reason}): give a folder that transformers saved."
        ) from error
    adapter = _ADAPTERS[kind]
    return adapter(str(name), model.get_encoder() if kind == "whisper" else model, extractor, layer)


_ADAPTERS: dict[str, type[_PretrainedEncoder]] = {
    "wav2vec2": Wav2Vec2SpeechEncoder,
    "hubert": Wav2Vec2SpeechEncoder,
    "wavlm": Wav2Vec2SpeechEncoder,
    "data2vec-audio": Wav2Vec2SpeechEncoder,
    "whisper": WhisperSpeechEncoder,
}


def check_encoder(encoder: SpeechEncoder, audio_dim: int) -> None:
    """Refuse an encoder whose features a motion model cannot read.

    Args:
        encoder: the speech encoder.
        audio_dim: width of the features the model was trained on.

    Raises:
        ConfigError: the widths differ.
    """
    if encoder.feature_dim != audio_dim:
        raise ConfigError(
            f"The speech encoder '{encoder.name}' gives {encoder.feature_dim} numbers a frame and the motion model "
            f"reads {audio_dim}: train one for it (training/corpus/features.py --encoder, then "
            f"training/train_motion.py with unet.audio_dim={encoder.feature_dim}), or use the embedded encoder."
        )


def _number_of_layers(config: Any) -> int:
    return int(getattr(config, "encoder_layers", None) or config.num_hidden_layers)


def _width(config: Any) -> int:
    return int(getattr(config, "d_model", None) or config.hidden_size)
