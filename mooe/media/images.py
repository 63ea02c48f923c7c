"""Portraits from picture files."""

from __future__ import annotations

import io
import warnings
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mooe.errors import PortraitError

MAX_PIXELS = 100_000_000
MIN_SIDE = 32


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read a picture as it is meant to be seen.

    The EXIF orientation is applied, an embedded colour profile is converted to sRGB, transparency is laid
    over white and grey becomes RGB.

    Args:
        path: any still format Pillow reads (JPEG, PNG, WebP, TIFF, ...); of an animation the first frame.

    Returns:
        uint8 array [height, width, 3], RGB.

    Raises:
        PortraitError: the file is missing, is a folder, is no picture, is cut short, or has more than
            100 megapixels or a side under 32 pixels.
    """
    file = Path(path)
    _require_file(file)
    try:
        with warnings.catch_warnings():
            # Pillow warns below our own limit; its hard limit is an error and is caught below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                _check_size(file, *image.size)
                return np.array(_upright_rgb(image), dtype=np.uint8)
    except UnidentifiedImageError as error:
        raise PortraitError(f"{file} is not a picture that can be read: give a JPEG, PNG or WebP file.") from error
    except Image.DecompressionBombError as error:
        raise PortraitError(_too_large(file)) from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise PortraitError(f"{file} is damaged or cut short ({error}): export the picture again.") from error


def shrink_to(image: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """Return the image [h, w, 3] with its longer side at most `max_side` pixels, never enlarged."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= max_side:
        return image
    size = (max(1, round(width * max_side / longest)), max(1, round(height * max_side / longest)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)


def _require_file(file: Path) -> None:
    try:
        if file.is_dir():
            raise PortraitError(f"{file} is a folder: give the picture file itself.")
        if not file.exists():
            raise PortraitError(f"{file} does not exist: check the path of the portrait.")
        if not file.is_file():
            raise PortraitError(f"{file} is not a regular file: save the portrait to a file first.")
    except (OSError, ValueError) as error:
        raise PortraitError(f"{str(file)!r} cannot be opened ({error}): check the path.") from error


def _check_size(file: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PortraitError(_too_large(file))
    if min(width, height) < MIN_SIDE:
        raise PortraitError(
            f"{file} is only {width} x {height} pixels: use a portrait of at least {MIN_SIDE} pixels a side."
        )


def _too_large(file: Path) -> str:
    return f"{file} has more than {MAX_PIXELS // 1_000_000} megapixels: make the picture smaller first."


def _upright_rgb(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    if upright.mode.startswith("I") or upright.mode == "F":
        return _from_high_depth(upright).convert("RGB")
    if "A" in upright.getbands() or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        paper = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(paper, rgba).convert("RGB")
    elif upright.mode != "RGB" and not (profile and upright.mode == "CMYK"):
        upright = upright.convert("RGB")
    return _to_srgb(upright, profile) if profile else upright


def _from_high_depth(image: Image.Image) -> Image.Image:
    """Map 16-bit, 32-bit and float grey to 8 bits, by the range the mode or else the picture uses."""
    values = np.asarray(image, dtype=np.float64)
    top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 255.0
    top = max(top, float(values.max(initial=0))) if np.isfinite(values).all() else top
    return Image.fromarray(np.nan_to_num(values * 255 / top).clip(0, 255).round().astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        # A profile that does not fit the picture is common and harmless: the numbers are then taken as sRGB.
        return image.convert("RGB")
    return converted if converted is not None else image.convert("RGB")
