"""Free text -> emotion: a sentence embedder and a small head trained here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from mooe.emotion.controls import TextReading
from mooe.emotion.embedders import SentenceEmbedder, minilm
from mooe.emotion.taxonomy import EMOTIONS, NEUTRAL, EmotionMix
from mooe.errors import WeightsError
from mooe.weights import control_folder

NOTHING = "nothing"
TEXT_CLASSES: tuple[str, ...] = (*EMOTIONS, NEUTRAL, NOTHING)
"""What a text can ask for: the emotions, a neutral face, or nothing that a face shows."""

# Shares of a mixture below this are the head's doubt, not a wish
_SMALLEST_SHARE = 0.25


class TextEmotionHead(ModelMixin, ConfigMixin):
    """Sentence vectors -> shares of the classes, and the strength.

    Args:
        embedder: name of the embedder it was trained with.
        input_dim: width of the sentence vectors.
        hidden_dim: width of the hidden layer.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, embedder: str, input_dim: int = 384, hidden_dim: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_dim, hidden_dim), nn.SiLU(), nn.Dropout(0.3), nn.Linear(hidden_dim, len(TEXT_CLASSES) + 1)
        )

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors ``[N, input_dim]`` -> logits of `TEXT_CLASSES` ``[N, 8]`` and strengths ``[N]`` in [0, 1]."""
        # the vectors have length 1; their numbers are brought to about unit size
        out = self.layers(vectors * vectors.shape[-1] ** 0.5)
        return out[:, :-1], out[:, -1].sigmoid()


class SentenceReader:
    """Reads the emotion of texts; loads its model when it first reads.

    Args:
        make_embedder: gives the embedder; MiniLM of the package if None.
        head: trained with that embedder; the one inside the package if None.
    """

    def __init__(
        self, make_embedder: Callable[[], SentenceEmbedder] = minilm, head: TextEmotionHead | None = None
    ) -> None:
        self._make_embedder, self._head = make_embedder, head
        self._embedder: SentenceEmbedder | None = None

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> list[TextReading]:
        """Readings of texts.

        Raises:
            DependencyError: the embedder's package is not installed.
            WeightsError: the head was trained with another embedder.
        """
        if self._embedder is None:
            self._embedder = self._make_embedder()
        if self._head is None:
            self._head = TextEmotionHead.from_pretrained(control_folder("text"))
        trained_with = self._head.config["embedder"]
        if trained_with != self._embedder.name:
            raise WeightsError(
                f"The text head was trained with {trained_with}, not {self._embedder.name}: train one with "
                "training/train_text.py."
            )
        logits, strengths = self._head.eval().float()(torch.from_numpy(self._embedder.embed(texts)))
        shares = logits.softmax(-1).numpy()
        return [_reading(row, float(strength)) for row, strength in zip(shares, strengths, strict=True)]


def _reading(shares: np.ndarray, strength: float) -> TextReading:
    """Shares of the classes ``[8]`` and a strength -> reading."""
    emotional = shares[: len(EMOTIONS)]
    rest = dict(zip((NEUTRAL, NOTHING), shares[len(EMOTIONS) :].tolist(), strict=True))
    if emotional.sum() <= max(rest.values()):
        return TextReading(EmotionMix.neutral(), rest[NEUTRAL] >= rest[NOTHING])
    weights = emotional / emotional.sum()
    weights[weights < _SMALLEST_SHARE] = 0
    if not weights.any():
        weights[int(emotional.argmax())] = 1
    return TextReading(EmotionMix((weights / weights.sum() * strength).astype(np.float32)), True)
