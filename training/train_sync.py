"""The network of the synchronisation metric (see ``mooe/metrics/sync.py``); it is no loss of any other stage.

    accelerate launch training/train_sync.py --config configs/sync.yaml

It learns from the acted corpus to find the sound that goes with a mouth among the same sound shifted by up to 15 frames
and the sound of others. Voices named in ``held_out`` are left out, to be tested on:

    python training/train_sync.py --config configs/sync.yaml --test

Run the same command again to resume.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional

from mooe.config import load_config
from mooe.errors import ConfigError
from mooe.metrics.sync import (
    LONGEST_OFFSET,
    SYNC_POINTS,
    SyncNetwork,
    log_mel,
    mouth_features,
    offset_distances,
    sound_features,
)
from mooe.motion.unet import AUDIO_CONTEXT
from training.common import LoopConfig, TrainingLoop, arguments, run_command, take_streams
from training.corpus.clips import load_clip
from training.corpus.motion import MotionCorpus, SpeechClip, load_clips

Array = NDArray[np.float32]


@dataclass
class SyncConfig:
    """Settings of the stage."""

    loop: LoopConfig
    features: Path
    """Folder that ``training/corpus/features.py`` wrote."""
    speech: Path
    """Folder that it was written from."""
    held_out: list[str] = field(default_factory=list)
    """Voices to test on; clips that mix them with others are left out of both."""
    batch_size: int = 16
    """Takes a step and process."""
    window: int = 90
    """Frames in a take."""
    neutral_share: float = 0.5
    """Share of takes without emotion."""
    test_takes: int = 300
    """Takes of the held-out voices in a test."""


class SyncCorpus:
    """Takes of the acted corpus whose sound has mel energies beside the encoder's features.

    Args:
        features, speech: folders of the corpus.
        held_out: voices.
        testing: take the held-out voices, and no others.
        window: frames in a take.
    """

    def __init__(self, features: Path, speech: Path, held_out: list[str], window: int, *, testing: bool) -> None:
        voices = {path.stem: _voice(path) for path in sorted(features.glob("*/*.npz"))}
        wanted = [name for name, voice in voices.items() if voice and _belongs(voice, held_out, testing)]
        clips = [clip for clip in load_clips(features) if clip.name in set(wanted) and clip.num_frames > window]
        if not clips:
            raise ConfigError(f"No voice in {features} is left to learn from: change 'held_out'.")
        self.corpus = MotionCorpus([_with_mel(clip, speech) for clip in clips], window)

    def take(self, rng: np.random.Generator, neutral: float, *, worse: bool) -> tuple[Array, Array]:
        """Mouth ``[F, 82]`` and sound ``[F, 271]`` of a take; ``worse`` as trackers and microphones make them."""
        take = self.corpus.sample(rng, neutral=neutral)
        mouth = take.displacement[:, list(SYNC_POINTS)]
        heard = take.features[AUDIO_CONTEXT:-AUDIO_CONTEXT]
        posteriors, mel = heard[:, :-80], heard[:, -80:]
        if worse:
            mouth, mel = _tracked(mouth, rng), _recorded(mel, rng)
        return mouth_features(mouth), sound_features(posteriors, mel)


def _voice(path: Path) -> str:
    with np.load(path) as data:
        return str(data["voice"])


def _belongs(voice: str, held_out: list[str], testing: bool) -> bool:
    parts = [part in held_out for part in voice.split("+")]
    return all(parts) if testing else not any(parts)


def _with_mel(clip: SpeechClip, speech: Path) -> SpeechClip:
    mel = log_mel(load_clip(speech / f"{int(clip.name) // 100:03d}" / f"{clip.name}.npz").audio)
    length = min(len(mel), clip.num_frames)
    renderings = tuple(np.concatenate([f[:length], mel[:length]], 1, dtype=np.float32) for f in clip.features)
    return SpeechClip(clip.name, renderings, clip.phones)


def _tracked(mouth: Array, rng: np.random.Generator) -> Array:
    """The mouth as a tracker sees it: of another size, smoothed, trembling, and drifting with the head."""
    size = rng.uniform(0.5, 1.4, (1, 1, mouth.shape[2]))
    smooth = gaussian_filter1d(mouth * size, rng.uniform(0.1, 1.0), axis=0)
    tremble = rng.standard_normal(mouth.shape) * rng.uniform(0.0005, 0.004)
    drift = gaussian_filter1d(rng.standard_normal((len(mouth), 1, mouth.shape[2])), 8, axis=0) * rng.uniform(0, 0.03)
    return (smooth + tremble + drift).astype(np.float32)


def _recorded(mel: Array, rng: np.random.Generator) -> Array:
    """Mel energies through another microphone (gain, colour) and over noise."""
    bands = mel.shape[1] // 2
    colour = np.interp(np.arange(bands), np.linspace(0, bands - 1, 5), rng.normal(0, 1.0, 5))
    noise = rng.uniform(-11.5, -4.0) + np.interp(np.arange(bands), np.linspace(0, bands - 1, 4), rng.normal(0, 1.0, 4))
    heard = np.logaddexp(mel + np.tile(colour, 2), np.tile(noise, 2) + 0.3 * rng.standard_normal(mel.shape))
    return heard.astype(np.float32)


def sync_loss(mouth: Tensor, sound: Tensor, sharpness: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding the right sound for ``width`` frames of mouth.

    Args:
        mouth, sound: unit vectors ``[B, F, d]``.
        sharpness: factor on the similarities.
        width: frames that are judged together.

    Returns:
        Loss among the same sound shifted by up to 15 frames plus that among the batch's sounds, and the share of
        windows whose offset is found exactly.
    """
    reach = LONGEST_OFFSET
    inner = mouth[:, reach:-reach]
    windows = sound.unfold(1, inner.shape[1], 1)  # [B, 31, d, F - 30]
    shifted = torch.einsum("bfd,bodf->bof", inner, windows)
    pooled = functional.avg_pool1d(shifted, width, stride=max(width // 2, 1)) * sharpness
    right = torch.full((pooled.shape[0], pooled.shape[2]), reach, device=pooled.device)
    in_time = functional.cross_entropy(pooled, right)
    across = torch.einsum("bfd,cfd->bc", mouth, sound) / mouth.shape[1] * sharpness
    among = functional.cross_entropy(across, torch.arange(len(across), device=across.device))
    return in_time + among, (pooled.argmax(1) == reach).float().mean()


class SyncStage:
    """The loss of the stage."""

    def __init__(self, config: SyncConfig, corpus: SyncCorpus, network: SyncNetwork) -> None:
        self.config, self.corpus, self.network = config, corpus, network

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        streams = take_streams(self.config.loop.seed, step, self.config.batch_size)
        takes = [self.corpus.take(rng, self.config.neutral_share, worse=True) for rng in streams]
        device = self.network.device
        mouth, sound = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*takes, strict=True))
        width = int(streams[0].choice([10, 20, 40]))
        seen, heard = self.network(mouth, sound)
        loss, found = sync_loss(seen, heard, self.network.log_sharpness.exp(), width)
        return loss, {f"found_{width}": float(found)}


@torch.no_grad()
def test_network(network: SyncNetwork, corpus: SyncCorpus, takes: int, seed: int = 1) -> dict[str, float]:
    """Offsets found on takes that are shifted by known ones, and distances of right and wrong pairs.

    Returns:
        Shares of offsets found exactly and within a frame, chance being 1/31 and 3/31; mean distances of the right
        sound, of the best-shifted wrong sound (another take's) and the confidence of either.
    """
    exact, near, distances, confidences = [], [], [], []
    foreign, foreign_confidences = [], []
    before: Tensor | None = None
    for number in range(takes):
        rng = np.random.default_rng([seed, number])
        mouth, sound = corpus.take(rng, 0.5, worse=True)
        seen, heard = (x[0] for x in network(torch.from_numpy(mouth)[None], torch.from_numpy(sound)[None]))
        found = offset_distances(seen, heard)
        offset = int(found.argmin()) - LONGEST_OFFSET
        exact.append(offset == 0)
        near.append(abs(offset) <= 1)
        distances.append(float(found[LONGEST_OFFSET]))
        confidences.append(float(found.median() - found.min()))
        if before is not None:
            wrong = offset_distances(seen, before)
            foreign.append(float(wrong[LONGEST_OFFSET]))
            foreign_confidences.append(float(wrong.median() - wrong.min()))
        before = heard
    return {
        "takes": takes, "exact": float(np.mean(exact)), "within_1": float(np.mean(near)),
        "distance": float(np.mean(distances)), "distance_foreign": float(np.mean(foreign)),
        "confidence": float(np.mean(confidences)), "confidence_foreign": float(np.mean(foreign_confidences)),
    }  # fmt: skip


def main() -> None:
    """Train by a configuration file, or test."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = arguments(__doc__, _add)
    config = load_config(options.config, SyncConfig, options.set)
    torch.manual_seed(config.loop.seed)
    corpus = SyncCorpus(config.features, config.speech, config.held_out, config.window, testing=options.test)
    if options.test:
        trained: SyncNetwork = SyncNetwork.from_pretrained(config.loop.output / "weights").eval()
        for name, value in test_network(trained, corpus, config.test_takes).items():
            print(f"{name:<20} {value:.3f}")
        return
    network = SyncNetwork()
    loop = TrainingLoop(config.loop, {"sync": network}, SyncStage(config, corpus, network), network.save_pretrained)
    loop.prepare()
    loop.run(options.max_minutes, options.push_to_hub)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--test", action="store_true", help="test the weights on the held-out voices instead")


if __name__ == "__main__":
    run_command(main)
