"""Reading sound files through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from mooe.audio.constants import SAMPLE_RATE
from mooe.errors import AudioError

SHORTEST = 0.04  # seconds, one video frame


def load_audio(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the first sound track of a file.

    Args:
        path: any sound or video file FFmpeg can decode.

    Returns:
        float32 [n] in [-1, 1], 16 kHz, the mean of all channels.

    Raises:
        AudioError: the file is missing, unreadable, without sound, damaged, or shorter than one video frame.
    """
    return np.concatenate(list(iter_audio(path)))


def audio_duration(path: str | os.PathLike[str]) -> float:
    """Seconds of sound in a file, by decoding it: what headers say is often wrong.

    Raises:
        AudioError: as :func:`load_audio`.
    """
    return sum(map(len, iter_audio(path))) / SAMPLE_RATE


def iter_audio(
    path: str | os.PathLike[str], chunk_seconds: float = 20.0, sample_rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Read a file piece by piece, in constant memory.

    The pieces joined are exactly what :func:`load_audio` gives, at its own rate.

    Args:
        path: any sound or video file FFmpeg can decode.
        chunk_seconds: length of a piece; the last one may be shorter.
        sample_rate: samples a second of the pieces.

    Yields:
        float32 [chunk_seconds * sample_rate] in [-1, 1].

    Raises:
        AudioError: as :func:`load_audio`.
    """
    size = max(1, round(chunk_seconds * sample_rate))
    waiting: list[np.ndarray] = []
    held = total = 0
    for piece in _decode(Path(path), sample_rate):
        waiting.append(piece)
        held += len(piece)
        total += len(piece)
        # Nothing leaves before the file has shown to be long enough, so a short file gives only its error.
        while held >= size and total >= SHORTEST * sample_rate:
            joined = np.concatenate(waiting)
            yield joined[:size]
            waiting, held = [joined[size:]], held - size
    if total == 0:
        raise AudioError(f"{path} holds no sound that can be decoded; record or export it again.")
    if total < SHORTEST * sample_rate:
        milliseconds = 1000.0 * total / sample_rate
        raise AudioError(
            f"The sound of {path} lasts only {milliseconds:.0f} ms; give at least {1000 * SHORTEST:.0f} ms."
        )
    if held:
        yield np.concatenate(waiting)


def _decode(path: Path, sample_rate: int) -> Iterator[np.ndarray]:
    """Decoded mono pieces of any length."""
    _check_file(path)
    try:
        # An open file instead of a name: colons, spaces and other alphabets in names mean nothing to FFmpeg
        # then.
        with open(path, "rb") as file, av.open(file) as container:
            if not container.streams.audio:
                raise AudioError(f"{path} has no sound track; give a file with speech in it.")
            yield from _resample(_frames(container, path), path, sample_rate)
    except PermissionError as error:
        raise AudioError(f"{path} may not be read; change its permissions.") from error
    except (av.FFmpegError, OSError, UnicodeDecodeError) as error:
        raise AudioError(
            f"{path} is not a sound file that can be decoded; convert it to WAV, FLAC, MP3 or M4A."
        ) from error


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise AudioError(f"{path} is a folder; name the sound file in it.")
    if not path.exists():
        raise AudioError(f"There is no sound file {path}; check the path.")
    if path.is_file() and path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes); record or export it again.")


def _frames(container: Any, path: Path) -> Iterator[AudioFrame]:
    """Frames of the first sound track. Damaged packets are skipped as a player would, up to half of them."""
    good = damaged = 0
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged += 1
            continue
        good += bool(frames)
        yield from frames
    if damaged > good:
        raise AudioError(f"{path} is damaged, most of it cannot be decoded; export or download it again.")


def _resample(frames: Iterator[AudioFrame], path: Path, sample_rate: int) -> Iterator[np.ndarray]:
    to_mono: _MonoResampler | None = None
    for frame in frames:
        if to_mono is None or not to_mono.takes(frame):  # joined streams may change their rate half-way
            if to_mono is not None:
                yield from _samples(to_mono.flush(), path)
            to_mono = _MonoResampler(frame, sample_rate)
        yield from _samples(to_mono.push(frame), path)
    if to_mono is not None:
        yield from _samples(to_mono.flush(), path)


class _MonoResampler:
    """From the format of one frame to mono floats at another rate.

    Channels are averaged in between: FFmpeg's own downmix of floats is 3 dB louder and can clip.
    """

    def __init__(self, like: AudioFrame, sample_rate: int) -> None:
        self._source = (like.sample_rate, like.layout.name, like.format.name)
        self._to_float = AudioResampler(format="fltp")
        self._to_rate = AudioResampler(format="fltp", layout="mono", rate=sample_rate)

    def takes(self, frame: AudioFrame) -> bool:
        return self._source == (frame.sample_rate, frame.layout.name, frame.format.name)

    def push(self, frame: AudioFrame) -> list[AudioFrame]:
        result = []
        for part in self._to_float.resample(frame):
            mono = AudioFrame.from_ndarray(part.to_ndarray().mean(axis=0, keepdims=True), "fltp", "mono")
            mono.sample_rate = part.sample_rate
            result += self._to_rate.resample(mono)
        return result

    def flush(self) -> list[AudioFrame]:
        return self._to_rate.resample(None)


def _samples(frames: list[AudioFrame], path: Path) -> Iterator[np.ndarray]:
    for frame in frames:
        samples = frame.to_ndarray()[0]
        if not np.isfinite(samples).all():
            raise AudioError(f"{path} holds samples that are not numbers (NaN or infinite); export it again.")
        yield np.clip(samples, -1.0, 1.0).astype(np.float32)
