"""The decoder beside simpler ones and beside itself without its parts, on faces that nothing was trained on.

    python bench/decoder.py --model runs/decoder/weights --films DIR --portraits A.jpg B.jpg --out decoder.json

Films are re-enacted from their first frame; portraits become cycle puppets (see ``training/corpus/puppets.py``), drawn
from the portraits' names, so that each run shows the same. Ablations trained apart: ``--ablation NAME=WEIGHTS``.
Needs the extra ``metrics``. Lower is better for l1, vgg16_hed_distance, akd and aed, higher for the others.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.tables import show, storable  # noqa: E402
from mooe.audio import FRAME_RATE  # noqa: E402
from mooe.decoder import PortraitDecoder, RenderMaps, SourcePortrait, encode_at_rest  # noqa: E402
from mooe.decoder.codebooks import Retrieved  # noqa: E402
from mooe.decoder.compensator import PortraitCompensator  # noqa: E402
from mooe.decoder.images import Image, sample  # noqa: E402
from mooe.decoder.rasterizer import rasterize_flow, wound_alike  # noqa: E402
from mooe.decoder.refinement import refined_decoder  # noqa: E402
from mooe.errors import MooeError  # noqa: E402
from mooe.face.tracker import FaceTracker  # noqa: E402
from mooe.media import read_image, read_video, write_json  # noqa: E402
from mooe.metrics.quality import QualityJudge  # noqa: E402
from mooe.metrics.tracks import track_frames  # noqa: E402
from mooe.reenactment import performance_of, retarget  # noqa: E402
from training.corpus.puppets import PuppetMaker  # noqa: E402

Motion = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
Draw = Callable[[SourcePortrait, Sequence[Motion], bool], list[Image]]
SIZE = 256
COLUMNS = (
    "psnr", "ssim", "l1", "vgg16_hed_distance", "mouth_psnr", "mouth_ssim", "mouth_vgg16_hed_distance", "akd", "aed",
    "csim", "csim_reference", "sharpness_ratio",
)  # fmt: skip


@dataclass
class Case:
    """One source portrait, what it shall do, and how that really looks."""

    name: str
    kind: str
    portrait: SourcePortrait
    motions: list[Motion] = field(default_factory=list)
    references: list[Image] = field(default_factory=list)


def film_case(path: Path, name: str, count: int, most: int) -> Case:
    """Self-re-enactment: the first frame as source, ``count`` later moments at even times."""
    with read_video(path) as film:
        fps = film.info.fps
        frames = list(islice(film, most))
    tracks = track_frames(frames, fps)
    performance = performance_of(tracks)
    with FaceTracker(max_faces=1) as tracker:
        portrait = encode_at_rest(frames[0], tracker.detect_one(frames[0]), tracker, SIZE)
    motion = retarget(performance, portrait, "relative")
    case = Case(name, "films", portrait)
    for moment in np.linspace(1, len(performance) - 1, count + 1)[1:].astype(int):
        index = min(round(moment / FRAME_RATE * fps), len(frames) - 1)
        if tracks.found[index]:
            case.motions.append((motion.displacement[moment], motion.rotation[moment], motion.translation[moment]))
            case.references.append(portrait.crop.cut(frames[index]))
    return case


def puppet_cases(path: Path, count: int) -> Iterator[Case]:
    """Cycles of a photograph, one case each."""
    photo = read_image(path)
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    with FaceTracker(max_faces=1) as tracker:
        maker = PuppetMaker(photo, tracker.detect_one(photo))
        for number in range(count):
            cycle = maker.cycle(tracker, rng)
            yield Case(f"{path.stem}-{number}", "puppets", cycle.portrait, [cycle.motion], [cycle.target])


def still(portrait: SourcePortrait, motions: Sequence[Motion], as_film: bool) -> list[Image]:
    """The photograph as it is."""
    return [portrait.frame] * len(motions)


def landmark_warp(portrait: SourcePortrait, motions: Sequence[Motion], as_film: bool) -> list[Image]:
    """The photograph warped by its landmarks alone."""
    return [_warped(portrait, motion) for motion in motions]


def _warped(portrait: SourcePortrait, motion: Motion) -> Image:
    """Piecewise-affine warp of the Delaunay triangles over the landmarks and the frame's border."""
    from scipy.spatial import Delaunay

    maps: RenderMaps = PortraitDecoder(portrait).maps(*motion)
    steps = np.linspace(0, SIZE - 1, 9)
    border = np.array([(x, y) for x in steps for y in steps if {x, y} & {0, SIZE - 1}], np.float32)
    source, target = (np.concatenate([p[:468] - 0.5, border]) for p in (maps.source_points, maps.points))
    triangles = wound_alike(Delaunay(source).simplices, target)
    kinds, depth = np.ones(len(triangles), np.uint8), np.zeros(len(target), np.float32)
    flow, _ = rasterize_flow(triangles, kinds, target, source, depth, (SIZE, SIZE))
    return sample(portrait.frame, flow)


class Drawer:
    """The decoder with the parts that are asked for; what belongs to a portrait is made once."""

    def __init__(self, model: PortraitCompensator | None, motion: bool = True, appearance: bool = True) -> None:
        self._model, self._motion, self._appearance = model, motion, appearance
        self._portrait: SourcePortrait | None = None
        self._decoder: PortraitDecoder | None = None

    def __call__(self, portrait: SourcePortrait, motions: Sequence[Motion], as_film: bool) -> list[Image]:
        """Draw moments, several at a time if they follow each other: what moves slowly is then taken half way."""
        if self._decoder is None or self._portrait is not portrait:
            self._portrait, self._decoder = portrait, self._make(portrait)
        if not as_film:
            return [self._decoder.render(*motion) for motion in motions]
        return list(self._decoder.render_many(*(np.stack(x) for x in zip(*motions, strict=True)), paste_back=False))

    def _make(self, portrait: SourcePortrait) -> PortraitDecoder:
        decoder = refined_decoder(portrait, self._model)
        return PortraitDecoder(
            portrait, decoder.motion if self._motion else None, decoder.appearance if self._appearance else None
        )


class CodeUsage:
    """Which codes of a model's books are retrieved at least once."""

    def __init__(self, model: PortraitCompensator) -> None:
        self._found: dict[str, set[int]] = {}
        self._books = model.books()
        for name in self._books:
            self._found[name] = set()
            for retrieval in getattr(model, name).retrievals.values():
                retrieval.register_forward_hook(self._watch(name))

    def _watch(self, name: str) -> Callable[..., None]:
        def watch(module: torch.nn.Module, given: tuple[Any, ...], found: Retrieved) -> None:
            self._found[name].update(found.indices.unique().tolist())

        return watch

    def shares(self) -> dict[str, float]:
        """Share of each book's codes."""
        return {name: len(self._found[name]) / len(book.codes) for name, book in self._books.items()}


def systems(full: PortraitCompensator, ablations: list[str]) -> dict[str, Draw]:
    """What is compared, by name."""
    found: dict[str, Draw] = {
        "still copy": still, "landmark warp": landmark_warp, "stage 1": Drawer(None), "full": Drawer(full),
        "no motion book": Drawer(full, motion=False), "no appearance book": Drawer(full, appearance=False),
    }  # fmt: skip
    for text in ablations:
        name, _, folder = text.partition("=")
        found[name] = Drawer(PortraitCompensator.from_pretrained(folder))
    return found


def measure(cases: list[Case], draw: Draw, judge: QualityJudge) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Means over the cases, each counting the same, and milliseconds a frame; and the figures of each case."""
    rows: list[dict[str, Any]] = []
    seconds: list[float] = []
    for case in cases:
        frames = draw(case.portrait, case.motions, False)
        draw(case.portrait, case.motions, True)  # what is made once a portrait is not counted
        start = time.perf_counter()
        draw(case.portrait, case.motions, True)
        seconds.append((time.perf_counter() - start) / len(frames))
        rows.append(judge.compare(frames, case.references, case.portrait.frame).summary())
    means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in COLUMNS}
    return {**means, "ms": 1000 * float(np.median(seconds))}, rows


def against(rows: list[dict[str, Any]], full: list[dict[str, Any]]) -> dict[str, list[float]]:
    """By how much each figure exceeds the full decoder's, and the standard error of that over the cases."""
    found = {}
    for name in COLUMNS:
        pairs = [pair for pair in zip(rows, full, strict=True) if all(name in row for row in pair)]
        gaps = np.array([one[name] - other[name] for one, other in pairs])
        found[name] = [float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))]
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="weights of the compensator")
    parser.add_argument("--ablation", nargs="*", default=[], metavar="NAME=WEIGHTS")
    parser.add_argument("--films", type=Path, nargs="*", default=[])
    parser.add_argument("--portraits", type=Path, nargs="*", default=[])
    parser.add_argument("--frames", type=int, default=10, help="moments of a film")
    parser.add_argument("--most", type=int, default=150, help="frames of a film that are looked at")
    parser.add_argument("--puppets", type=int, default=3, help="cycles of a portrait")
    parser.add_argument("--out", type=Path, help="the figures as JSON")
    given = parser.parse_args()
    try:
        cases = [film_case(path, path.stem, given.frames, given.most) for path in given.films]
        for path in given.portraits:
            cases += puppet_cases(path, given.puppets)
        full = PortraitCompensator.from_pretrained(given.model)
        usage = CodeUsage(full)
        judge, drawn = QualityJudge(), systems(full, given.ablation)
        result: dict[str, Any] = {}
        for kind in sorted({case.kind for case in cases}):
            chosen = [case for case in cases if case.kind == kind]
            measured = {name: measure(chosen, draw, judge) for name, draw in drawn.items()}
            result[kind] = {name: means for name, (means, _) in measured.items()}
            rows = [[name, *figures.values()] for name, figures in result[kind].items()]
            header = ["", *(c.replace("vgg16_hed_distance", "vgg") for c in COLUMNS)]
            show(f"{len(chosen)} {kind}", [*header, "ms"], rows)
            if len(chosen) < 2:
                continue
            apart = {name: against(each, measured["full"][1]) for name, (_, each) in measured.items()}
            result[f"{kind}_against_full"] = apart
            rows = [[n, *(f"{gap:+.3f} ±{error:.3f}" for gap, error in a.values())] for n, a in apart.items()]
            show(f"{kind}: difference to full, with its standard error over the cases", header, rows)
    except MooeError as error:
        sys.exit(str(error))
    result["codes_used"] = usage.shares()
    show("Codes used", ["book", "share"], [[*item] for item in result["codes_used"].items()])
    if given.out:
        write_json(given.out, storable(result))


if __name__ == "__main__":
    main()
