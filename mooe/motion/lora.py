"""LoRA adapters of speakers: how one person speaks, as small matrices beside the model's own weights.

They belong to the video UNet and, where the decoder has learned stages and film to learn from, to the transformers that
ask its codebooks. Low-rank adaptation (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022):
W' = W + s B A. peft holds the matrices, diffusers' mixins load, weigh, fuse and save them; at s = 0 the model is the
base model exactly.

When people blink is not the UNet's business but a schedule's that it follows, and how brows wander is drawn for it, so
how long a speaker's blinks last and the speaker's :class:`~mooe.motion.manner.BrowManner` are kept in the file beside
the matrices, and weighed like them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY, LORA_WEIGHT_NAME_SAFE, LoraBaseMixin
from diffusers.loaders.peft import PeftAdapterMixin
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mooe.errors import ConfigError, WeightsError
from mooe.motion.manner import BrowManner

# Linear layers and convolutions that change with a speaker, by the ends of their names
SPEAKER_TARGETS: tuple[str, ...] = (
    "to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "conv1", "conv2", "conv_in", "conv_out",
    "time_emb_proj", "prior",
)  # fmt: skip

# Layers of the decoder's transformers, likewise
DECODER_TARGETS: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "to_code", "from_code")

logger = logging.getLogger(__name__)
SHORTEST_BLINK, LONGEST_BLINK = 0.4, 4.0
_BLINK_KEY = "speaker.blink_length"
_MANNER_KEY = "speaker.brow_manner"


@dataclass(frozen=True)
class SpeakerHabits:
    """What is a speaker's own beside the adapted layers.

    Attributes:
        blink_length: how long a blink lasts, 1 is usual.
        brows: how the brows wander; None if no more than the model's own.
    """

    blink_length: float = 1.0
    brows: BrowManner | None = None


class SpeakerLoraMixin(LoraBaseMixin):
    """LoRA for a pipeline whose ``unet`` is a :class:`diffusers.loaders.peft.PeftAdapterMixin`.

    So is its ``compensator``, if it has one.
    """

    _lora_loadable_modules = ("unet", "compensator")
    unet: Any
    compensator: Any

    @property
    def blink_length(self) -> float:
        """How long a blink lasts with the adapters at their weights, 1 is usual."""
        habits, weights = self._speakers()
        longer = sum(weight * (habits[name].blink_length - 1) for name, weight in weights.items() if name in habits)
        return min(max(1 + longer, SHORTEST_BLINK), LONGEST_BLINK)

    @property
    def brow_manners(self) -> list[tuple[BrowManner, float]]:
        """How brows wander with the adapters, and each one's weight."""
        habits, weights = self._speakers()
        found = ((habits[name].brows, weight) for name, weight in weights.items() if name in habits)
        return [(brows, weight) for brows, weight in found if brows is not None]

    @property
    def brow_lifts(self) -> float:
        """Gain of the brows that are raised with accents: they give way to a speaker's own manner."""
        return max(0.0, 1 - sum(abs(weight) for _, weight in self.brow_manners))

    @property
    def mouth_widening(self) -> float:
        """Gain of how much wider mouths get as they open: adapters have learnt that of their speaker."""
        return max(0.0, 1 - sum(abs(weight) for weight in self._speakers()[1].values()))

    def _speakers(self) -> tuple[dict[str, SpeakerHabits], dict[str, float]]:
        """Each adapter's habits, and the active adapters' weights."""
        if not hasattr(self, "_speaker_state"):
            self._speaker_state: tuple[dict[str, SpeakerHabits], dict[str, float]] = ({}, {})
        return self._speaker_state

    def set_adapters(self, adapter_names: list[str] | str, adapter_weights: Any = None) -> None:
        """Choose the active adapters and their weights (1 if not given); see diffusers."""
        super().set_adapters(adapter_names, adapter_weights)
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        given = adapter_weights if isinstance(adapter_weights, list) else [adapter_weights] * len(names)
        weights = self._speakers()[1]
        weights.clear()
        weights.update({name: 1.0 if w is None else float(w) for name, w in zip(names, given, strict=True)})

    def disable_lora(self) -> None:
        """Give the base model until an adapter is chosen by :meth:`set_adapters` again."""
        super().disable_lora()
        self._speakers()[1].clear()

    def unload_lora_weights(self) -> None:
        """Take all adapters out."""
        super().unload_lora_weights()
        for kept in self._speakers():
            kept.clear()

    def load_lora_weights(self, path: str | PathLike[str], adapter_name: str | None = None, **kwargs: Any) -> None:
        """Load a speaker's adapter and make it the active one, at weight 1.

        Args:
            path: a file or folder that :meth:`save_lora_weights` or ``training/train_lora.py`` wrote, or a hub name.
            adapter_name: what to call it in :meth:`set_adapters`; ``default_0`` and so on if None.
            kwargs: passed to diffusers (``revision``, ``token``, ``cache_dir`` ...).

        Raises:
            WeightsError: the file is missing, damaged, or made for another UNet.
        """
        if adapter_name is not None and adapter_name in getattr(self.unet, "peft_config", {}):
            raise WeightsError(f"A LoRA adapter named '{adapter_name}' is loaded already: choose another name.")
        folder, parts = Path(path), ["unet"]
        if folder.is_file():
            kwargs["weight_name"] = folder.name
            folder = folder.parent
        if folder.is_dir():
            file = folder / kwargs.setdefault("weight_name", LORA_WEIGHT_NAME_SAFE)
            if "compensator" in _check_fits(file, {"unet": self.unet, "compensator": self.compensator}):
                parts.append("compensator")
        found = _read_habits(folder / kwargs["weight_name"]) if folder.is_dir() else SpeakerHabits()
        try:
            for part in parts:
                getattr(self, part).load_lora_adapter(
                    str(folder) if folder.is_dir() else str(path), prefix=part, adapter_name=adapter_name, **kwargs
                )
                adapter_name = str(getattr(self, part).active_adapters()[0])
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(
                f"The LoRA '{path}' cannot be loaded ({reason}): give a file that train_lora.py wrote."
            ) from error
        # a new adapter joins the ones before it only when set_adapters says so
        name = str(adapter_name)
        habits, weights = self._speakers()
        habits[name] = found
        weights.clear()
        weights[name] = 1.0
        for part in parts:
            getattr(self, part).eval()

    def save_lora_weights(self, folder: str | PathLike[str], adapter_name: str = "default") -> None:
        """Write an adapter as ``pytorch_lora_weights.safetensors`` in ``folder`` (WeightsError if not loaded)."""
        if adapter_name not in getattr(self.unet, "peft_config", {}):
            raise WeightsError(f"There is no LoRA adapter '{adapter_name}' to save: load or train it first.")
        adapted = adapter_name in getattr(self.compensator, "peft_config", {})
        habits = self._speakers()[0].get(adapter_name, SpeakerHabits())
        save_unet_lora(
            self.unet, folder, adapter_name, habits.blink_length, self.compensator if adapted else None, habits.brows
        )

    def fuse_lora(
        self,
        components: Sequence[str] = ("unet", "compensator"),
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the active adapters into the model's own weights, which costs no time when sampling."""
        super().fuse_lora(list(components), lora_scale, safe_fusing, adapter_names, **kwargs)

    def unfuse_lora(self, components: Sequence[str] = ("unet", "compensator"), **kwargs: Any) -> None:
        """Take fused adapters out again; the weights come back up to rounding."""
        super().unfuse_lora(list(components), **kwargs)


def save_unet_lora(
    unet: Any,
    folder: str | PathLike[str],
    adapter_name: str = "default",
    blink_length: float = 1.0,
    compensator: Any = None,
    brows: BrowManner | None = None,
) -> None:
    """Write one adapter of a UNet in the layout that :meth:`SpeakerLoraMixin.load_lora_weights` reads.

    Args:
        unet: the UNet that has the adapter.
        folder: made if needed.
        adapter_name: which adapter.
        blink_length: of the speaker's blinks, 1 is usual.
        compensator: the decoder's learned stages, if they have the adapter as well.
        brows: how the speaker's brows wander, if more than the model's own.
    """
    from peft.utils import get_peft_model_state_dict

    metadata: dict[str, Any] = {_BLINK_KEY: blink_length}
    if brows is not None:
        metadata[_MANNER_KEY] = brows.to_lists()
    layers: dict[str, Tensor] = {}
    for name, model in (("unet", unet), ("compensator", compensator)):
        if model is not None:
            metadata |= {f"{name}.{key}": value for key, value in model.peft_config[adapter_name].to_dict().items()}
            matrices = get_peft_model_state_dict(model, adapter_name=adapter_name)
            layers |= LoraBaseMixin.pack_weights({k: v.contiguous() for k, v in matrices.items()}, name)
    temporary = Path(folder) / "unfinished"
    LoraBaseMixin.write_lora_layers(layers, str(temporary), True, LORA_WEIGHT_NAME_SAFE, None, True, metadata)
    (temporary / LORA_WEIGHT_NAME_SAFE).replace(Path(folder) / LORA_WEIGHT_NAME_SAFE)
    temporary.rmdir()


def add_speaker_lora(
    unet: PeftAdapterMixin, rank: int = 8, alpha: int = 8, targets: Sequence[str] = SPEAKER_TARGETS
) -> None:
    """Add a new adapter named ``default`` to a UNet; it starts at zero, so the UNet gives what it gave before.

    All other weights are frozen.

    Args:
        unet: a :class:`mooe.motion.unet.MotionUNet`, or any model with diffusers' adapter mixin, such as a
            :class:`~mooe.decoder.compensator.PortraitCompensator` with ``DECODER_TARGETS``.
        rank: r, the inner width of the matrices.
        alpha: numerator of the scale s = alpha / rank.
        targets: ends of the names of the layers to adapt.

    Raises:
        ConfigError: no layer has such a name, or the rank is not positive.
    """
    from peft import LoraConfig

    if rank < 1:
        raise ConfigError(f"A LoRA of rank {rank} cannot be made: choose 1 or more, such as 8.")
    pattern = rf"(.*\.)?({'|'.join(re.escape(t) for t in targets)})"
    model: Any = unet
    if not any(re.fullmatch(pattern, name) for name, _ in model.named_modules()):
        raise ConfigError(f"No layer of {type(unet).__name__} is named {', '.join(targets)}: correct 'targets'.")
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern, init_lora_weights=True))


def _read_habits(file: Path) -> SpeakerHabits:
    with safe_open(str(file), "pt") as tensors:
        stored = json.loads((tensors.metadata() or {}).get(LORA_ADAPTER_METADATA_KEY, "{}"))
    length = min(max(float(stored.get(_BLINK_KEY, 1.0)), SHORTEST_BLINK), LONGEST_BLINK)
    brows = stored.get(_MANNER_KEY)
    return SpeakerHabits(length, None if brows is None else BrowManner.from_lists(brows))


def _check_fits(file: Path, models: dict[str, nn.Module | None]) -> set[str]:
    """Which of the models the file adapts.

    Raises:
        WeightsError: a matrix belongs to no layer of these models, or has other widths.
    """
    if not file.is_file():
        raise WeightsError(f"There is no LoRA in '{file.parent}': give a file or folder that train_lora.py wrote.")
    try:
        with safe_open(str(file), "pt") as tensors:
            shapes = {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The LoRA '{file}' is damaged ({error}): train or copy it again.") from error
    if models["compensator"] is None and any(key.startswith("compensator.") for key in shapes):
        logger.warning("The decoder has no learned stages, so the LoRA '%s' adapts the motion alone.", file)
        shapes = {key: shape for key, shape in shapes.items() if not key.startswith("compensator.")}
    layers = {
        f"{part}.{name.replace('.base_layer', '')}": module
        for part, model in models.items()
        if model is not None
        for name, module in model.named_modules()
    }
    for key, shape in shapes.items():
        path, _, matrix = key.removesuffix(".weight").rpartition(".")
        weight = getattr(layers.get(path), "weight", None)
        side = {"lora_A": 1, "lora_B": 0}.get(matrix)
        if weight is None or side is None or shape[side] != weight.shape[side]:
            raise WeightsError(
                f"The LoRA '{file}' was made for another UNet ('{key}' does not fit): give one trained with this model."
            )
    return {key.partition(".")[0] for key in shapes}
