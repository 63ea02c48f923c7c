"""How a program keeps the memory that it frees."""

from __future__ import annotations

import ctypes
import sys

# glibc's mallopt parameters, <malloc.h>
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_KEPT = 32 * 2**20  # bytes; the most that glibc takes
_KEPT = 128 * 2**20
_ARENAS = 2  # a thread cannot use what another frees in an arena of its own


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next arrays instead of giving it back to the system.

    A clip needs the same few megabytes again for each frame and denoising step. By itself glibc gives them back each
    time, and the system clears them anew, which on a virtual machine takes up to a tenth of the computation. A program
    calls this once, when it starts; a library should not.

    Returns:
        Whether the system's allocator has such settings (glibc's has).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    wanted = {_MMAP_THRESHOLD: _LARGEST_KEPT, _TRIM_THRESHOLD: _KEPT, _ARENA_MAX: _ARENAS}
    return all(bool(mallopt(parameter, value)) for parameter, value in wanted.items())
