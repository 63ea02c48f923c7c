"""Kokoro's voices inside the package.

A voice is a table of 510 style vectors, one for each number of tokens. Its rows lie in a space of eight dimensions
(what is left over is under a thousandth), so a mean, eight directions and a row's eight numbers say it all:
``training/assets/make_voices.py`` made 41 of them from the npm package kokoro-js 1.2.1 (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources

import numpy as np
from safetensors.numpy import load

from mooe.errors import WeightsError

FILE = "voices.safetensors"
# First letter of a voice's name -> its language in espeak-ng
LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}


class VoiceTables(Mapping[str, np.ndarray]):
    """Style tables float32 [510, 256] by the voice's name, rebuilt when asked for.

    Args:
        packed: ``NAME.mean`` [256], ``NAME.rows`` [510, 8] and ``NAME.directions`` [8, 256] for each voice.
    """

    def __init__(self, packed: Mapping[str, np.ndarray]) -> None:
        self._packed = packed
        self._names = sorted(name.removesuffix(".mean") for name in packed if name.endswith(".mean"))

    def __getitem__(self, name: str) -> np.ndarray:
        mean, rows, directions = (
            self._packed[f"{name}.{part}"].astype(np.float32) for part in ("mean", "rows", "directions")
        )
        return mean + rows @ directions

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@lru_cache(maxsize=1)
def embedded_voices() -> VoiceTables:
    """The voices inside the package (raises WeightsError when they are missing)."""
    try:
        return VoiceTables(load(resources.files("mooe").joinpath(f"assets/{FILE}").read_bytes()))
    except (OSError, ValueError) as error:
        raise WeightsError(f"The voices inside the package cannot be read ({error}): reinstall mooe.") from error
