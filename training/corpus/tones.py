"""The looks that portraits come in: colour, grey, sepia, low light, compressed, painted."""

from __future__ import annotations

import cv2
import numpy as np

from mooe.decoder.images import Image

_PLAIN_SHARE = 0.6


def grey(image: Image, rng: np.random.Generator) -> Image:
    """Luminance alone."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def sepia(image: Image, rng: np.random.Generator) -> Image:
    """Luminance in one brownish tone."""
    tint = np.array([1.0, rng.uniform(0.8, 0.92), rng.uniform(0.58, 0.8)])
    return np.clip(np.rint(grey(image, rng) * tint * 1.08), 0, 255).astype(np.uint8)


def low_light(image: Image, rng: np.random.Generator) -> Image:
    """Darker, of a coloured light, noisy."""
    gain = rng.uniform(0.4, 0.7) * (1 + rng.normal(0, 0.06, 3))
    noise = rng.normal(0, rng.uniform(1, 4), image.shape)
    return np.clip(np.rint(image * gain + noise), 0, 255).astype(np.uint8)


def compressed(image: Image, rng: np.random.Generator) -> Image:
    """After JPEG of low quality."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 45))])
    read = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(read[..., ::-1])


def painted(image: Image, rng: np.random.Generator) -> Image:
    """Flat patches with their edges kept, as by a brush."""
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    flat = cv2.edgePreservingFilter(half, flags=cv2.RECURS_FILTER, sigma_s=float(rng.uniform(8, 20)), sigma_r=0.3)
    return np.asarray(cv2.resize(flat, image.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


TONES = {"grey": grey, "sepia": sepia, "low_light": low_light, "compressed": compressed, "painted": painted}


def random_tone(image: Image, rng: np.random.Generator) -> Image:
    """The picture uint8 ``[H, W, 3]`` as it is, or in one of :data:`TONES`."""
    if rng.random() < _PLAIN_SHARE:
        return image
    return TONES[str(rng.choice(sorted(TONES)))](image, rng)
