"""Decoder: one photograph, face displacements and head pose -> frames."""

from mooe.decoder.compensation import AppearanceCompensation, MotionCompensation, RenderMaps
from mooe.decoder.decoder import PortraitDecoder
from mooe.decoder.portrait import SourcePortrait, encode_portrait
from mooe.decoder.rest import encode_at_rest

__all__ = [
    "AppearanceCompensation",
    "MotionCompensation",
    "PortraitDecoder",
    "RenderMaps",
    "SourcePortrait",
    "encode_at_rest",
    "encode_portrait",
]
