"""All ways to ask for an emotion, at once and over time: labels, text, the voice, action units and ARKit weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mooe.config import load_config
from mooe.emotion.action_units import (
    is_pattern,
    parse_weights,
    pattern_weights,
    split_action_units,
)
from mooe.emotion.tags import parse_tags
from mooe.emotion.taxonomy import EMOTIONS, EmotionMix, EmotionSpec, check_weight, parse_emotion, read_item
from mooe.emotion.timeline import EmotionTimeline, ease_between
from mooe.errors import EmotionError
from mooe.face.regions import ARKIT_NAMES
from mooe.face.topology import arkit_vector

Array = NDArray[np.float32]
WeightSpec: TypeAlias = Mapping[str, float] | Sequence[str] | None

# Seconds that a change takes if nothing else is asked for: a quick onset, as experts show most of an emotion early
EASE = 0.3
_STAGES = re.compile(
    r"(?:,|;)?\s+(?:(?:that|which|and|then)\s+)*"
    r"(?:turn(?:s|ing)?\s+(?:in)?to|becom(?:es?|ing)|fad(?:es?|ing)\s+(?:in)?to|melt(?:s|ing)?\s+into"
    r"|giv(?:es?|ing)\s+way\s+to|chang(?:es?|ing)\s+(?:in)?to|followed\s+by|then)\s+",
    re.IGNORECASE,
)
# Columns of a keyframe: one block a control
_LABEL, _TEXT, _UNITS, _VOICE = slice(0, 6), slice(6, 12), slice(12, 18), slice(18, 19)
_ARKIT = slice(19, 19 + len(ARKIT_NAMES))
_COLUMNS = _ARKIT.stop


class TextReading(NamedTuple):
    """What a text asks for.

    Attributes:
        emotion: the mixture; neutral if the text names no emotion.
        understood: whether the text says something of how a face looks, be it neutral.
    """

    emotion: EmotionMix
    understood: bool


TextReader: TypeAlias = Callable[[Sequence[str]], list[TextReading]]


@dataclass(frozen=True)
class Keyframe:
    """What is asked for at one moment; what is left out is not asked for.

    Attributes:
        at: seconds from the start of the speech.
        emotion: as `parse_emotion` and `parse_expression` take it.
        prompt: free text.
        voice: share of the emotion heard in the voice, in [0, 1].
        au: action units, such as ``{"AU12": 0.8, "AU4L": 0.3}``.
        arkit: ARKit weights, such as ``{"mouthSmileLeft": 0.5}``.
        intensity: factor in [0, 1] on all of it.
        ease: seconds that the change from the keyframe before takes, ending at `at`.
    """

    at: float
    emotion: str | list[str] | dict[str, float] | None = None
    prompt: str | None = None
    voice: float = 0.0
    au: dict[str, float] = field(default_factory=dict)
    arkit: dict[str, float] = field(default_factory=dict)
    intensity: float = 1.0
    ease: float = EASE


@dataclass(frozen=True)
class _KeyframeFile:
    """A timeline file."""

    keyframes: list[Keyframe]


@dataclass(frozen=True)
class ControlTracks:
    """What each control asks for in each of F frames.

    Attributes:
        label, text, action_units, audio: weights [F, 6] in the order of `EMOTIONS`, at most 1 in sum; of the action
            units, the whole emotions among them.
        arkit: ARKit weights [F, 52] in [0, 1] that no mixture of emotions shows, to be added to the face.
    """

    label: Array
    text: Array
    action_units: Array
    audio: Array
    arkit: Array

    def total(self) -> Array:
        """All emotion controls as one mixture [F, 6]: their sum's direction at the strength of the strongest.

        Emotion-to-Latents gets this, so that every control reaches the experts the way they learnt.
        """
        tracks = [track for track in (self.label, self.text, self.action_units, self.audio) if track.any()]
        if len(tracks) <= 1:
            return tracks[0] if tracks else self.label
        return merge_mixtures(np.stack(tracks))


@dataclass(frozen=True)
class _Layer:
    """Keyframes of all controls: times [K] in seconds or shares of the clip, levels [K, columns], ease [K] or None."""

    times: NDArray[np.float64]
    levels: Array
    ease: NDArray[np.float64] | None = None
    shares: bool = False

    def sample(self, num_frames: int, seconds: float, frame_rate: float, first_frame: int) -> Array:
        times = self.times * seconds if self.shares else self.times
        return ease_between(times, self.levels, num_frames, frame_rate, first_frame, ease=self.ease)


@dataclass(frozen=True)
class ControlTimeline:
    """Controls over time, texts already read.

    Attributes:
        notes: what a person should know of how it was understood, a sentence each.
    """

    layers: tuple[_Layer, ...]
    notes: tuple[str, ...] = ()

    @property
    def hears_voice(self) -> bool:
        """Whether the emotion in the voice is asked for at any time."""
        return any(layer.levels[:, _VOICE].any() for layer in self.layers)

    @property
    def needs_length(self) -> bool:
        """Whether something is spread over the length of the speech."""
        return any(layer.shares and len(layer.times) > 1 for layer in self.layers)

    def tracks(
        self,
        num_frames: int,
        speech_frames: int,
        voice: Array | None = None,
        frame_rate: float = 25.0,
        first_frame: int = 0,
    ) -> ControlTracks:
        """Tracks of the controls.

        Args:
            num_frames: frames F to give.
            speech_frames: length of the speech, over which tags and stages of a prompt are spread.
            voice: emotion heard in the voice, [V, 6], the last row held; needed if `hears_voice`.
            frame_rate: frames a second.
            first_frame: number of the first frame to give.
        """
        total = np.zeros((num_frames, _COLUMNS), np.float32)
        for layer in self.layers:
            total += layer.sample(num_frames, speech_frames / frame_rate, frame_rate, first_frame)
        heard = np.zeros((num_frames, len(EMOTIONS)), np.float32)
        if voice is not None:
            rows = np.minimum(first_frame + np.arange(num_frames), len(voice) - 1)
            heard = voice[rows] * total[:, _VOICE].clip(max=1)
        label, text, units = (_capped(total[:, block]) for block in (_LABEL, _TEXT, _UNITS))
        return ControlTracks(label, text, units, heard, total[:, _ARKIT].clip(max=1))


@dataclass(frozen=True)
class ControlSchedule:
    """Controls of one clip, given for any stretch of it.

    Attributes:
        controls: what is asked for.
        speech_frames: length of the speech.
        voice: emotion heard in the voice, [speech_frames, 6]; needed if the controls hear it.
    """

    controls: ControlTimeline
    speech_frames: int
    voice: Array | None = None

    def weights(self, num_frames: int, *, first_frame: int = 0) -> Array:
        """Weights of all emotion controls together from frame `first_frame` on, [num_frames, 6]."""
        return self._tracks(num_frames, first_frame).total()

    def arkit(self, num_frames: int, *, first_frame: int = 0) -> Array:
        """ARKit weights to add to the face from frame `first_frame` on, [num_frames, 52]."""
        return self._tracks(num_frames, first_frame).arkit

    def _tracks(self, num_frames: int, first_frame: int) -> ControlTracks:
        return self.controls.tracks(num_frames, self.speech_frames, self.voice, first_frame=first_frame)


@dataclass(frozen=True)
class EmotionRequest:
    """What a user asks for, by any subset of the controls; they add up.

    Attributes:
        emotion: names and weights (see `parse_emotion`; `EXPRESSION_PATTERNS` too), or a timeline of mixtures.
        intensity: factor in [0, 1] on all controls.
        prompt: free text; with tags (see `mooe.emotion.tags`) it is taken for the transcript of the speech.
        voice: share of the emotion heard in the voice, in [0, 1].
        action_units, arkit: names and weights, a mapping or "NAME=WEIGHT" items.
        timeline: keyframes, or a YAML file with the key ``keyframes``.
    """

    emotion: EmotionSpec | EmotionTimeline = None
    intensity: float = 1.0
    prompt: str | None = None
    voice: float = 0.0
    action_units: WeightSpec = None
    arkit: WeightSpec = None
    timeline: Sequence[Keyframe] | str | PathLike[str] | None = None

    def check(self) -> None:
        """Refuse what cannot be used (raises EmotionError), without reading texts."""
        self.resolve(lambda texts: [TextReading(EmotionMix.neutral(), True) for _ in texts])

    def resolve(self, read: TextReader) -> ControlTimeline:
        """The request over time.

        Args:
            read: reads texts; called only if there is any.

        Raises:
            EmotionError: something in it cannot be used; of a file, the message names the key.
        """
        intensity = np.float32(check_weight(self.intensity, "intensity"))
        notes: list[str] = []

        def read_and_note(texts: Sequence[str]) -> list[TextReading]:
            readings = _read(read, texts)
            notes.extend(_note(t) for t, reading in zip(texts, readings, strict=True) if not reading.understood)
            return readings

        layers = [self._constant()]
        if isinstance(self.emotion, EmotionTimeline):
            layers.append(_mixture_layer(self.emotion))
        if self.prompt is not None:
            layers.append(_prompt_layer(self.prompt, read_and_note))
        if self.timeline is not None:
            layers.append(_keyframe_layer(self.timeline, read_and_note))
        scaled = [_Layer(one.times, one.levels * intensity, one.ease, one.shares) for one in layers]
        return ControlTimeline(tuple(scaled), tuple(notes))

    def _constant(self) -> _Layer:
        emotion = None if isinstance(self.emotion, EmotionTimeline) else self.emotion
        return _Layer(np.zeros(1), _levels(emotion, self.voice, self.action_units, self.arkit)[None])


def parse_expression(spec: EmotionSpec) -> tuple[EmotionMix, Array]:
    """Reads names of emotions, compounds and expressions that are no mixture (`EXPRESSION_PATTERNS`).

    Args:
        spec: as `parse_emotion` takes it.

    Returns:
        The mixture, and ARKit weights [52] of the rest.

    Raises:
        EmotionError: as `parse_emotion`.
    """
    arkit = np.zeros(len(ARKIT_NAMES), np.float32)
    if spec is None or isinstance(spec, EmotionMix) or not isinstance(spec, str | Mapping | Sequence):
        return parse_emotion(spec), arkit
    rest: dict[str, float] | list[str]
    if isinstance(spec, Mapping):
        pairs: list[tuple[str, float | str]] = [(str(name), weight) for name, weight in spec.items()]
        rest = {name: weight for name, weight in spec.items() if not is_pattern(name)}
    else:
        items = [spec] if isinstance(spec, str) else list(spec)
        pairs = [read_item(item) for item in items]
        rest = [item for item, (name, _) in zip(items, pairs, strict=True) if not is_pattern(name)]
    for name, weight in pairs:
        if is_pattern(name):
            arkit = np.maximum(arkit, pattern_weights(name, check_weight(weight, f"weight of {name!r}")))
    return parse_emotion(rest), arkit


def split_stages(prompt: str) -> list[str]:
    """Parts of a prompt that follow one another: "a smile that turns into surprise" has two."""
    return [part for part in _STAGES.split(prompt) if part.strip()] or [prompt]


def merge_mixtures(mixtures: Array) -> Array:
    """Mixtures [M, ..., 6] as one [..., 6]: their sum's direction at the strength of the strongest."""
    total = mixtures.sum(0)
    strength = mixtures.sum(-1).max(0).clip(max=1)
    return (total / total.sum(-1, keepdims=True).clip(min=1e-9) * strength[..., None]).astype(np.float32)


def _capped(weights: Array) -> Array:
    """Weights [F, 6] scaled down where they are more than 1 in sum."""
    return (weights / weights.sum(1, keepdims=True).clip(min=1)).astype(np.float32)


def _levels(
    emotion: EmotionSpec, voice: float, action_units: WeightSpec, arkit: WeightSpec, text: EmotionMix | None = None
) -> Array:
    """One keyframe's columns [columns]."""
    mix, pattern = parse_expression(emotion)
    units, rest = split_action_units(parse_weights(action_units))
    levels = np.zeros(_COLUMNS, np.float32)
    levels[_LABEL] = mix.weights
    levels[_UNITS] = units
    levels[_VOICE] = check_weight(voice, "share of the voice")
    levels[_ARKIT] = np.maximum.reduce([pattern, rest, arkit_vector(parse_weights(arkit))])
    if text is not None:
        levels[_TEXT] = text.weights
    return levels


def _mixture_layer(timeline: EmotionTimeline) -> _Layer:
    levels = np.zeros((len(timeline.keyframes), _COLUMNS), np.float32)
    levels[:, _LABEL] = [mix.weights for _, mix in timeline.keyframes]
    return _Layer(np.array([seconds for seconds, _ in timeline.keyframes]), levels)


def _prompt_layer(prompt: str, read: TextReader) -> _Layer:
    """Stages of a prompt one after the other, or the tags in it."""
    tagged = parse_tags(prompt)
    if tagged.tags:
        levels = [_levels(list(spec), 0.0, None, None) for _, spec in tagged.tags]
        times = tagged.shares()
        if times[0] > 0:
            times, levels = [0.0, *times], [np.zeros(_COLUMNS, np.float32), *levels]
    else:
        readings = read(split_stages(prompt))
        levels = [_levels(None, 0.0, None, None, reading.emotion) for reading in readings]
        times = [i / len(levels) for i in range(len(levels))]
    # of two tags at the same place the later one counts
    last = dict(zip(times, levels, strict=True))
    return _Layer(np.array(list(last)), np.stack(list(last.values())), np.full(len(last), EASE), shares=True)


def _keyframe_layer(timeline: Sequence[Keyframe] | str | PathLike[str], read: TextReader) -> _Layer:
    if isinstance(timeline, str | PathLike):
        keyframes, source = load_config(timeline, _KeyframeFile).keyframes, f" in {timeline}"
    else:
        keyframes, source = list(timeline), ""
    times = [frame.at for frame in keyframes]
    EmotionTimeline(tuple((seconds, EmotionMix.neutral()) for seconds in times))
    for frame in keyframes:
        if not 0 <= frame.ease < np.inf:
            raise EmotionError(f"The ease of the keyframe at {frame.at:g} s{source} must be 0 seconds or more.")
    texts = [frame.prompt for frame in keyframes if frame.prompt is not None]
    readings = iter(read(texts) if texts else [])
    levels = []
    for frame in keyframes:
        text = None if frame.prompt is None else next(readings).emotion
        try:
            row = _levels(frame.emotion, frame.voice, frame.au, frame.arkit, text)
            levels.append(row * np.float32(check_weight(frame.intensity, "intensity")))
        except EmotionError as error:
            raise EmotionError(f"In the keyframe at {frame.at:g} s{source}: {error}") from error
    return _Layer(np.array(times), np.stack(levels), np.array([frame.ease for frame in keyframes]))


def _read(read: TextReader, texts: Sequence[str]) -> list[TextReading]:
    """Readings of texts; empty ones need no reader."""
    filled = [text for text in texts if text.strip()]
    readings = iter(read(filled) if filled else [])
    return [next(readings) if text.strip() else TextReading(EmotionMix.neutral(), False) for text in texts]


def _note(text: str) -> str:
    if not text.strip():
        return "The prompt is empty: the face stays neutral."
    return f"The prompt {text.strip()!r} names no emotion that is known here: the face stays neutral."
