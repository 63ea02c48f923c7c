"""The mesh that carries the photograph: the face, lid margins, and rings around it for hair, ears, neck, background."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from mooe.decoder.rasterizer import depth_order, rasterize_flow
from mooe.face.alignment import HeadAlignment
from mooe.face.regions import FACE_OVAL, LEFT_EYE, LIP_PAIRS, LIPS_BETWEEN, LIPS_INNER, LIPS_OUTER, RIGHT_EYE
from mooe.face.topology import face_triangles

Float = NDArray[np.float32]
FACE_POINTS = 468
OUTSIDE, FACE, MOUTH, EYE, LID = range(5)  # values of the region map

# Turning about a point between the ears keeps the skull's outline in place, as a neck does.
HEAD_PIVOT = np.array([0.0, -0.05, -0.62], np.float32)

_EYES = (RIGHT_EYE, LEFT_EYE)
_RING_FACTORS = (1.05, 1.12, 1.22, 1.36, 1.55, 1.8, 2.15, 3.2)
_MARGIN_WIDTH = 0.022  # lashes and liner above and below a lid's edge, head-frame units
_EXPRESSION_REACH = 0.30
_CHIN_REACH = 0.50
_BORDER = 0.14  # share of the crop over which all motion fades at its border


@dataclass(frozen=True)
class Topology:
    """Triangles shared by all portraits.

    Vertices: 468 face points, 32 lid-margin points (one beside each eye-ring point), two copies of the middle lines
    of the openings (eyes and mouth), then the rings of 36.
    """

    triangles: NDArray[np.int32]
    kinds: NDArray[np.uint8]
    eye_ring: NDArray[np.int64]
    margin_neighbours: tuple[tuple[int, ...], ...]
    opening_pairs: NDArray[np.int64]


@lru_cache(maxsize=1)
def topology() -> Topology:
    """The fixed triangles of face, lid margins, mouth and eye openings, and rings."""
    face = face_triangles().copy()
    eye_ring = np.array(RIGHT_EYE + LEFT_EYE)
    margin_of = {int(v): FACE_POINTS + i for i, v in enumerate(eye_ring)}
    neighbours = tuple(
        tuple(sorted({int(w) for t in face[(face == v).any(1)] for w in t} - set(eye_ring.tolist()))) for v in eye_ring
    )
    kinds = np.where(np.isin(face, eye_ring).any(1), LID, FACE)
    for vertex, margin in margin_of.items():
        face[face == vertex] = margin
    triangles: list[NDArray[np.signedinteger]] = [face]
    codes: list[NDArray[np.signedinteger]] = [kinds]
    for ring in _EYES:
        strip = []
        for i, a in enumerate(ring):
            b = ring[(i + 1) % len(ring)]
            strip += [(a, b, margin_of[b]), (a, margin_of[b], margin_of[a])]
        triangles.append(np.array(strip))
        codes.append(np.full(len(strip), LID))
    openings = _openings()
    middle = FACE_POINTS + len(eye_ring)
    for corners, pairs, code in openings:
        lens = _half_lenses(corners, pairs, middle)
        triangles.append(lens)
        codes.append(np.full(len(lens), code))
        middle += 2 * len(pairs)
    first = middle
    count = len(FACE_OVAL)
    inner = np.array(FACE_OVAL)
    for k in range(len(_RING_FACTORS)):
        outer = first + k * count + np.arange(count)
        near, far = np.roll(inner, -1), np.roll(outer, -1)
        ring_triangles = np.concatenate([np.stack([inner, far, near], 1), np.stack([inner, outer, far], 1)])
        triangles.append(ring_triangles)
        codes.append(np.full(len(ring_triangles), OUTSIDE))
        inner = outer
    return Topology(
        _turn_alike(np.ascontiguousarray(np.concatenate(triangles), np.int32)),
        np.concatenate(codes).astype(np.uint8),
        eye_ring,
        neighbours,
        np.concatenate([np.array(pairs) for _, pairs, _ in openings]),
    )


def _turn_alike(triangles: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same triangles, all wound the way of the last one (neighbours run along a shared edge oppositely)."""
    by_edge: dict[tuple[int, int], list[int]] = {}
    for i, (a, b, c) in enumerate(triangles.tolist()):
        for u, v in ((a, b), (b, c), (c, a)):
            by_edge.setdefault((min(u, v), max(u, v)), []).append(i)
    wound = triangles.copy()
    start = len(triangles) - 1
    seen, stack = {start}, [start]
    while stack:
        i = stack.pop()
        a, b, c = wound[i].tolist()
        for u, v in ((a, b), (b, c), (c, a)):
            for j in by_edge[min(u, v), max(u, v)]:
                if j in seen:
                    continue
                other = wound[j].tolist()
                same = any(other[k] == u and other[(k + 1) % 3] == v for k in range(3))
                if same:
                    wound[j] = wound[j, ::-1]
                seen.add(j)
                stack.append(j)
    return wound


def _openings() -> list[tuple[tuple[int, int], tuple[tuple[int, int], ...], int]]:
    """Eyes and mouth: both corners, the pairs of upper and lower edge points between them, region code."""
    eyes = [((ring[0], ring[8]), tuple((ring[16 - i], ring[i]) for i in range(1, 8)), EYE) for ring in _EYES]
    return [*eyes, ((LIPS_INNER[0], LIPS_INNER[10]), LIP_PAIRS, MOUTH)]


def _half_lenses(corners: tuple[int, int], pairs: tuple[tuple[int, int], ...], middle: int) -> NDArray[np.int64]:
    """Triangles of an opening in two halves, each from its edge to its own copy of the middle line.

    The copies start at vertex ``middle``: first the upper edge's, then the lower edge's. Being apart in the source,
    they let each half carry on the pixels of its own edge, so nothing inside is squeezed when the opening shuts.
    """
    found = []
    for side in range(2):
        edge = [corners[0], *(pair[side] for pair in pairs), corners[1]]
        line = [corners[0], *(middle + side * len(pairs) + i for i in range(len(pairs))), corners[1]]
        for i in range(len(edge) - 1):
            quad = (edge[i], edge[i + 1], line[i + 1], line[i])
            found += [t for t in (quad[:3], (quad[0], quad[2], quad[3])) if len(set(t)) == 3]
    return np.array(found)


def pose_points(points: Float, rotation: Float, translation: Float) -> Float:
    """Turn head-frame points ``[..., 3]`` about :data:`HEAD_PIVOT` by a matrix ``[3, 3]``, then shift by ``[3]``."""
    return ((points - HEAD_PIVOT) @ rotation.T + HEAD_PIVOT + translation).astype(np.float32)


@dataclass(frozen=True)
class MovedMesh:
    """The mesh of one frame.

    Attributes:
        target: float32 ``[V, 2]``, vertices in the frame (pixels).
        source: float32 ``[V, 2]``, what they show of the photograph (frame pixels).
        depth: float32 ``[V]``, larger is nearer.
    """

    target: Float
    source: Float
    depth: Float

    def rasterize(
        self,
        shape: tuple[int, int],
        origin: tuple[float, float] = (0.0, 0.0),
        scale: float = 1.0,
        fineness: int = 1,
    ) -> tuple[Float, NDArray[np.uint8]]:
        """Backward flow and region map of a piece of a canvas ``scale`` times as large as the frame.

        Args:
            shape: height and width of the maps.
            origin: the piece's left and top on the canvas.
            scale: canvas pixels per frame pixel.
            fineness: samples per canvas pixel and axis.

        Returns:
            Canvas pixel indices ``[h, w, 2]`` of what each sample shows, and regions uint8 ``[h, w]``.
        """
        mesh = topology()
        return rasterize_flow(
            mesh.triangles, mesh.kinds, self.target * scale - 0.5, self.source * scale - 0.5, self.depth, shape,
            origin, fineness, self._order,
        )  # fmt: skip

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return depth_order(topology().triangles, self.depth)


@dataclass(frozen=True)
class PortraitMesh:
    """One portrait's mesh in its head crop.

    Attributes:
        source: float32 ``[V, 2]``, vertices in the photograph (crop pixels).
        points: float32 ``[478, 3]``, the photograph's landmarks in the head frame.
        ring_points: float32 ``[R, 3]``, the rings' vertices in the head frame.
        mobility: float32 ``[R]``, how much a ring vertex follows the head's pose (0 at the crop's border).
        spread: float32 ``[R]``, how much it follows the face oval's expression.
        margin_offset: float32 ``[32, 3]``, from an eye-ring point to its lid-margin point, head frame.
    """

    source: Float
    points: Float
    ring_points: Float
    mobility: Float
    spread: Float
    margin_offset: Float

    @classmethod
    def build(
        cls,
        landmarks: Float,
        alignment: HeadAlignment,
        size: int,
        free_sides: tuple[bool, bool, bool, bool],
        lip_source: Float,
    ) -> PortraitMesh:
        """Make the mesh.

        Args:
            landmarks: float32 ``[478, 3]``, crop pixels.
            alignment: of the head in the crop.
            size: the crop's side in pixels.
            free_sides: at which sides (left, top, right, bottom) all motion has to fade.
            lip_source: float32 ``[20, 2]``, where the lips' inner edge shows in the photograph, in the order of
                ``LIPS_INNER``.
        """
        head = alignment.to_head(landmarks)
        mesh = topology()
        offset = np.zeros((len(mesh.eye_ring), 3), np.float32)
        for i, (vertex, near) in enumerate(zip(mesh.eye_ring, mesh.margin_neighbours, strict=True)):
            if near:
                away = head[list(near)].mean(0) - head[vertex]
                length = float(np.linalg.norm(away[:2]))
                offset[i] = away * min(_MARGIN_WIDTH / max(length, 1e-6), 0.4)
        margin = alignment.to_image(head[mesh.eye_ring] + offset)[:, :2]
        rings, mobility, spread = _rings(landmarks, alignment, size, free_sides)
        ring_points = alignment.to_head(rings)
        points = _with_lips(landmarks[:FACE_POINTS, :2], lip_source)
        lines = _middle_lines(points, np.ones(len(mesh.opening_pairs), np.float32))
        source = np.concatenate([points, margin, lines, rings[:, :2]]).astype(np.float32)
        return cls(source, head, ring_points, mobility, spread, offset)

    def drive(
        self, face: Float, expression: Float, alignment: HeadAlignment, rotation: Float, translation: Float
    ) -> MovedMesh:
        """Move all vertices.

        Args:
            face: driven points in the head frame before the pose, float32 ``[478, 3]``.
            expression: what they moved from the photograph, float32 ``[478, 3]``.
            alignment: of the photograph in the crop.
            rotation: float32 ``[3, 3]``; translation: float32 ``[3]``, head frame.
        """
        mesh = topology()
        margin = face[mesh.eye_ring] + self.margin_offset
        skin = np.concatenate([face[:FACE_POINTS], margin])
        moved = alignment.to_image(pose_points(skin, rotation, translation))
        upper, lower = mesh.opening_pairs.T
        gap, gap_now = (x[upper, 1] - x[lower, 1] for x in (self.points, face))
        lines = (moved[upper] + moved[lower]) / 2
        source = self.source.copy()
        first, last = len(skin), len(skin) + 2 * len(upper)
        opening = np.clip(gap_now / np.maximum(gap, 1e-4), 0, 1)
        source[first:last] = _middle_lines(self.source, opening)
        posed = alignment.to_image(pose_points(self.ring_points, rotation, translation))
        rest = alignment.to_image(self.ring_points)
        oval = np.tile(expression[list(FACE_OVAL)], (len(self.ring_points) // len(FACE_OVAL), 1))
        push = alignment.to_image(oval * self.spread[:, None])[:, :2] - alignment.translation[:2]
        ring = self.source[last:] + self.mobility[:, None] * (posed - rest)[:, :2] + push
        order = _opening_order()
        target = np.concatenate([moved[:, :2], lines[order, :2], ring]).astype(np.float32)
        depth = -np.concatenate([moved[:, 2], lines[order, 2], posed[:, 2]])
        return MovedMesh(target, source, depth.astype(np.float32))


def _with_lips(points: Float, inner: Float) -> Float:
    """Points ``[468, 2]`` with the lips' inner edge at ``inner`` ``[20, 2]``, and the rows before it drawn after it."""
    moved = points.copy()
    outer, before = points[list(LIPS_OUTER)], points[list(LIPS_INNER)]
    kept = np.linalg.norm(inner - outer, axis=1) / np.maximum(np.linalg.norm(before - outer, axis=1), 1e-6)
    for row in LIPS_BETWEEN:
        moved[list(row)] = outer + (points[list(row)] - outer) * np.minimum(kept, 1)[:, None]
    moved[list(LIPS_INNER)] = inner
    return moved.astype(np.float32)


@lru_cache(maxsize=1)
def _opening_order() -> NDArray[np.int64]:
    """Rows of the opening pairs in the order of the middle-line vertices (each opening twice)."""
    order, first = [], 0
    for _, pairs, _ in _openings():
        rows = np.arange(first, first + len(pairs))
        order += [rows, rows]
        first += len(pairs)
    return np.concatenate(order)


def _middle_lines(points: Float, opening: Float) -> Float:
    """Source of both copies of the middle lines: from each edge half way across, times ``opening`` ``[pairs]``."""
    upper, lower = topology().opening_pairs.T
    half = (points[lower] - points[upper]) / 2 * opening[:, None]
    from_upper, from_lower = points[upper] + half, points[lower] - half
    found, first = [], 0
    for _, pairs, _ in _openings():
        rows = slice(first, first + len(pairs))
        found += [from_upper[rows], from_lower[rows]]
        first += len(pairs)
    return np.concatenate(found).astype(np.float32)


def _smooth(t: Float) -> Float:
    t = np.clip(t, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _rings(
    landmarks: Float, alignment: HeadAlignment, size: int, free_sides: tuple[bool, bool, bool, bool]
) -> tuple[Float, Float, Float]:
    """Ring vertices in the crop ``[R, 3]``, their mobility ``[R]`` and spread ``[R]``."""
    oval = landmarks[list(FACE_OVAL)]
    centre = oval.mean(0)
    pivot = alignment.to_image(HEAD_PIVOT)
    factors = np.array(_RING_FACTORS, np.float32)
    xy = centre[:2] + factors[:, None, None] * (oval[None, :, :2] - centre[:2])
    # Behind the outline the skull recedes to the depth of the ears.
    away = _smooth((factors - 1) / 0.7)[:, None]
    depth = oval[None, :, 2] * (1 - away) + np.maximum(oval[None, :, 2], pivot[2]) * away
    points = np.concatenate([xy, depth[..., None]], -1).reshape(-1, 3).astype(np.float32)
    unit = alignment.scale
    down = alignment.rotation[:2, 1] * (1, -1) * -1.0
    down = down / max(float(np.linalg.norm(down)), 1e-6)
    relative = (points[:, :2] - centre[:2]) / unit
    below = relative @ down
    aside = np.abs(relative @ np.array([down[1], -down[0]]))
    chin = float(((landmarks[152, :2] - centre[:2]) / unit) @ down)
    # The skull with its hair moves as one; the neck gives way from the chin to the shoulders.
    radius = np.hypot(aside / 1.25, np.minimum(below, 0) / 1.35)
    skull = 1 - _smooth((radius - 1.6) / 0.9)
    neck = 1 - _smooth((below - chin * 0.55) / (chin * 0.45 + 0.75))
    distances = np.concatenate([points[:, :2], size - points[:, :2]], 1)
    inside = _smooth(np.where(free_sides, distances, np.inf).min(1) / (_BORDER * size))
    distance = np.linalg.norm(points[:, :2] - np.tile(oval[:, :2], (len(factors), 1)), axis=1) / unit
    reach = np.where(below > 0, _CHIN_REACH, _EXPRESSION_REACH)
    spread = np.exp(-((distance / reach) ** 2)) * inside
    return points, (skull * neck * inside).astype(np.float32), spread.astype(np.float32)
