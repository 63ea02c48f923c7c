"""What a training stage may ask for besides its loop: attention, activation checkpointing, trackers, hub, previews."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from mooe.errors import ConfigError, DependencyError, OutputError

if TYPE_CHECKING:
    from mooe.emotion.adapters import MoEEAdapters
    from mooe.emotion.latents import EmotionToLatents
    from mooe.motion.codec import MotionCodec
    from mooe.motion.unet import MotionUNet
    from mooe.pipeline import MoEEPipeline

TRACKERS = ("tensorboard", "wandb")


@dataclass
class PreviewConfig:
    """A short video made at each checkpoint, with the averaged weights."""

    portrait: Path
    audio: Path
    emotion: str = "happy"
    """The emotion shown, where the stage has experts."""
    seconds: float = 4.0
    """Length of the video, cut from the start of the speech."""


def tracker_names(report_to: str) -> list[str] | None:
    """The trackers of ``tensorboard``, ``wandb``, both with a comma between, or ``none``.

    Raises:
        ConfigError: a name is not known.
        DependencyError: a tracker is not installed.
    """
    if report_to == "none":
        return None
    names = [name.strip() for name in report_to.split(",")]
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"report_to '{report_to}' is not known: use {' or '.join(TRACKERS)}, or none.")
        if importlib.util.find_spec(name) is None:
            raise DependencyError(f"The tracker {name} is not installed: run 'pip install {name}' or set none.")
    return names


def enable_checkpointing(module: nn.Module) -> None:
    """Compute the activations of all of diffusers' models inside ``module`` again in the backward pass.

    Raises:
        ConfigError: there is no such model.
    """
    able = [m for m in module.modules() if isinstance(m, ModelMixin) and m._supports_gradient_checkpointing]
    if not able:
        raise ConfigError("This stage trains nothing that gradient_checkpointing makes smaller: set it to false.")
    for model in able:
        model.enable_gradient_checkpointing()


def choose_attention(module: nn.Module, name: str) -> None:
    """Use xformers' attention in ``module``, or leave PyTorch's scaled dot product.

    Raises:
        DependencyError: xformers is asked for and there is no NVIDIA GPU or no package.
    """
    if name == "sdpa":
        return
    if importlib.util.find_spec("xformers") is None or not torch.cuda.is_available():
        raise DependencyError(
            "attention: xformers needs an NVIDIA GPU and 'pip install xformers>=0.0.32': use sdpa here."
        )
    for model in module.modules():
        if isinstance(model, ModelMixin):
            model.enable_xformers_memory_efficient_attention()
            return


def push_to_hub(folder: Path, name: str) -> None:
    """Upload a folder of weights to a model repository, which is made if needed.

    Raises:
        OutputError: the hub cannot be reached or refuses; the weights stay where they are.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Trained weights")
    except Exception as error:  # the hub's client raises its own, httpx's and the system's errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OutputError(
            f"The weights could not be uploaded to '{name}' ({reason}): they are in {folder}; log in with "
            "'hf auth login' and run the same command again."
        ) from error


def preview_pipeline(
    codec: MotionCodec,
    unet: MotionUNet,
    adapters: MoEEAdapters | None = None,
    encoder: EmotionToLatents | None = None,
) -> MoEEPipeline:
    """A pipeline of copies of what is in training; what is missing is new, and a new expert adds nothing.

    Args:
        codec: the fitted codec.
        unet: the video UNet, to which ``adapters`` are attached if given.
        adapters: the emotion experts.
        encoder: emotion weights to latents.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    from mooe.emotion.adapters import MoEEAdapters
    from mooe.emotion.latents import EmotionToLatents
    from mooe.motion.pose import HeadPosePredictor
    from mooe.pipeline import MoEEPipeline

    # together, as the UNet's attentions hold the experts
    codec, unet, adapters, encoder = copy.deepcopy((codec, unet, adapters, encoder))
    if adapters is None:
        adapters = MoEEAdapters.from_unet(unet.unet)
    else:
        adapters.detach(unet.unet)
    return MoEEPipeline(
        codec, unet, adapters, encoder or EmotionToLatents(), HeadPosePredictor(),
        FlowMatchEulerDiscreteScheduler(shift=2.0),
    ).to("cpu")  # fmt: skip


def make_preview(
    config: PreviewConfig | None, build: Callable[[], MoEEPipeline], **sampling: Any
) -> Callable[[Path], None] | None:
    """A function that writes a video with a pipeline made of the weights as they are; None where none is wished.

    Args:
        config: what to show.
        build: makes the pipeline; it must not change the modules in training.
        sampling: further arguments of the pipeline's call, such as ``num_inference_steps``.

    Raises:
        MooeError: the portrait or the speech cannot be used.
    """
    if config is None:
        return None
    from mooe.audio import SAMPLE_RATE, load_audio
    from mooe.media import VideoWriter, read_image

    image, speech = read_image(config.portrait), load_audio(config.audio)
    speech = speech[: max(1, round(config.seconds * SAMPLE_RATE))]

    def preview(path: Path) -> None:
        pipeline = build()
        clip: Any = pipeline(
            image,
            speech,
            config.emotion,
            generator=torch.Generator().manual_seed(0),
            paste_back=False,
            # the head has a stage of its own
            head_motion=0.0,
            **sampling,
        )
        height, width = clip.frames.shape[1:3]
        with VideoWriter(path, width, height, audio=clip.audio, force=True) as video:
            for frame in clip.frames:
                video.write(frame)

    return preview
