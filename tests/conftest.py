"""Inputs shared by the tests."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mooe import MoEEPipeline
from mooe.decoder import SourcePortrait
from mooe.media import read_image

# Tests that run side by side (pytest -n 2) have one core each, and so have the processes that they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

# A signed manifest holds the time of its signing, so that files made alike would differ; its own tests switch it on.
os.environ["MOOE_C2PA"] = "off"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def examples() -> Path:
    return ROOT / "examples"


@pytest.fixture(scope="session")
def portrait_path(examples: Path) -> Path:
    return examples / "portraits" / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def pipe() -> MoEEPipeline:
    """The tiny model; a module's own, as some tests change it."""
    return MoEEPipeline.from_pretrained("debug")


@pytest.fixture(scope="module")
def portrait(pipe: MoEEPipeline, portrait_path: Path) -> SourcePortrait:
    return pipe.encode_portrait(read_image(portrait_path), size=128)


@pytest.fixture
def write_wav(tmp_path: Path) -> Callable[..., Path]:
    """Writes float samples in [-1, 1] as a 16-bit mono WAV file and gives its path."""

    def write(samples: NDArray[np.floating], name: str = "sound.wav", rate: int = 16_000) -> Path:
        path = tmp_path / name
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        return path

    return write


@pytest.fixture
def tone() -> Callable[..., NDArray[np.float32]]:
    """A 220-Hz tone: tone(seconds, rate=16000)."""

    def make(seconds: float, rate: int = 16_000) -> NDArray[np.float32]:
        time = np.arange(round(seconds * rate)) / rate
        return (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)

    return make
