"""Exceptions raised by mooe.

Every message is one sentence (two at most) that says what is wrong and what to do about it, so that a
caller can show it to a person as it is. All of them derive from :class:`MooeError`.
"""


class MooeError(Exception):
    """Base class of all errors that mooe raises on purpose."""


class PortraitError(MooeError):
    """The portrait cannot be read or used."""


class NoFaceError(PortraitError):
    """No usable face was found in an image."""


class AudioError(MooeError):
    """The speech cannot be read or used."""


class EmotionError(MooeError):
    """An emotion, its weight or the intensity is not valid."""


class MotionError(MooeError):
    """A motion file cannot be read or used."""


class WeightsError(MooeError):
    """Weights are missing, corrupt, or made for another model."""


class ConfigError(MooeError):
    """A configuration has an unknown key or a value of the wrong kind."""


class OutputError(MooeError):
    """The result cannot be written."""


class DependencyError(MooeError):
    """An optional package is needed but not installed."""


class EmotionWarning(UserWarning):
    """A wish for an emotion was not understood and left the face neutral."""
