"""Rates of sound and video, and the name of silence."""

from __future__ import annotations

SAMPLE_RATE = 16000  # samples a second
FRAME_RATE = 25  # video frames a second
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
SILENCE = "sil"  # stands for a phone where nobody speaks


def frame_count(samples: int) -> int:
    """Video frames that cover `samples` samples at 16 kHz: ceil(seconds * 25)."""
    return -(-samples // SAMPLES_PER_FRAME)
