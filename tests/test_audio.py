"""Laws of reading sound and of the speech features."""

from __future__ import annotations

import json
import math
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from mooe.audio import (
    SAMPLE_RATE,
    HamaSpeechEncoder,
    SpeechEncoder,
    audio_duration,
    frame_count,
    iter_audio,
    load_audio,
    speech_gain,
)
from mooe.audio.prosody import PROSODY_DIM, prosody
from mooe.errors import AudioError

EXAMPLE = Path(__file__).parents[1] / "examples" / "speech.wav"


def tone(seconds: float, rate: int, frequency: float = 220.0) -> np.ndarray:
    return 0.5 * np.sin(2.0 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    """16-bit WAV of [n] or [n, channels]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def write_encoded(path: Path, samples: np.ndarray, rate: int, codec: str) -> Path:
    """A file of any codec from mono [n]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        if codec == "flac":
            stream.format = "s16"
            frame = av.AudioFrame.from_ndarray(
                np.round(samples * 32767).astype(np.int16)[None], "s16", "mono"
            )
        else:
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def write_float_wav(path: Path, samples: np.ndarray) -> Path:
    """32-bit float WAV, which may hold NaN."""
    data = samples.astype("<f4").tobytes()
    header = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (3).to_bytes(2, "little") + (1).to_bytes(2, "little") + SAMPLE_RATE.to_bytes(4, "little")
    header += (4 * SAMPLE_RATE).to_bytes(4, "little") + (4).to_bytes(2, "little") + (32).to_bytes(2, "little")
    path.write_bytes(header + b"data" + len(data).to_bytes(4, "little") + data)
    return path


@pytest.fixture(scope="module")
def encoder() -> HamaSpeechEncoder:
    return HamaSpeechEncoder()


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return load_audio(EXAMPLE)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_resampling_keeps_duration_and_pitch(tmp_path: Path, rate: int) -> None:
    audio = load_audio(write_wav(tmp_path / "tone.wav", tone(1.3, rate), rate))
    assert audio.dtype == np.float32 and audio.ndim == 1
    assert len(audio) == pytest.approx(1.3 * SAMPLE_RATE, abs=2)
    spectrum = np.abs(np.fft.rfft(audio))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(audio) == pytest.approx(220.0, abs=1.0)
    assert np.abs(audio[800:-800]).max() == pytest.approx(0.5, abs=0.01)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone(0.5, 44100)
    stereo = write_wav(tmp_path / "stereo.wav", np.stack([left, 0.0 * left], axis=1), 44100)
    mono = write_wav(tmp_path / "mono.wav", left / 2.0, 44100)
    assert np.abs(load_audio(stereo) - load_audio(mono)).max() < 1e-4


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "mp3"), ("a.m4a", "aac"), ("a.flac", "flac")])
def test_compressed_files(tmp_path: Path, name: str, codec: str) -> None:
    folder = tmp_path / "Grüße, an alle: 声音"
    folder.mkdir()
    audio = load_audio(write_encoded(folder / name, tone(2.0, 44100), 44100, codec))
    assert len(audio) / SAMPLE_RATE == pytest.approx(2.0, abs=0.06)  # lossy codecs pad to whole blocks
    assert np.sqrt(np.mean(audio[8000:24000] ** 2)) == pytest.approx(0.5 / math.sqrt(2.0), rel=0.1)


@pytest.mark.parametrize("chunk_seconds", [0.01, 0.3, 60.0])
def test_pieces_joined_are_the_whole(speech: np.ndarray, chunk_seconds: float) -> None:
    pieces = list(iter_audio(EXAMPLE, chunk_seconds))
    assert all(len(piece) == round(chunk_seconds * SAMPLE_RATE) for piece in pieces[:-1])
    assert np.array_equal(np.concatenate(pieces), speech)
    assert audio_duration(EXAMPLE) == len(speech) / SAMPLE_RATE


def test_silence_is_allowed(tmp_path: Path, encoder: HamaSpeechEncoder) -> None:
    audio = load_audio(write_wav(tmp_path / "silence.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE))
    features = encoder.encode(audio)
    assert features.shape == (25, encoder.feature_dim)
    assert np.isfinite(features).all()
    assert not features[:, -PROSODY_DIM:].any()


def bad_files(folder: Path) -> dict[str, Path]:
    folder.joinpath("text.wav").write_text("this is not sound\n" * 100)
    folder.joinpath("empty.wav").write_bytes(b"")
    folder.joinpath("noise.mp3").write_bytes(np.random.default_rng(0).bytes(20000))
    with av.open(str(folder / "picture.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return {
        "missing": folder / "missing.wav",
        "folder": folder,
        "text": folder / "text.wav",
        "empty": folder / "empty.wav",
        "noise": folder / "noise.mp3",
        "no sound track": folder / "picture.mp4",
        "one millisecond": write_wav(folder / "short.wav", np.zeros(16), SAMPLE_RATE),
        "no samples": write_wav(folder / "none.wav", np.zeros(0), SAMPLE_RATE),
        "not a number": write_float_wav(folder / "nan.wav", np.full(SAMPLE_RATE, np.nan)),
        "infinite": write_float_wav(folder / "infinite.wav", np.full(SAMPLE_RATE, np.inf)),
    }


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing", "no sound file"),
        ("folder", "is a folder"),
        ("text", "cannot be decoded|can be decoded"),
        ("empty", "empty"),
        ("noise", "can be decoded"),
        ("no sound track", "no sound track"),
        ("one millisecond", "lasts only 1 ms"),
        ("no samples", "holds no sound"),
        ("not a number", "not numbers"),
        ("infinite", "not numbers"),
    ],
)
def test_bad_files_are_named_with_a_cure(tmp_path: Path, name: str, says: str) -> None:
    path = bad_files(tmp_path)[name]
    with pytest.raises(AudioError, match=says) as caught:
        load_audio(path)
    message = str(caught.value)
    assert str(path) in message and ";" in message and "\n" not in message
    with pytest.raises(AudioError, match=says):
        next(iter_audio(path, 0.001))


def test_encoder_keeps_its_interface(encoder: HamaSpeechEncoder) -> None:
    assert isinstance(encoder, SpeechEncoder)
    assert encoder.feature_dim == 2 * len(encoder.phone_tokens) + PROSODY_DIM


@pytest.mark.parametrize("samples", [0, 1, 640, 641, 16000, 16001, 23999])
def test_one_row_a_video_frame(encoder: HamaSpeechEncoder, speech: np.ndarray, samples: int) -> None:
    features = encoder.encode(speech[:samples])
    assert features.dtype == np.float32
    assert features.shape == (math.ceil(samples / SAMPLE_RATE * 25), encoder.feature_dim)
    assert len(features) == frame_count(samples)


def test_same_sound_same_features(encoder: HamaSpeechEncoder, speech: np.ndarray) -> None:
    assert np.array_equal(encoder.encode(speech[:48000]), encoder.encode(speech[:48000]))
    assert np.array_equal(encoder.encode(speech[:48000]), HamaSpeechEncoder().encode(speech[:48000]))


def test_rows_are_probabilities_of_two_steps(encoder: HamaSpeechEncoder, speech: np.ndarray) -> None:
    tokens = len(encoder.phone_tokens)
    steps = encoder.encode(speech)[:, : 2 * tokens].reshape(-1, tokens)
    assert steps.min() >= 0.0
    assert np.abs(steps.sum(axis=1) - 1.0).max() < 1e-3


def test_pieces_of_a_stream_do_not_matter(encoder: HamaSpeechEncoder, speech: np.ndarray) -> None:
    long = np.tile(speech, 3)
    gain = speech_gain([long])
    pieces = np.split(long, [777, 16000, 16000 * 25, 16000 * 25 + 1])
    assert speech_gain(pieces) == gain
    assert np.array_equal(np.concatenate(list(encoder.stream(pieces, gain))), encoder.encode(long))


def test_what_comes_later_does_not_matter(encoder: HamaSpeechEncoder, speech: np.ndarray) -> None:
    """The first windows of a long clip are those of the same clip cut short."""
    long = np.tile(speech, 3)
    whole = np.concatenate(list(encoder.stream([long], 1.0)))
    first = np.concatenate(list(encoder.stream([long[: 25 * SAMPLE_RATE]], 1.0)))
    assert np.array_equal(whole[: 19 * 25], first[: 19 * 25])


def test_pieces_agree_with_the_whole_away_from_seams(encoder: HamaSpeechEncoder, speech: np.ndarray) -> None:
    long = np.tile(speech, 3)
    whole = np.concatenate(list(encoder.stream([long], 1.0)))
    part = np.concatenate(list(encoder.stream([long[12 * SAMPLE_RATE : 30 * SAMPLE_RATE]], 1.0)))
    difference = np.abs(whole[12 * 25 : 30 * 25] - part)[25:-25]
    tokens = 2 * len(encoder.phone_tokens)
    # hama normalises a window as a whole, so a peak may move by a step; half the sum is the share that moved.
    assert difference[:, :tokens].sum(axis=1).mean() / 4.0 < 0.08
    assert difference[:, tokens:].max() < 1e-3


@pytest.mark.parametrize("factor", [0.02, 0.3, 1.5])
def test_loudness_does_not_matter(encoder: HamaSpeechEncoder, speech: np.ndarray, factor: float) -> None:
    usual, other = encoder.encode(speech), encoder.encode(speech * np.float32(factor))
    tokens = 2 * len(encoder.phone_tokens)
    assert np.abs(usual - other)[:, :tokens].sum(axis=1).mean() / 4.0 < 0.08
    assert np.abs(usual - other)[:, tokens:].mean() < 0.02


def test_silence_is_not_amplified() -> None:
    hiss = 1e-5 * np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    assert speech_gain([hiss]) == 1.0
    assert speech_gain([np.zeros(0, np.float32)]) == 1.0


def test_pauses_do_not_change_the_gain(speech: np.ndarray) -> None:
    with_pause = np.concatenate([speech, np.zeros(len(speech), np.float32)])
    assert speech_gain([with_pause]) == pytest.approx(speech_gain([speech]), rel=0.1)


@pytest.mark.parametrize("frequency", [90.0, 160.0, 320.0])
def test_pitch_of_a_buzz(frequency: float) -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    buzz = sum(np.sin(2.0 * np.pi * frequency * k * time) / k for k in range(1, 8)).astype(np.float32)
    rows = prosody(0.1 * buzz)[2:-2]
    assert rows[:, 3].min() > 0.9
    octaves = rows[:, 2] / rows[:, 3]
    assert np.abs(octaves - math.log2(frequency / 160.0)).max() < 0.05


def test_noise_is_unvoiced_and_flat() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    rows = prosody(noise)[2:-2]
    assert rows[:, 3].mean() < 0.5
    assert rows[:, 4].mean() > 0.4


def test_frames_lie_where_the_sound_is() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[10 * 640 + 320] = 0.9  # the middle of frame 10
    assert np.argmax(prosody(click)[:, 0]) == 10


def test_example_phones_are_heard_in_time(encoder: HamaSpeechEncoder, speech: np.ndarray) -> None:
    """Peaks of p, b and m lie within 120 ms after the middle of the phones the synthesiser wrote down."""
    phones = json.loads(EXAMPLE.with_suffix(".json").read_text(encoding="utf-8"))["phones"]
    tokens = encoder.phone_tokens
    steps = encoder.encode(speech)[:, : 2 * len(tokens)].reshape(-1, len(tokens))
    lips = [(phone, (start + end) / 2.0) for phone, start, end in phones if phone in "pbm"]
    found = []
    for phone, middle in lips:
        first = round(middle / 0.02)
        found.append(steps[max(0, first - 1) : first + 7, tokens.index(phone)].max() > 0.3)
    assert len(lips) >= 8
    assert np.mean(found) >= 0.8
