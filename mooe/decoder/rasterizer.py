"""Triangle rasterisers (numba): backward flow of a deforming mesh, and small shaded meshes with a depth buffer.

Pixel-index coordinates throughout: the centre of column ``i`` is at ``x = i``.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
_BESIDE = 0.1  # pixels of depth within which the triangle whose middle is nearer lies before another


@numba.njit(cache=True, fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def _flow_kernel(order, triangles, kinds, target, source, depth, flow, region, nearest):  # type: ignore[no-untyped-def]
    height, width = region.shape
    for q in range(order.shape[0]):
        t = order[q]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = target[a, 0], target[a, 1]
        bx, by = target[b, 0], target[b, 1]
        cx, cy = target[c, 0], target[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        # Where a mesh folds, its turned-over triangles lie behind others: without them it still covers everything.
        if area < 1e-3:
            continue
        x0 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        x1 = min(width - 1, int(np.floor(max(ax, bx, cx) + 0.5)))
        y0 = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        y1 = min(height - 1, int(np.floor(max(ay, by, cy) + 0.5)))
        if x0 > x1 or y0 > y1:
            continue
        inverse = 1.0 / area
        # weights of b and c are linear in x and y; a little tolerance closes hairline cracks
        ux, uy = (cy - ay) * inverse, -(cx - ax) * inverse
        vx, vy = -(by - ay) * inverse, (bx - ax) * inverse
        eps = min(0.02 * (abs(ux) + abs(uy) + abs(vx) + abs(vy)), 0.1)
        sxb, syb = source[b, 0] - source[a, 0], source[b, 1] - source[a, 1]
        sxc, syc = source[c, 0] - source[a, 0], source[c, 1] - source[a, 1]
        kind = kinds[t]
        zb, zc = depth[b] - depth[a], depth[c] - depth[a]
        for y in range(y0, y1 + 1):
            u = ux * (x0 - ax) + uy * (y - ay)
            v = vx * (x0 - ax) + vy * (y - ay)
            for x in range(x0, x1 + 1):
                z = depth[a] + u * zb + v * zc
                if u >= -eps and v >= -eps and u + v <= 1.0 + eps and z >= nearest[y, x] - _BESIDE:
                    nearest[y, x] = z
                    flow[y, x, 0] = source[a, 0] + u * sxb + v * sxc
                    flow[y, x, 1] = source[a, 1] + u * syb + v * syc
                    region[y, x] = kind
                u += ux
                v += vx


@numba.njit(cache=True, fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def _shade_kernel(triangles, points, colors, color, depth):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = (
            points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        )  # fmt: skip
        x0 = max(0, int(np.ceil(min(ax, bx, cx))))
        x1 = min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0 = max(0, int(np.ceil(min(ay, by, cy))))
        y1 = min(height - 1, int(np.floor(max(ay, by, cy))))
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if x0 > x1 or y0 > y1 or abs(area) < 1e-9:
            continue
        # weights of b and c are linear in x and y
        ux, uy = (cy - ay) / area, -(cx - ax) / area
        vx, vy = -(by - ay) / area, (bx - ax) / area
        zb, zc = points[b, 2] - points[a, 2], points[c, 2] - points[a, 2]
        for y in range(y0, y1 + 1):
            u = ux * (x0 - ax) + uy * (y - ay) - ux
            v = vx * (x0 - ax) + vy * (y - ay) - vx
            for x in range(x0, x1 + 1):
                u += ux
                v += vx
                if u < -1e-5 or v < -1e-5 or u + v > 1.00001:
                    continue
                z = points[a, 2] + u * zb + v * zc
                if z <= depth[y, x]:
                    continue
                depth[y, x] = z
                w = 1.0 - u - v
                for k in range(3):
                    color[y, x, k] = w * colors[a, k] + u * colors[b, k] + v * colors[c, k]


@numba.njit(cache=True, fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def _coverage_kernel(points, area):  # type: ignore[no-untyped-def]
    """Signed-area accumulation: each edge adds the area to its right, a running sum along rows fills the inside."""
    height, width = area.shape[0], area.shape[1] - 2
    n = points.shape[0]
    for i in range(n):
        x0, y0 = points[i, 0], points[i, 1]
        x1, y1 = points[(i + 1) % n, 0], points[(i + 1) % n, 1]
        if y0 == y1:
            continue
        sign = 1.0
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
            sign = -1.0
        slope = (x1 - x0) / (y1 - y0)
        if y0 < 0.0:
            x0 -= y0 * slope
            y0 = 0.0
        for y in range(int(y0), min(height, int(np.ceil(y1)))):
            top, bottom = max(y0, float(y)), min(y1, float(y + 1))
            dy = bottom - top
            if dy <= 0.0:
                continue
            xa = min(max(x0 + (top - y0) * slope, 0.0), float(width))
            xb = min(max(x0 + (bottom - y0) * slope, 0.0), float(width))
            left, right = min(xa, xb), max(xa, xb)
            first, last = int(left), int(np.ceil(right))
            if last <= first + 1:
                inside = dy * (1.0 - ((left + right) / 2 - first))
                area[y, first] += sign * inside
                area[y, first + 1] += sign * (dy - inside)
            else:
                per = dy / (right - left)
                for x in range(first, last):
                    a, b = max(left, float(x)), min(right, float(x + 1))
                    crossing = (b - a) * per
                    # what has crossed so far is full here, what crosses within the pixel counts by its middle
                    part = crossing * (1.0 - ((a + b) / 2 - x))
                    area[y, x] += sign * part
                    area[y, x + 1] += sign * (crossing - part)


def rasterize_polygon(points: NDArray[np.floating], shape: tuple[int, int]) -> Float:
    """Exact share of each pixel that a polygon covers, float32 ``[h, w]``; no area, no coverage.

    Args:
        points: ``[N, 2]``, closed ring, pixel-index coordinates.
        shape: height and width.
    """
    area = np.zeros((shape[0], shape[1] + 2), np.float32)
    _coverage_kernel(np.asarray(points, np.float64)[:, :2] + 0.5, area)
    return np.asarray(np.clip(np.abs(np.cumsum(area, axis=1)), 0, 1)[:, : shape[1]], np.float32)


def wound_alike(triangles: NDArray[np.integer], points: Float) -> NDArray[np.int32]:
    """Triangles ``[T, 3]`` of points ``[V, 2]``, each turned so that :func:`rasterize_flow` draws it."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1] < 0
    return np.where(turned[:, None], triangles[:, [0, 2, 1]], triangles).astype(np.int32)


def depth_order(triangles: NDArray[np.int32], depth: Float) -> NDArray[np.int64]:
    """Numbers of triangles ``[T, 3]`` from the farthest to the nearest, by the depths ``[V]`` of their corners."""
    return np.argsort(depth[triangles].mean(1), kind="stable")


def rasterize_flow(
    triangles: NDArray[np.int32],
    kinds: NDArray[np.uint8],
    target: Float,
    source: Float,
    depth: Float,
    shape: tuple[int, int],
    origin: tuple[float, float] = (0.0, 0.0),
    fineness: int = 1,
    order: NDArray[np.int64] | None = None,
) -> tuple[Float, NDArray[np.uint8]]:
    """Backward flow of a mesh moved from ``source`` to ``target``, with a depth buffer.

    Args:
        triangles: int32 ``[T, 3]``, wound clockwise on the screen; others are not drawn.
        kinds: uint8 ``[T]``, written to the region map.
        target, source: float32 ``[V, 2]`` pixels.
        depth: float32 ``[V]`` of the target, larger is nearer.
        shape: height and width of the maps, in samples.
        origin: the pixel that the maps' first pixel stands for.
        fineness: samples per pixel and axis.
        order: from :func:`depth_order`, if it is known already.

    Returns:
        Source coordinates of each sample, float32 ``[h, w, 2]``, and the region map uint8 ``[h, w]``. Samples that
        no triangle covers keep their own coordinates and region 0.
    """
    height, width = shape
    at = (target + np.float32(0.5) - np.array(origin, np.float32)) * np.float32(fineness) - np.float32(0.5)
    flow = np.empty((height, width, 2), np.float32)
    for axis, (length, start) in enumerate(zip((width, height), origin, strict=True)):
        own = (np.arange(length, dtype=np.float32) + np.float32(0.5)) / fineness - np.float32(0.5) + np.float32(start)
        flow[..., axis] = own if axis == 0 else own[:, None]
    region = np.zeros((height, width), np.uint8)
    if order is None:
        order = depth_order(triangles, depth)
    nearest = np.full(shape, -1e30, np.float32)
    _flow_kernel(order, triangles, kinds, at, source, depth, flow, region, nearest)
    return flow, region


def rasterize_shaded(
    triangles: NDArray[np.int32], points: Float, colors: Float, shape: tuple[int, int], background: Float
) -> tuple[Float, Float]:
    """Draw a mesh with vertex colours and a depth buffer.

    Args:
        triangles: int32 ``[T, 3]``.
        points: float32 ``[V, 3]``: x, y in pixels and z, larger is nearer.
        colors: float32 ``[V, 3]``.
        shape: height and width.
        background: float32 ``[3]``.

    Returns:
        Colours float32 ``[h, w, 3]`` and depth float32 ``[h, w]`` (-1e30 where nothing was drawn).
    """
    color = np.empty((*shape, 3), np.float32)
    color[:] = background
    depth = np.full(shape, -1e30, np.float32)
    _shade_kernel(triangles, points, colors, color, depth)
    return color, depth
