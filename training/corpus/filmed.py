"""The filmed corpus: clips of real faces as motion arrays, read beside the acted one (``motion.py``) as the same takes.

One ``.npz`` file a clip, written by ``training/prepare.py`` as ``FOLDER/clips/NAME.npz``, 25 frames a second:

==============  =============================================================================================
features        float16 [F, D], speech features; zeros where there is no sound
displacement    float16 [F, 478, 3], landmarks from the person's neutral face, head frame, eye distances; the lids'
                as large as on the canonical face
rotation        float32 [F, 3], head rotation from the clip's mean pose, rotation vectors in radians
translation     float32 [F, 3], head translation from the clip's mean place, eye distances
gaze            float32 [F, 2], to the viewer's right and up, in eyeLook weight
blink           float32 [F], lid closing: the usual curve at each blink seen, as long as that blink; held where eyes
                stay shut
emotion         float32 [6], weights in the order of ``EMOTIONS``; zeros are neutral
action_units    float16 [F, U], intensities in the order of ``ACTION_UNITS``
audible         bool, whether there is speech to learn lips from
speaker         who speaks
labelled        ``label``, ``judge`` or ``none``: where the emotion comes from
encoder         name of the speech encoder
==============  =============================================================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mooe.errors import ConfigError
from mooe.motion.controls import Controls
from training.corpus.clips import save_npz
from training.corpus.motion import MotionCorpus, Take, hold_last, load_clips, sound_window

Array = NDArray[np.float32]
CLIPS_FOLDER = "clips"
_HALVES = ("features", "displacement", "action_units")
# Clips kept in memory: about 1.5 MB for each ten seconds
_CACHED = 256


@dataclass(frozen=True)
class FilmedClip:
    """One clip of F frames; see the module's table for shapes and units."""

    features: Array
    displacement: Array
    rotation: Array
    translation: Array
    gaze: Array
    blink: Array
    emotion: Array
    action_units: Array
    audible: bool
    speaker: str
    labelled: str
    encoder: str

    @property
    def num_frames(self) -> int:
        return len(self.displacement)

    def save(self, path: Path) -> None:
        """Write the clip, whole or not at all."""
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in dataclasses.fields(self)}
        save_npz(path, **(arrays | {name: arrays[name].astype(np.float16) for name in _HALVES}))

    @classmethod
    def load(cls, path: Path) -> FilmedClip:
        """Read what :meth:`save` wrote.

        Raises:
            ConfigError: the file is damaged or another kind of file.
        """
        try:
            with np.load(path) as data:
                values = {f.name: data[f.name] for f in dataclasses.fields(cls)}
        except (OSError, KeyError, ValueError, EOFError) as error:
            raise ConfigError(f"The clip {path} cannot be read ({error}): delete it and prepare it again.") from error
        for name in _HALVES:
            values[name] = values[name].astype(np.float32)
        texts = {name: str(values[name]) for name in ("speaker", "labelled", "encoder")}
        return cls(**(values | texts | {"audible": bool(values["audible"])}))


class Corpus(Protocol):
    """Anything that takes can be drawn from."""

    def sample(
        self, rng: np.random.Generator, *, neutral: float = 0.4, compound: float = 0.15, alternative: bool = False
    ) -> Take:
        """Draw a take; see :meth:`training.corpus.motion.MotionCorpus.sample`."""
        ...

    def sounds(self) -> Iterator[Array]:
        """The speech features of each clip, ``[F, D]``, for their statistics."""
        ...


class FilmedCorpus:
    """Takes cut from filmed clips.

    Args:
        paths: files of clips.
        window: frames in a take; shorter clips hold their last frame.

    Raises:
        ConfigError: there are no clips, or they were made with different speech encoders.
    """

    def __init__(self, paths: Sequence[Path], window: int) -> None:
        if not paths:
            raise ConfigError("There are no filmed clips: run training/prepare.py first.")
        self.window = window
        self._load = lru_cache(maxsize=_CACHED)(FilmedClip.load)
        self._paths: dict[bool, list[Path]] = {True: [], False: []}
        frames: dict[Path, int] = {}
        encoders = set()
        for path in paths:
            clip = FilmedClip.load(path)
            frames[path] = clip.num_frames
            encoders.add(clip.encoder)
            self._paths[bool(clip.emotion.any())].append(path)
        if len(encoders) > 1:
            raise ConfigError(f"The clips have features of {' and '.join(sorted(encoders))}: prepare all with one.")
        self._frames = frames

    def sample(
        self, rng: np.random.Generator, *, neutral: float = 0.4, compound: float = 0.15, alternative: bool = False
    ) -> Take:
        """Draw a take.

        Args:
            rng: source of randomness.
            neutral: share of takes from clips without emotion, where there are clips of both kinds.
            compound: not used: a filmed clip's mixture is what it is.
            alternative: add the motion of another clip, if possible of another emotion, as MoEE does.
        """
        emotional = rng.random() >= neutral
        path = self._choose(rng, self._paths[emotional] or self._paths[not emotional])
        clip = self._load(path)
        first = self._first(rng, path)
        other = None
        if alternative:
            others = self._paths[not clip.emotion.any()] or self._paths[bool(clip.emotion.any())]
            chosen = self._choose(rng, others)
            start = self._first(rng, chosen)
            other = hold_last(self._load(chosen).displacement[start : start + self.window], self.window)
        return self._cut(clip, first, other)

    def sounds(self) -> Iterator[Array]:
        """The speech features of each clip with sound, ``[F, D]``."""
        return (clip.features for clip in self.clips() if clip.audible)

    def clips(self) -> Iterator[FilmedClip]:
        """Each clip as it was filmed."""
        return map(self._load, self._frames)

    def displacements(self) -> Iterator[Array]:
        """The displacements of each clip, ``[F, 478, 3]``."""
        return (clip.displacement for clip in self.clips())

    @property
    def silent(self) -> bool:
        """Whether any clip has no sound."""
        return any(not clip.audible for clip in self.clips())

    def blinks(self) -> Iterator[Array]:
        """The lid closing of each clip, ``[F]``."""
        return (clip.blink for clip in self.clips())

    def _choose(self, rng: np.random.Generator, paths: list[Path]) -> Path:
        """A clip, the longer the likelier, so that every second counts the same."""
        lengths = np.array([self._frames[path] for path in paths], np.float64)
        return paths[int(rng.choice(len(paths), p=lengths / lengths.sum()))]

    def _first(self, rng: np.random.Generator, path: Path) -> int:
        return int(rng.integers(max(self._frames[path] - self.window, 0) + 1))

    def _cut(self, clip: FilmedClip, first: int, other: Array | None) -> Take:
        span = slice(first, first + self.window)
        emotion = np.repeat(clip.emotion[None], self.window, 0).astype(np.float32)
        tracks = (clip.blink, clip.gaze, clip.rotation, clip.translation)
        displacement = hold_last(clip.displacement[span], self.window)
        neutral = not clip.emotion.any()
        return Take(
            features=sound_window(clip.features, first, self.window),
            displacement=displacement,
            controls=Controls(emotion.sum(1), *(hold_last(track[span], self.window) for track in tracks)),
            emotion=emotion,
            # what plain speech would look like under an emotion was not filmed
            speech=displacement,
            alternative=other,
            audible=clip.audible,
            speech_known=clip.audible and neutral,
        )


class MixedCorpus:
    """Takes from several corpora by shares.

    Args:
        corpora: each with its share, a positive number; shares need not sum to 1.
    """

    def __init__(self, corpora: Sequence[tuple[Corpus, float]]) -> None:
        self._corpora = [corpus for corpus, _ in corpora]
        shares = np.array([share for _, share in corpora], np.float64)
        self._shares = shares / shares.sum()

    def sample(
        self, rng: np.random.Generator, *, neutral: float = 0.4, compound: float = 0.15, alternative: bool = False
    ) -> Take:
        """Draw a take from one of them."""
        corpus = self._corpora[int(rng.choice(len(self._corpora), p=self._shares))]
        return corpus.sample(rng, neutral=neutral, compound=compound, alternative=alternative)

    def sounds(self) -> Iterator[Array]:
        """The speech features of each clip of each corpus, ``[F, D]``."""
        return chain.from_iterable(corpus.sounds() for corpus in self._corpora)


def filmed_clips(folder: Path) -> list[Path]:
    """The clips that ``training/prepare.py`` wrote to ``folder``, sorted by name (raises ConfigError if none)."""
    paths = sorted((folder / CLIPS_FOLDER).glob("*.npz"))
    if not paths:
        raise ConfigError(f"There are no filmed clips in {folder}: run training/prepare.py first.")
    return paths


def open_corpus(features: Path, filmed: Path | None, filmed_share: float, window: int) -> Corpus:
    """The corpus of a training stage.

    Args:
        features: folder that ``training/corpus/features.py`` wrote, for the acted corpus.
        filmed: folder that ``training/prepare.py`` wrote, or None for acted takes alone.
        filmed_share: share of the takes that are filmed, 0 to 1; at 1 no acted clips are needed.
        window: frames in a take.

    Raises:
        ConfigError: clips are missing, or the share is out of range.
    """
    if not 0 <= filmed_share <= 1:
        raise ConfigError(f"filmed_share {filmed_share} is out of range: give 0 to 1.")
    if filmed is None or filmed_share == 0:
        return MotionCorpus(load_clips(features), window)
    real = FilmedCorpus(filmed_clips(filmed), window)
    if filmed_share == 1:
        return real
    return MixedCorpus([(MotionCorpus(load_clips(features), window), 1 - filmed_share), (real, filmed_share)])
