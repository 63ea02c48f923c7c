"""Where speech comes from: an array, a file of any length, or live sound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mooe.audio.constants import SAMPLE_RATE, frame_count
from mooe.audio.encoder import SpeechEncoder
from mooe.audio.level import LevelMeter, speech_gain
from mooe.audio.loading import iter_audio, load_audio
from mooe.audio.phone_times import phone_timed
from mooe.audio.synthesis import Speech, TimedPhone
from mooe.audio.windows import WindowedSpeechEncoder
from mooe.errors import AudioError, ConfigError

Waveform = NDArray[np.float32]


class SpeechSource(ABC):
    """Speech that a clip is made of."""

    live = False

    @property
    @abstractmethod
    def samples(self) -> int:
        """Samples of the speech at 16 kHz; of live sound, those heard so far."""

    @property
    def num_frames(self) -> int:
        """Video frames that cover the samples."""
        return frame_count(self.samples)

    @property
    def seconds(self) -> float:
        """How long the samples last."""
        return self.samples / SAMPLE_RATE

    @property
    @abstractmethod
    def waveform(self) -> Waveform:
        """The whole speech, float32 [n] in [-1, 1] at 16 kHz; empty for live sound, which is not kept."""

    @abstractmethod
    def features(self, encoder: SpeechEncoder, first_frame: int = 0) -> Iterator[np.ndarray]:
        """Features of the frames from ``first_frame`` on, float32 [f, D] each."""


class WholeSpeech(SpeechSource):
    """Speech in memory.

    Args:
        waveform: float32 [n] in [-1, 1], 16 kHz, at least one sample.
        phones: when which phone is spoken, where that is known, as in :class:`mooe.audio.Speech`.
    """

    def __init__(self, waveform: Waveform, phones: tuple[TimedPhone, ...] = ()) -> None:
        if waveform.ndim != 1 or not len(waveform) or not np.isfinite(waveform).all():
            raise AudioError("The speech must be a one-dimensional array of finite numbers at 16 kHz, and not empty.")
        self._waveform, self._phones = waveform, phones

    @property
    def samples(self) -> int:
        return len(self._waveform)

    @property
    def waveform(self) -> Waveform:
        return self._waveform

    def features(self, encoder: SpeechEncoder, first_frame: int = 0) -> Iterator[np.ndarray]:
        if self._phones:
            encoder = phone_timed(encoder, self._phones)
        if isinstance(encoder, WindowedSpeechEncoder):
            yield from encoder.stream([self._waveform], speech_gain([self._waveform]), first_frame)
        else:
            yield encoder.encode(self._waveform)[first_frame:]


class SpeechFile(SpeechSource):
    """Speech in a file, read piece by piece each time it is needed, so its length does not matter.

    Args:
        path: any sound or video file FFmpeg can decode.

    Raises:
        AudioError: as :func:`mooe.audio.load_audio`.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)
        meter = LevelMeter()
        self._samples = 0
        for piece in iter_audio(self._path):
            meter.add(piece)
            self._samples += len(piece)
        self._gain = meter.gain()

    @property
    def samples(self) -> int:
        return self._samples

    @property
    def waveform(self) -> Waveform:
        return load_audio(self._path)

    def features(self, encoder: SpeechEncoder, first_frame: int = 0) -> Iterator[np.ndarray]:
        if isinstance(encoder, WindowedSpeechEncoder):
            yield from encoder.stream(iter_audio(self._path), self._gain, first_frame)
        else:
            yield encoder.encode(self.waveform)[first_frame:]


class LiveSpeech(SpeechSource):
    """Speech that is still being spoken; it can be heard once.

    Args:
        pieces: float32 [n] in [-1, 1] at 16 kHz each, of any lengths; whoever gives them may wait for them.
    """

    live = True

    def __init__(self, pieces: Iterable[Waveform | Tensor]) -> None:
        self._pieces = pieces
        self._samples = 0

    @property
    def samples(self) -> int:
        return self._samples

    @property
    def waveform(self) -> Waveform:
        return np.zeros(0, np.float32)

    def features(self, encoder: SpeechEncoder, first_frame: int = 0) -> Iterator[np.ndarray]:
        if first_frame:
            raise ConfigError("Live speech cannot be gone back to: record it to a file first.")
        if not isinstance(encoder, WindowedSpeechEncoder):
            raise ConfigError(f"The speech encoder '{encoder.name}' cannot hear live speech: give a whole recording.")
        yield from encoder.listen(self._heard())

    def _heard(self) -> Iterator[Waveform]:
        for piece in self._pieces:
            samples = np.asarray(piece.cpu() if isinstance(piece, Tensor) else piece, np.float32)
            if samples.ndim != 1 or not np.isfinite(samples).all():
                raise AudioError("Each piece of speech must be a one-dimensional array of finite numbers at 16 kHz.")
            self._samples += len(samples)
            yield samples
        if not self._samples:
            raise AudioError("The live speech ended before it began: give at least one sample.")


Audio = Waveform | Tensor | str | PathLike[str] | Speech | SpeechSource | Iterator[Waveform | Tensor]


def open_speech(audio: Audio) -> SpeechSource:
    """The source that fits what was given (raises AudioError when it cannot be read)."""
    if isinstance(audio, SpeechSource):
        return audio
    if isinstance(audio, str | PathLike):
        return SpeechFile(audio)
    if isinstance(audio, Speech):
        return WholeSpeech(audio.waveform, audio.phones)
    if isinstance(audio, Tensor):
        return WholeSpeech(audio.detach().cpu().numpy().astype(np.float32))
    if isinstance(audio, Iterator):
        return LiveSpeech(audio)
    return WholeSpeech(np.asarray(audio, np.float32))
