"""Make ``mooe/assets/face_topology.safetensors``: a canonical face and the 52 ARKit shapes on the 478 landmarks.

The landmark model is run on renderings of the ICT-FaceKit head (MIT licence). Where a landmark falls, the visible
skin triangle and its barycentric coordinates tie that landmark to the head; the head's blend shapes then give each
landmark's displacement. Lips are tied on a rendering with the mouth open, because with closed lips the upper and
the lower edge fall on the same place. Shapes are made symmetric and expressed in the head frame (x right, y up,
z to the camera, unit = distance of the outer eye corners).

    python training/assets/make_topology.py --head ict_facekit.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.optimize import linear_sum_assignment

from mooe.face.regions import ARKIT_NAMES, LEFT_IRIS, LIPS_INNER, LIPS_OUTER, RIGHT_IRIS
from mooe.face.tracker import FaceTracker

SIZE = 1024
HIDDEN = ("M_EyeOcclusion", "M_LacrimalFluid", "M_EyeBlend", "M_EyeLashes")
COLORS = {
    "Sclera": (0.95, 0.95, 0.95),
    "Iris": (0.2, 0.12, 0.08),
    "Teeth": (0.9, 0.9, 0.85),
    "Gums": (0.6, 0.2, 0.2),
}
SKIN = (0.82, 0.62, 0.52)
# An eyeball's radius is about 12 mm of the 90 mm between the outer eye corners; full weight is a turn of 30 degrees
# sideways and 25 up or down. ICT's eyeballs do not move with its shapes, so the irises are moved here.
EYEBALL_RADIUS = 0.133
GAZE = {
    "eyeLookIn": (-0.5, 0, 0), "eyeLookOut": (0.5, 0, 0), "eyeLookUp": (0, 0.42, 0), "eyeLookDown": (0, -0.42, 0),
}  # fmt: skip
Array = NDArray[np.float32]


@numba.njit(cache=True)  # type: ignore[misc]
def rasterise(
    points: Array, triangles: NDArray[np.int32], colors: Array, size: int
) -> tuple[Array, NDArray[np.int32], Array]:
    """Draw shaded triangles; returns the image, the visible triangle per pixel (-1: none) and its barycentrics."""
    image = np.full((size, size, 3), 0.5, np.float32)
    depth = np.full((size, size), -1e9, np.float32)
    index = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    for k in range(len(triangles)):
        a, b, c = points[triangles[k, 0]], points[triangles[k, 1]], points[triangles[k, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if abs(area) < 1e-9:
            continue
        for y in range(max(0, int(min(a[1], b[1], c[1]))), min(size - 1, int(max(a[1], b[1], c[1])) + 1) + 1):
            for x in range(max(0, int(min(a[0], b[0], c[0]))), min(size - 1, int(max(a[0], b[0], c[0])) + 1) + 1):
                v = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
                w = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
                u = 1 - v - w
                if u < 0 or v < 0 or w < 0:
                    continue
                z = u * a[2] + v * b[2] + w * c[2]
                if z <= depth[y, x]:
                    continue
                depth[y, x], index[y, x] = z, k
                weights[y, x] = np.array((u, v, w), np.float32)
                for n in range(3):
                    image[y, x, n] = (
                        u * colors[triangles[k, 0], n] + v * colors[triangles[k, 1], n] + w * colors[triangles[k, 2], n]
                    )
    return image, index, weights


class Head:
    """The ICT-FaceKit head, rendered from the front by orthographic projection."""

    def __init__(self, path: Path) -> None:
        data = np.load(path)
        materials = [str(m) for m in data["mats"]]
        keep = np.array([m not in HIDDEN for m in materials])[data["tm"]]
        self.triangles = data["tri"][keep, :, 0].astype(np.int32)
        self.is_skin = (data["tm"] == materials.index("M_Face"))[keep]
        self.base = data["base"].astype(np.float32)
        self.shapes = {str(n): e.astype(np.float32) for n, e in zip(data["en"], data["expr"], strict=True)}
        self.colors = np.tile(np.array(SKIN, np.float32), (len(self.base), 1))
        self.irises: dict[str, NDArray[np.int64]] = {}
        for number, material in enumerate(materials):
            vertices = np.unique(data["tri"][data["tm"] == number][..., 0])
            for key, color in COLORS.items():
                if key in material:
                    self.colors[vertices] = color
            if "Iris" in material:
                self.irises[material.removeprefix("M_Iris")] = vertices
        center = self.base[:9409].mean(0)
        self.scale, self.center = SIZE / 26.0, center

    def project(self, vertices: Array) -> Array:
        pixels = (vertices - self.center) * self.scale
        return np.stack([SIZE / 2 + pixels[:, 0], SIZE / 2 - pixels[:, 1], pixels[:, 2]], 1).astype(np.float32)

    def render(self, weights: dict[str, float]) -> tuple[NDArray[np.uint8], NDArray[np.int32], Array, Array]:
        vertices = self.base + sum((w * self.shapes[n] for n, w in weights.items()), np.zeros_like(self.base))
        a, b, c = (vertices[self.triangles[:, i]] for i in range(3))
        normals = np.zeros_like(vertices)
        for i in range(3):
            np.add.at(normals, self.triangles[:, i], np.cross(b - a, c - a))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
        light = np.array([0.25, 0.4, 0.88], np.float32)
        shade = 0.35 + 0.7 * np.clip(normals @ light, 0, 1)
        points = self.project(vertices.astype(np.float32))
        image, index, bary = rasterise(points, self.triangles, self.colors * shade[:, None], SIZE)
        return (np.clip(image, 0, 1) * 255).astype(np.uint8), index, bary, points

    def tie(self, weights: dict[str, float], tracker: FaceTracker) -> tuple[NDArray[np.int64], Array]:
        """Three vertices and their weights for each landmark, on a rendering with ``weights``."""
        image, index, bary, points = self.render(weights)
        landmarks = tracker.detect_one(image).landmarks
        visible = np.unique(index[index >= 0])
        vertices = np.unique(self.triangles[visible[self.is_skin[visible]]])
        corners, shares = np.zeros((len(landmarks), 3), np.int64), np.zeros((len(landmarks), 3), np.float32)
        for n, (x, y, _) in enumerate(landmarks):
            column, row = int(np.clip(x, 0, SIZE - 1)), int(np.clip(y, 0, SIZE - 1))
            triangle = index[row, column]
            if triangle >= 0 and self.is_skin[triangle]:
                corners[n], shares[n] = self.triangles[triangle], bary[row, column]
            else:
                nearest = vertices[np.argmin(((points[vertices, :2] - (x, y)) ** 2).sum(1))]
                corners[n], shares[n] = nearest, (1, 0, 0)
        return corners, shares


def ict_names(name: str) -> list[str]:
    """The ICT shapes that make up the ARKit shape ``name``; tongueOut has none."""
    if name == "tongueOut":
        return []
    if name in ("browInnerUp", "cheekPuff"):
        return [f"{name}_L", f"{name}_R"]
    if name in ("mouthLeft", "mouthRight", "jawLeft", "jawRight"):
        return [name]
    for side in ("Left", "Right"):
        if name.endswith(side):
            return [f"{name.removesuffix(side)}_{side[0]}"]
    return [name]


def mirror_pairs(points: Array, opened: Array) -> NDArray[np.int64]:
    """For each landmark the one on the other half of the face, found on the shut and the open mouth together."""
    flip = np.array([-1, 1, 1], np.float32)
    cost = sum(np.linalg.norm((p * flip)[:, None] - p[None], axis=-1) for p in (points, opened))
    rows, columns = linear_sum_assignment(cost)
    partner = np.empty(len(points), np.int64)
    partner[rows] = columns
    # the cheapest assignment is symmetric but for ties: keep only pairs that agree both ways
    return np.where(partner[partner] == np.arange(len(points)), partner, np.arange(len(points)))


def mirrored_name(name: str) -> str:
    for a, b in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(a):
            return name.removesuffix(a) + b
    return name


def build(head: Head) -> dict[str, Array]:
    with FaceTracker() as tracker:
        corners, shares = head.tie({}, tracker)
        # 0.35 opens the lips far enough to tell the two inner edges apart and is still well inside the tracker's range
        open_corners, open_shares = head.tie(
            {
                "jawOpen": 0.35,
                "mouthLowerDown_L": 0.3,
                "mouthLowerDown_R": 0.3,
                "mouthUpperUp_L": 0.3,
                "mouthUpperUp_R": 0.3,
            },
            tracker,
        )
    lips = np.array([*LIPS_INNER, *LIPS_OUTER])
    corners[lips], shares[lips] = open_corners[lips], open_shares[lips]

    def carry(field: Array) -> Array:
        return np.einsum("nk,nkc->nc", shares, field[corners]).astype(np.float32)

    points = carry(head.base)
    shapes = np.zeros((len(ARKIT_NAMES), len(points), 3), np.float32)
    for row, name in enumerate(ARKIT_NAMES):
        for source in ict_names(name):
            shapes[row] += carry(head.shapes[source])
    head_unit = np.linalg.norm(points[33] - points[263])
    for side, indices in (("Left", LEFT_IRIS), ("Right", RIGHT_IRIS)):
        vertices = head.irises[side]
        # ICT names sides as the viewer of the head's own front does: +x is the person's left
        iris = head.base[vertices]
        center = iris.mean(0)
        radius = np.ptp(iris[:, 0]) / 2
        offsets = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], np.float32) * radius
        points[list(indices)] = center + offsets
        for name, direction in GAZE.items():
            # eyeLookIn is towards the nose: to the viewer's left for the person's left eye, at +x
            mirror = -1 if side == "Right" else 1
            shift = np.array(direction, np.float32) * (mirror, 1, 1) * EYEBALL_RADIUS * head_unit
            shapes[ARKIT_NAMES.index(name + side), list(indices)] = shift
    points = (points - points.mean(0)) / head_unit
    points[:, 0] -= (points[33, 0] + points[263, 0]) / 2
    shapes /= head_unit
    pairs = mirror_pairs(points, points + shapes[ARKIT_NAMES.index("jawOpen")])
    flip = np.array([-1, 1, 1], np.float32)
    points = ((points + points[pairs] * flip) / 2).astype(np.float32)
    other = [ARKIT_NAMES.index(mirrored_name(n)) for n in ARKIT_NAMES]
    shapes = ((shapes + shapes[other][:, pairs] * flip) / 2).astype(np.float32)
    points -= points.mean(0)
    # safetensors writes the memory as it lies: it must be in C order
    return {
        "canonical": np.ascontiguousarray(points, np.float32),
        "arkit_shapes": np.ascontiguousarray(shapes, np.float32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", type=Path, required=True, help="ict_facekit.npz")
    parser.add_argument("--out", type=Path, default=Path("mooe/assets/face_topology.safetensors"))
    arguments = parser.parse_args()
    tensors = build(Head(arguments.head))
    temporary = arguments.out.with_suffix(".tmp")
    save_file(
        tensors,
        temporary,
        metadata={
            "source": "derived from ICT-FaceKit (MIT licence, Copyright USC Institute for Creative Technologies)",
            "unit": "outer eye-corner distance",
            "frame": "x right, y up, z to the camera",
        },
    )
    temporary.replace(arguments.out)


if __name__ == "__main__":
    main()
