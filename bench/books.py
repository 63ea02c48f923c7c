"""One portrait in neutral and six emotions, with and without the decoder's codebooks, in one picture.

    python bench/books.py OUT.png --decoder runs/decoder/weights --portrait P.jpg --speech S.wav

Upper row: geometry alone; lower row: with the books. All columns show the same moment, the one in which the neutral
mouth is widest open, cut to the face.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mooe import MoEEPipeline  # noqa: E402
from mooe.animation import render_motion  # noqa: E402
from mooe.decoder import SourcePortrait  # noqa: E402
from mooe.decoder.compensator import PortraitCompensator  # noqa: E402
from mooe.emotion.taxonomy import EMOTIONS  # noqa: E402
from mooe.errors import MooeError  # noqa: E402
from mooe.face.regions import LIP_PAIRS  # noqa: E402
from mooe.media import read_image  # noqa: E402
from mooe.pipeline_output import FaceMotion  # noqa: E402

_HEIGHT = 300  # pixels of a picture
_ABOUT = 0.62  # half of the cut's height in heights of the face


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--decoder", type=Path, required=True, help="weights of train_decoder.py")
    parser.add_argument("--portrait", type=Path, required=True)
    parser.add_argument("--speech", type=Path, required=True)
    given = parser.parse_args()
    try:
        pipeline = MoEEPipeline.from_pretrained()
        books = PortraitCompensator.from_pretrained(given.decoder)
        portrait = pipeline.encode_portrait(read_image(given.portrait))
        motions = [_motion(pipeline, portrait, given.speech, name) for name in (None, *EMOTIONS)]
    except MooeError as error:
        sys.exit(str(error))
    upper, lower = np.array(LIP_PAIRS).T
    height = motions[0].displacement[..., 1]
    moment = int((height[:, upper] - height[:, lower]).mean(1).argmax())
    rows = []
    for model in (None, books):
        drawn = [next(render_motion(portrait, _only(m, moment), compensator=model)) for m in motions]
        rows.append(np.concatenate([_face(portrait, frame) for frame in drawn], axis=1))
    Image.fromarray(np.concatenate(rows)).save(given.out)


def _motion(pipeline: MoEEPipeline, portrait: SourcePortrait, speech: Path, emotion: str | None) -> FaceMotion:
    generator = torch.Generator().manual_seed(0)
    output = pipeline(portrait, speech, emotion, blink_rate=0.0, generator=generator, output_type="latent")
    return output.motion  # type: ignore[union-attr, no-any-return]


def _only(motion: FaceMotion, moment: int) -> FaceMotion:
    part = slice(moment, moment + 1)
    return FaceMotion(motion.displacement[part], motion.rotation[part], motion.translation[part])


def _face(portrait: SourcePortrait, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture's part about the face, 300 px high."""
    crop = portrait.crop
    points = portrait.landmarks[:468, :2] / crop.scale + (crop.left, crop.top)
    x, y = points.mean(0)
    half = _ABOUT * float(np.ptp(points[:, 1]))
    rows, columns = (slice(max(int(c - h), 0), int(c + h)) for c, h in ((y, half), (x, 0.8 * half)))
    cut = frame[rows, columns]
    width = round(_HEIGHT * cut.shape[1] / cut.shape[0])
    return np.asarray(cv2.resize(cut, (width, _HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main()
