"""Finding, loading and checking weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mooe.errors import WeightsError

if TYPE_CHECKING:
    from mooe.decoder.compensator import PortraitCompensator
    from mooe.pipeline import MoEEPipeline

COMPONENTS = ("codec", "unet", "adapters", "emotion_encoder", "pose_predictor")


def embedded_folder() -> Path:
    """The folder of the weights inside the package."""
    return Path(str(resources.files("mooe").joinpath("assets/pipeline")))


def asset_folder(name: str) -> Path:
    """The folder of a network beside the pipeline inside the package, such as "glasses".

    Raises:
        WeightsError: it is not there.
    """
    folder = embedded_folder().parent / name
    if not (folder / "config.json").is_file():
        raise WeightsError(f"mooe/assets/{name} is missing: reinstall mooe.")
    return folder


def control_folder(name: str) -> Path:
    """The folder of a control's weights inside the package: "text" or "voice"."""
    folder = embedded_folder().parent / "controls" / name
    if not (folder / "config.json").is_file():
        raise WeightsError(f"The weights of the {name} control inside the package are missing: reinstall mooe.")
    return folder


def embedded_compensator() -> PortraitCompensator | None:
    """The learned stages of the decoder inside the package; nothing if the weights there have none."""
    from mooe.decoder.compensator import PortraitCompensator

    folder = embedded_folder() / "compensator"
    if not (folder / "config.json").is_file():
        return None
    try:
        model = PortraitCompensator.from_pretrained(folder)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError("The decoder's weights inside the package cannot be loaded: reinstall mooe.") from error
    check_finite(model, "compensator")
    return own_memory(model.eval())  # type: ignore[return-value]


def fast_dtype() -> torch.dtype:
    """bfloat16 where this processor computes in it, else float32."""
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if supported else torch.float32


def books_keep_pace() -> bool:
    """Whether this machine draws with the decoder's codebooks as fast as a film lasts.

    Two cores do that in bfloat16; in float32 they take half as long again as the film.
    """
    return fast_dtype() == torch.bfloat16


def own_memory(module: nn.Module) -> nn.Module:
    """Copy weights into memory of their own.

    Files are mapped into memory at odd addresses, and matrix products differ in the last bit with the alignment; a
    copy makes a loaded pipeline give the same bytes as the one that was saved.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone()
    return module


def check_finite(module: nn.Module, name: str) -> None:
    """Raise :class:`WeightsError` when a weight was not in the file or is not a finite number."""
    for key, tensor in module.state_dict().items():
        if tensor.is_meta:
            raise WeightsError(
                f"The weights '{key}' of '{name}' are missing: the file is another model's, give the right folder."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"The weights '{key}' of '{name}' are not finite numbers: the file is damaged, get it again."
            )


def load_embedded(
    cls: type[MoEEPipeline],
    name_or_path: str | PathLike[str] | None,
    load: Callable[..., Any],
    **kwargs: Any,
) -> MoEEPipeline:
    """Load a pipeline with diffusers' ``load``, from the package when there is no name; errors in one sentence."""
    folder = embedded_folder() if name_or_path is None else name_or_path
    if name_or_path is None and not (embedded_folder() / "model_index.json").is_file():
        raise WeightsError("The weights inside the package are missing: reinstall mooe.")
    dtype = kwargs.pop("torch_dtype", None) or fast_dtype()
    try:
        pipeline = load(str(folder), **kwargs)
    except WeightsError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"The weights in '{folder}' cannot be loaded ({reason}): give a folder that mooe saved."
        ) from error
    if not isinstance(pipeline, cls):
        raise WeightsError(f"'{folder}' holds a {type(pipeline).__name__}, not a MoEEPipeline: give another folder.")
    for name in (*COMPONENTS, "compensator"):
        if getattr(pipeline, name) is not None:
            check_finite(getattr(pipeline, name), name)
    set_precision(pipeline, dtype)
    return pipeline


def set_precision(pipeline: MoEEPipeline, dtype: torch.dtype) -> None:
    """Run the UNet and its experts in ``dtype``; all else is small and stays in float32."""
    for module in (pipeline.unet, pipeline.adapters):
        # diffusers' own `to` warns of layers to be kept in float32, also where a model has none
        own_memory(nn.Module.to(module, dtype=dtype))


def make_debug(cls: type[MoEEPipeline]) -> MoEEPipeline:
    """A tiny pipeline with random weights, the same each time, for tests that run in seconds."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    from mooe.emotion.adapters import MoEEAdapters
    from mooe.emotion.latents import EmotionToLatents
    from mooe.motion.codec import MotionCodec
    from mooe.motion.pose import HeadPosePredictor
    from mooe.motion.unet import MotionUNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = MotionCodec(map_size=16, patch_size=4)
        codec.std.fill_(0.003)
        unet = MotionUNet(
            latent_channels=48, latent_size=4, audio_channels=16, condition_dim=32, map_channels=8,
            block_out_channels=(16, 16), num_attention_heads=2,
        )  # fmt: skip
        adapters = MoEEAdapters.from_unet(
            unet.unet, latent_dim=32, inner_dim=16, prior_shape=(48, 4, 4), num_latents=4
        )
        for name, parameter in adapters.named_parameters():
            # experts start at zero; random ones make emotions differ, a prior in about the measure that attentions do
            nn.init.normal_(parameter, std=0.1 if name.startswith("prior.") else 0.2)
        return cls(
            codec, unet, adapters, EmotionToLatents(latent_dim=32, num_latents=4, encoder_dim=32),
            HeadPosePredictor(hidden_dim=16), FlowMatchEulerDiscreteScheduler(),
        )  # fmt: skip
