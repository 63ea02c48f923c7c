"""Phonemes and, as a last resort, speech of espeak-ng, through its C library.

The library comes with the pip package ``espeakng-loader`` or with the system (Debian: libespeak-ng1). It is under
the GPL 3 and is loaded while the program runs; nothing of it is part of mooe. Its functions are described in
espeak-ng's ``speak_lib.h``.
"""

from __future__ import annotations

import ctypes
import threading
from ctypes.util import find_library
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from mooe.errors import ConfigError, DependencyError

INSTALL = "pip install 'mooe[tts]'"
_SYNCHRONOUS = 2
_NO_EXIT = 0x8000
_PHONEME_EVENTS = 0x0001
_IPA_PHONEME_NAMES = 0x0002
_UTF8 = 1
_IPA_TIED = 0x02 | 0x80 | (ord("^") << 8)
_EVENT_END, _EVENT_PHONEME = 0, 7
_BUFFER_MS = 200
_RATE_PARAMETER = 1
# One synthesiser a process, with a voice as its state
_LOCK = threading.Lock()


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte), ("age", ctypes.c_ubyte), ("variant", ctypes.c_ubyte), ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int), ("spare", ctypes.c_void_p),
    )  # fmt: skip


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _EventId),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def phonemes(text: str, language: str) -> str:
    """IPA of a text without its punctuation; multi-letter phonemes are tied with ``^``.

    Args:
        text: any text.
        language: a language of espeak-ng, such as ``en-us`` or ``fr-fr``.

    Raises:
        DependencyError: espeak-ng's library is not installed.
        ConfigError: it does not know the language.
    """
    with _LOCK:
        library, _ = _library()
        _choose(library, language)
        pointer = ctypes.c_char_p(text.encode())
        clauses = []
        while pointer.value is not None:  # the library moves it past each clause, at last to NULL
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _IPA_TIED) or b"")
    return " ".join(clause.decode().strip() for clause in clauses).strip()


def synthesise(text: str, language: str, rate: int = 160) -> tuple[np.ndarray, int, list[tuple[str, float]]]:
    """Speak a text with espeak-ng's own, robotic voice.

    Args:
        text: any text.
        language: a language of espeak-ng.
        rate: words a minute.

    Returns:
        Sound float32 [n], its samples a second, and the phonemes as (IPA with stress marks, start in seconds); pauses
        are empty strings.

    Raises:
        DependencyError, ConfigError: as :func:`phonemes`.
    """
    blocks: list[np.ndarray] = []
    starts: list[tuple[str, float]] = []

    def receive(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            blocks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / 32768.0)
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                starts.append((event.id.string.decode(errors="ignore"), event.audio_position / 1000.0))
            index += 1
        return 0

    callback = _Callback(receive)
    encoded = text.encode() + b"\0"
    with _LOCK:
        library, sample_rate = _library()
        _choose(library, language)
        library.espeak_SetParameter(_RATE_PARAMETER, rate, 0)
        library.espeak_SetSynthCallback(callback)
        library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
    sound = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return sound, sample_rate, starts


@lru_cache(maxsize=1)
def _library() -> tuple[Any, int]:
    """The started library and its samples a second."""
    path, data = find_library("espeak-ng"), None
    if find_spec("espeakng_loader") is not None:
        import espeakng_loader

        path, data = str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path()).encode()
    if path is None:
        raise DependencyError(f'Speaking a text needs espeak-ng: install it with "{INSTALL}".')
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise DependencyError(
            f'The library of espeak-ng does not load ({error}): install it anew with "{INSTALL}".'
        ) from error
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_SetVoiceByProperties.argtypes = [ctypes.POINTER(_Voice)]
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    options = _PHONEME_EVENTS | _IPA_PHONEME_NAMES | _NO_EXIT
    rate = library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, data, options)
    if rate <= 0:
        raise DependencyError(f'espeak-ng does not find its data: install it anew with "{INSTALL}".')
    return library, int(rate)


def _choose(library: Any, language: str) -> None:
    """Set the voice of a language."""
    name = language.encode()
    if library.espeak_SetVoiceByName(name) == 0:
        return
    if language and library.espeak_SetVoiceByProperties(ctypes.byref(_Voice(languages=name))) == 0:
        return
    raise ConfigError(
        f"The language '{language}' is unknown to espeak-ng: use a code such as en-us, en-gb, fr-fr or es."
    )
