"""How a photographed smile comes to rest, beside the same person who really stopped smiling.

    python bench/rest.py --films A.mp4 B.mp4 --out rest.json --sheet rest.png

Of each film some frames that smile are taken as photographs, drawn at rest, and compared with the frame in the same
pose that does not smile: the skin's shading on the canonical face, shapes in eye distances, and likeness by FaceNet.
The first column is the smiling frame itself. Needs the extra ``metrics``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.tables import show, storable  # noqa: E402
from mooe.decoder import PortraitDecoder, encode_at_rest  # noqa: E402
from mooe.decoder.images import local_mean, sample_weight  # noqa: E402
from mooe.decoder.shading import canonical_pixels, expression_maps, face_flow  # noqa: E402
from mooe.decoder.tone import LUMA  # noqa: E402
from mooe.errors import MooeError  # noqa: E402
from mooe.face.alignment import HeadAlignment  # noqa: E402
from mooe.face.tracker import Face, FaceTracker  # noqa: E402
from mooe.media import read_video, write_json  # noqa: E402
from mooe.metrics.identity import IdentityJudge, identity_cosine  # noqa: E402

Image = NDArray[np.uint8]
_SMILE, _NEUTRAL, _SHUT, _BLINK = 0.5, 0.12, 0.05, 0.35
_APART, _TURN = 15, 4.0  # frames between two smiles; degrees between a smile and its neutral frame
_MAP = 192
_FINE, _COARSE = 1.5, 22.0  # of the shading that is compared, pixels of the map


@dataclass(frozen=True)
class Moment:
    """A frame of a film and what the tracker says of it."""

    index: int
    image: Image
    face: Face

    def reading(self, name: str) -> float:
        """Mean weight of a shape of both sides."""
        return float(np.mean([self.face.blendshapes[f"{name}{side}"] for side in ("Left", "Right")]))

    def turned_from(self, other: Moment) -> float:
        """Angle between two heads, degrees."""
        first, second = (np.asarray(moment.face.pose)[:3, :3] for moment in (self, other))
        return float(np.degrees(np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))))


def moments(path: Path, tracker: FaceTracker, step: int) -> list[Moment]:
    """Every ``step``-th frame of a film in which there is a face with open eyes."""
    found = []
    with read_video(path) as film:
        for index, image in enumerate(film):
            if index % step:
                continue
            try:
                moment = Moment(index, image, tracker.detect_one(image))
            except MooeError:
                continue
            if moment.reading("eyeBlink") < _BLINK:
                found.append(moment)
    return found


def pairs(film: list[Moment], most: int) -> Iterator[tuple[Moment, Moment]]:
    """Frames that smile, each with the one nearest in pose that does not."""
    rest = [m for m in film if m.reading("mouthSmile") < _NEUTRAL and m.face.blendshapes["jawOpen"] < _SHUT]
    smiles = [m for m in film if m.reading("mouthSmile") > _SMILE]
    if not rest or not smiles:
        return
    nearest = [min(((smile.turned_from(one), one) for one in rest), key=lambda pair: pair[0]) for smile in smiles]
    used: list[int] = []
    for smile, (angle, one) in sorted(zip(smiles, nearest, strict=True), key=lambda pair: pair[1][0]):
        if angle < _TURN and len(used) < most and all(abs(smile.index - index) > _APART for index in used):
            used.append(smile.index)
            yield smile, one


def shading(image: Image, landmarks: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log luminance between the grain and the form of the head on the canonical face, and where that is."""
    source = np.asarray(landmarks[:468, :2] - 0.5, np.float32)
    flow, skin = face_flow(canonical_pixels(_MAP), source, np.zeros(468, np.float32), (_MAP, _MAP))
    luma = np.log(sample_weight(np.asarray(image @ LUMA, np.float32), flow) + 12)
    fine, coarse = (local_mean(luma, skin, sigma) for sigma in (_FINE, _COARSE))
    return (fine - coarse) * skin, skin


def shape(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Width of the mouth, height of its corners below the nose, of lips' red and of the eyes, in eye distances."""
    upper = points[[159, 386], 1].mean() - points[[145, 374], 1].mean()
    red = points[0, 1] - points[13, 1] + points[14, 1] - points[17, 1]
    return np.array([np.linalg.norm(points[61] - points[291]), points[[61, 291], 1].mean() - points[2, 1], red, upper])


SHAPES = ("mouth's width", "corners' height", "red of the lips", "eyes' height")


def compare(smile: Moment, rest: Moment, tracker: FaceTracker, judge: IdentityJudge) -> tuple[dict[str, float], Image]:
    """Figures of one pair and a row of pictures: the smile, drawn at rest, really at rest."""
    portrait = encode_at_rest(smile.image, smile.face, tracker)
    decoder = PortraitDecoder(portrait)
    still, pose = np.zeros((478, 3), np.float32), np.zeros(3, np.float32)
    drawn, points = decoder.render(still, pose, pose), decoder.maps(still, pose, pose).points
    sides = {"smiling": (smile.image, smile.face.landmarks), "drawn": (drawn, points)}
    sides["true"] = rest.image, rest.face.landmarks
    maps = {name: shading(*side) for name, side in sides.items()}
    where = expression_maps()["fold"] * np.prod([skin for _, skin in maps.values()], axis=0)
    faces = {name: judge.embed(image, landmarks) for name, (image, landmarks) in sides.items()}
    read = {"smiling": smile.face, "drawn": tracker.detect_one(drawn), "true": rest.face}
    figures: dict[str, float] = {}
    for name in ("smiling", "drawn"):
        figures[f"folds, {name}"] = float((where * np.abs(maps[name][0] - maps["true"][0])).sum() / where.sum())
        figures[f"FaceNet to true, {name}"] = identity_cosine(faces[name], faces["true"])
    figures["FaceNet to smiling, drawn"] = identity_cosine(faces["drawn"], faces["smiling"])
    for name, face in read.items():
        own = shape(HeadAlignment.from_landmarks(face.landmarks).to_head(face.landmarks))
        figures |= {f"{what}, {name}": float(value) for what, value in zip(SHAPES, own, strict=True)}
    return figures, np.concatenate([_head(image, landmarks) for image, landmarks in sides.values()], 1)


def _head(image: Image, landmarks: NDArray[np.floating]) -> Image:
    low, high = landmarks[:468, :2].min(0).astype(int) - 8, landmarks[:468, :2].max(0).astype(int) + 8
    low = np.maximum(low, 0)
    return np.asarray(cv2.resize(image[low[1] : high[1], low[0] : high[0]], (240, 300)), np.uint8)


def main() -> None:
    """Compare, print tables, write JSON and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, nargs="+", required=True)
    parser.add_argument("--most", type=int, default=6, help="smiles of a film")
    parser.add_argument("--step", type=int, default=4, help="every how many frames of a film are looked at")
    parser.add_argument("--out", type=Path, help="the figures as JSON")
    parser.add_argument("--sheet", type=Path, help="the pictures as PNG")
    options = parser.parse_args()
    judge = IdentityJudge()
    results: dict[str, dict[str, float]] = {}
    rows: list[Image] = []
    for path in options.films:
        with FaceTracker(max_faces=1) as tracker:
            chosen = list(pairs(moments(path, tracker, options.step), options.most))
            found = [compare(*pair, tracker, judge) for pair in chosen]
        if not found:
            print(f"{path.name}: no smile beside a face at rest in the same pose")
            continue
        results[path.name] = {name: float(np.mean([one[name] for one, _ in found])) for name in found[0][0]}
        rows += [picture for _, picture in found]
    if not results:
        raise SystemExit("None of the films has a smile and, in the same pose, a face at rest.")
    names = list(next(iter(results.values())))
    mean = {name: float(np.mean([result[name] for result in results.values()])) for name in names}
    table = [[name, *(result[name] for result in results.values()), mean[name]] for name in names]
    show("At rest", ["", *results, "mean"], table)
    if options.out:
        write_json(options.out, storable({"films": results, "mean": mean}))
    if options.sheet:
        PIL.Image.fromarray(np.concatenate(rows)).save(options.sheet)


if __name__ == "__main__":
    main()
