"""What is laid over the sampled motion as displacements: expressions that are no mixture of emotions, shut lips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from mooe.emotion.taxonomy import EMOTIONS
from mooe.face.regions import LEFT_EYE, RIGHT_EYE
from mooe.face.topology import arkit_to_displacement, arkit_vector
from mooe.motion.lips import keep_apart, lip_gap, shut_lips

Array = NDArray[np.float32]

# Gap of the lips' middle, in eye distances, from which on they do not touch
_TOUCHING = 0.012
# Gaps in what sound alone makes likely at which an emotion's lips are shut, and from which on they gape as they like
_SPOKEN_SHUT, _SPOKEN_OPEN = 0.015, 0.06
_FIRM = 1.3  # gain on how far they are shut, which a smooth closing takes from the shortest
_JAW, _PARTING = ("jawOpen",), ("mouthUpperUp", "mouthLowerDown")
_LIDS = [*RIGHT_EYE, *LEFT_EYE]
_CHIN, _MIDDLE = 152, 4  # a landmark, and the pair of lip landmarks in the middle
_PLAIN = 0.3  # emotion weight from which on lips are shut wholly: weaker ones hardly part them
# Gap in eye distances from which on emotional mouths open less than asked for, and how much further they ever open:
# mouths of people in talk reach .24 to .32 (the 99th percentile of three films). Anger shouts: actors' jaws open
# further than in calm talk by .16 (ARKit's jawOpen as a tracker reads it)
_GAPE, _GAPE_ROOM, _SHOUT = 0.15, 0.12, 0.06
_ANGRY = EMOTIONS.index("angry")
# How far lips are shut in silence that an emotion parts: who shouts or trembles does not stand there gaping
_SILENT = np.array([{"angry": 1.0, "fearful": 0.6}.get(name, 0.0) for name in EMOTIONS], np.float32)
_CORNERS = (61, 291)  # of the mouth, right and left
# Width that people's mouths gain beside what is sampled, for each eye distance of opening; by how much mouths are
# narrower and wider than at rest that are so on purpose
_WIDENING, _ROUNDED, _WIDENED = 0.45, 0.08, 0.12
# Scaled energy (see `mooe.audio.prosody`) of quiet and of clear speech
_QUIET, _CLEAR = 0.4, 0.8
SPEECH_REACH = 3  # frames: the silence of a p is speech


def speech_activity(energy: Array) -> Array:
    """Whether somebody speaks, from the energy of the prosody; ``[F]`` -> ``[F]`` in [0, 1]."""
    level = np.clip((energy - _QUIET) / (_CLEAR - _QUIET), 0, 1)
    return maximum_filter1d(level, 2 * SPEECH_REACH + 1).astype(np.float32)


def _gap(displacement: Array) -> Array:
    """The widest gap in the middle of the lips, ``[F, 478, 3]`` -> ``[F]``."""
    return np.asarray(lip_gap(displacement)[:, 2:7].max(axis=1), np.float32)


def widen_opened(displacement: Array, gain: float = 1.0) -> Array:
    """Widen mouths as they open: people's get wider, while jaws of the shape table draw the corners in.

    Mouths that are rounded, or that an expression has widened already, are left as they are.

    Args:
        displacement: ``[F, 478, 3]`` in the head frame, eye distances.
        gain: 0 changes nothing.

    Returns:
        ``[F, 478, 3]``; frames with shut lips as they were.
    """
    outward = arkit_to_displacement(arkit_vector({"mouthStretch": 1.0}))[:, 0]
    right, left = _CORNERS
    outward = outward / (outward[left] - outward[right])  # of a mouth wider by 1
    wider = displacement[:, left, 0] - displacement[:, right, 0]
    free = 1 - np.clip(np.maximum(-wider / _ROUNDED, wider / _WIDENED), 0, 1)
    moved = displacement.copy()
    moved[..., 0] += (gain * _WIDENING * free * np.maximum(_gap(displacement), 0))[:, None] * outward
    return moved


def shut_as_spoken(displacement: Array, spoken: Array, speaking: Array, emotion: Array) -> Array:
    """Shut lips that an emotion parts where speech shuts them, as on p, b and m.

    Emotional mouths are neutral ones moved aside by the experts, so those that gape would never shut. They shut by as
    much as the neutral mouth does below a small gap, which leaves them time to. In silence anger's lips are shut too
    and fear's nearly; the others' stay as they are.

    Args:
        displacement: ``[F, 478, 3]`` in the head frame, eye distances.
        spoken: the displacements that sound alone makes likely, with a frame before and one after, so that a shut lip
            is as smooth where windows meet, ``[F + 2, 478, 3]``.
        speaking: ``[F]`` in [0, 1], from :func:`speech_activity`.
        emotion: weights ``[F, 6]``.

    Returns:
        ``[F, 478, 3]``; frames without emotion as they were.
    """
    weight = emotion.sum(1)
    silent = (1 - speaking) * (emotion @ _SILENT) / np.maximum(weight, 1e-6)
    share = np.pad((speaking + silent) * np.clip(weight / _PLAIN, 0, 1), 1, mode="edge")
    near = share * np.clip((_SPOKEN_OPEN - _gap(spoken)) / (_SPOKEN_OPEN - _SPOKEN_SHUT), 0, 1)
    shut = _FIRM * (near[:-2] + 2 * near[1:-1] + near[2:]) / 4  # smooth, or wide mouths would clap
    shut = np.where(emotion.any(1), np.minimum(shut, 1), 0).astype(np.float32)
    # the jaw comes up and the lips let go first, and only what gap is left then is drawn together
    jaw, parting = (arkit_to_displacement(arkit_vector(dict.fromkeys(names, 1.0))) for names in (_JAW, _PARTING))
    dropped = np.clip((displacement - spoken[1:-1])[:, _CHIN, 1] / jaw[_CHIN, 1], 0, 1)
    closed = displacement - (shut * dropped)[:, None, None] * jaw
    parted = np.clip(lip_gap(closed)[:, _MIDDLE] / lip_gap(parting)[_MIDDLE], 0, 1)
    return shut_lips(closed - (shut * parted)[:, None, None] * parting, shut)


def moderate_gape(displacement: Array, emotion: Array) -> Array:
    """Keep mouths from gaping where an emotion parts lips that open wide in speech.

    People's mouths open no further for both, unless they shout in anger. The jaw comes up by what is beyond a soft
    limit.

    Args:
        displacement: ``[F, 478, 3]`` in the head frame, eye distances.
        emotion: weights ``[F, 6]``.

    Returns:
        ``[F, 478, 3]``; frames without emotion as they were.
    """
    jaw = arkit_to_displacement(arkit_vector(dict.fromkeys(_JAW, 1.0)))
    beyond = np.maximum(_gap(displacement) - _GAPE - _SHOUT * emotion[:, _ANGRY], 0)
    excess = (beyond - _GAPE_ROOM * np.tanh(beyond / _GAPE_ROOM)) * np.clip(emotion.sum(1) / _PLAIN, 0, 1)
    return np.asarray(displacement - (excess / _gap(jaw[None]))[:, None, None] * jaw, np.float32)


def blink_as_drawn(displacement: Array, spoken: Array, blink: Array, emotion: Array) -> Array:
    """Let eyes blink that an emotion holds wide open.

    Args:
        displacement: ``[F, 478, 3]`` in the head frame, eye distances.
        spoken: the displacements of the same frames without an emotion, ``[F, 478, 3]``, blinks among them.
        blink: how far lids are to be closed, ``[F]`` in [0, 1].
        emotion: weights ``[F, 6]``.

    Returns:
        ``[F, 478, 3]``; frames without a blink or without emotion as they were.
    """
    share = (blink * np.clip(emotion.sum(1) / _PLAIN, 0, 1))[:, None, None]
    moved = displacement.copy()
    moved[:, _LIDS] += share * (spoken - displacement)[:, _LIDS]
    return moved


def add_expression(displacement: Array, arkit: Array, speaking: Array) -> Array:
    """Lay ARKit weights over a motion.

    Lips that speech shuts stay shut, whatever the weights do to them; in silence the weights have their way.

    Args:
        displacement: ``[F, 478, 3]`` in the head frame, eye distances.
        arkit: weights ``[F, 52]``.
        speaking: ``[F]`` in [0, 1], from `speech_activity`.

    Returns:
        ``[F, 478, 3]``; frames without weights as they were.
    """
    result = displacement.copy()
    asked = arkit.any(axis=1)
    if not asked.any():
        return result
    before = displacement[asked]
    shut = np.clip(1.5 - _gap(before) / _TOUCHING, 0, 1) * speaking[asked]
    moved = before + arkit_to_displacement(arkit[asked])
    result[asked] = keep_apart(shut_lips(moved, shut.astype(np.float32)))
    return result
