"""Sound in, speech features out.

:func:`load_audio` reads any file as 16-kHz mono; a :class:`SpeechEncoder` turns it into one feature vector a
video frame. The embedded one is :class:`HamaSpeechEncoder`. :func:`speak` makes speech of a text.
"""

from mooe.audio.constants import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count
from mooe.audio.encoder import HamaSpeechEncoder, SpeechEncoder
from mooe.audio.level import speech_gain
from mooe.audio.loading import audio_duration, iter_audio, load_audio
from mooe.audio.synthesis import KokoroTextToSpeech, Speech, TextToSpeech, speak

__all__ = [
    "FRAME_RATE",
    "SAMPLES_PER_FRAME",
    "SAMPLE_RATE",
    "HamaSpeechEncoder",
    "KokoroTextToSpeech",
    "Speech",
    "SpeechEncoder",
    "TextToSpeech",
    "audio_duration",
    "frame_count",
    "iter_audio",
    "load_audio",
    "speak",
    "speech_gain",
]
