"""Emotion-to-Latents: any subset of emotion controls to one set of emotion latents per frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from mooe.emotion.bank import EmotionBank
from mooe.emotion.encoders import ActionUnitEncoder, EncodedControl, LabelEncoder

MODALITIES = ("label", "action_units", "text", "audio")


class EmotionToLatents(ModelMixin, ConfigMixin):
    """Makes emotion latents from labels, action units, text and the voice (Emotion-to-Latents of MoEE).

    Each control present is encoded as tokens and projected to one width, each absent one is a learned null
    token; attention fuses them, and the result is multiplied by the strength. Hence the latents are exactly 0
    where the strength is 0, and their size follows the strength.

    Args:
        latent_dim: channels d of the latents.
        num_latents: latents per frame.
        num_heads: attention heads.
        learnable: whether the learned embeddings ask ("queries": one a latent, the tokens answer) or answer
            ("keys_values": queries come from the mean token). The paper's description allows both.
        num_embeddings: learned keys and values when `learnable` is "keys_values".
        encoder_dim: channels of the label and action unit encoders.
        text_dim: channels of text tokens; None if the model takes no text.
        audio_dim: channels of voice tokens; None if the model takes no voice.
        use_bank: whether the latents retrieve from an `EmotionBank`.
        bank_entries: prototypes in the bank.
    """

    @register_to_config
    def __init__(
        self,
        latent_dim: int = 128,
        num_latents: int = 16,
        num_heads: int = 4,
        learnable: Literal["queries", "keys_values"] = "queries",
        num_embeddings: int = 64,
        encoder_dim: int = 128,
        text_dim: int | None = None,
        audio_dim: int | None = None,
        use_bank: bool = False,
        bank_entries: int = 64,
    ) -> None:
        super().__init__()
        if learnable not in ("queries", "keys_values"):
            raise ValueError(f"learnable must be 'queries' or 'keys_values', not {learnable!r}.")
        self.label_encoder = LabelEncoder(encoder_dim)
        self.action_unit_encoder = ActionUnitEncoder(encoder_dim)
        widths = {"label": encoder_dim, "action_units": encoder_dim, "text": text_dim, "audio": audio_dim}
        self.projections = nn.ModuleDict(
            {name: nn.Linear(width, latent_dim) for name, width in widths.items() if width is not None}
        )
        self.null_tokens = nn.Parameter(torch.randn(len(MODALITIES), latent_dim))
        embeddings = num_latents if learnable == "queries" else num_embeddings
        self.embeddings = nn.Parameter(torch.randn(embeddings, latent_dim))
        self.query_from_tokens = (
            nn.Linear(latent_dim, num_latents * latent_dim) if learnable == "keys_values" else None
        )
        self.norm_tokens = nn.LayerNorm(latent_dim)
        self.attention = _CrossAttention(latent_dim, num_heads)
        self.norm_hidden = nn.LayerNorm(latent_dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(latent_dim, 2 * latent_dim), nn.GELU(), nn.Linear(2 * latent_dim, latent_dim)
        )
        self.norm_out = nn.LayerNorm(latent_dim)
        self.bank = EmotionBank(latent_dim, bank_entries, num_heads) if use_bank else None
        self._bank_losses: list[Tensor] | None = None

    @contextmanager
    def collect_bank_losses(self) -> Iterator[list[Tensor]]:
        """Collects the bank's loss (see `BankOutput`) of each call inside the context; none without a bank."""
        previous, self._bank_losses = self._bank_losses, []
        try:
            yield self._bank_losses
        finally:
            self._bank_losses = previous

    def forward(
        self,
        label: Tensor | None = None,
        action_units: Tensor | None = None,
        text: EncodedControl | None = None,
        audio: EncodedControl | None = None,
    ) -> Tensor:
        """Emotion latents of the controls given; the strongest of them sets the strength.

        Args:
            label: weights [batch, frame, 6] in the order of `EMOTIONS`, at most 1 in sum.
            action_units: intensities [batch, frame, unit] in the order of `ACTION_UNITS`, in [0, 1].
            text: output of a `TextEmotionEncoder` with `text_dim` channels.
            audio: output of an `AudioEmotionEncoder` with `audio_dim` channels.
            The frame dimension may be 1 for a control that does not change.

        Returns:
            [batch, frame, num_latents, latent_dim]. If no control changes over time, the latents are computed
            once and the frame dimension is an expanded view (stride 0).

        Raises:
            ValueError: no control is given, or text or voice that the model was not built for.
        """
        controls = {"text": text, "audio": audio}
        num_frames = 1
        for name, encoder, control in (
            ("label", self.label_encoder, label),
            ("action_units", self.action_unit_encoder, action_units),
        ):
            if control is not None:
                num_frames = max(num_frames, control.shape[1])
                controls[name] = encoder(_once_if_constant(control).to(self.dtype))
        present = {name: control for name, control in controls.items() if control is not None}
        if not present:
            raise ValueError("EmotionToLatents needs a control: label, action_units, text or audio.")
        num_frames = max(num_frames, *(control.tokens.shape[1] for control in present.values()))
        tokens, strength = self._fuse_inputs(present)
        latents = self._attend(tokens) * strength[..., None, None].to(self.dtype)
        return latents.expand(-1, num_frames, -1, -1)

    def _fuse_inputs(self, present: dict[str, EncodedControl]) -> tuple[Tensor, Tensor]:
        """Tokens [batch, frame or 1, token, latent_dim] of all modalities, strength [batch, frame or 1]."""
        strengths = torch.broadcast_tensors(*(control.strength for control in present.values()))
        strength = torch.stack(strengths).amax(dim=0)
        tokens = []
        for index, name in enumerate(MODALITIES):
            if name not in present:
                tokens.append(self.null_tokens[index].expand(*strength.shape, 1, -1))
                continue
            if name not in self.projections:
                raise ValueError(f"This model takes no {name}: it was built with {name}_dim=None.")
            projected = self.projections[name](present[name].tokens.to(self.dtype))
            tokens.append(projected.expand(*strength.shape, -1, -1))
        return torch.cat(tokens, dim=2), strength

    def _attend(self, tokens: Tensor) -> Tensor:
        """Latents [batch, frame, num_latents, latent_dim] before the strength is applied."""
        batch, frames = tokens.shape[:2]
        tokens = self.norm_tokens(tokens.flatten(0, 1))
        embeddings = self.embeddings.expand(len(tokens), -1, -1)
        if self.query_from_tokens is None:
            hidden = embeddings + self.attention(embeddings, tokens)
        else:
            queries = self.query_from_tokens(tokens.mean(dim=1)).unflatten(-1, (-1, tokens.shape[-1]))
            hidden = queries + self.attention(queries, embeddings)
        hidden = hidden + self.feed_forward(self.norm_hidden(hidden))
        latents = self.norm_out(hidden)
        if self.bank is not None:
            latents, _, loss = self.bank(latents)
            if self._bank_losses is not None:
                self._bank_losses.append(loss)
        return latents.unflatten(0, (batch, frames))


class _CrossAttention(nn.Module):
    """Multi-head attention of queries [batch, n, dim] to a context [batch, m, dim]."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_kv = nn.Linear(dim, 2 * dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.to_q(queries), *self.to_kv(context).chunk(2, dim=-1))
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.to_out(attended.transpose(1, 2).flatten(2))


def _once_if_constant(control: Tensor) -> Tensor:
    """The first frame alone, [batch, 1, ...], if all frames of [batch, frame, ...] are equal."""
    first = control[:, :1]
    return first if bool((control == first).all()) else control
