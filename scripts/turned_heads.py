"""Turning a head in a photograph, for `degraded.py`: its mesh turned about a vertical axis and drawn again.

Knows pixels and the mesh's network; knows no files. What is synthetic about it: see there.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import DetectedFace
from countenance.recognition.attributes import crops
from countenance.recognition.attributes.estimators import Network

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

# fmt: off
OUTLINE: Final = [
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
]
# fmt: on
"""The face's oval in MediaPipe's mesh (face_mesh_connections.py, FACEMESH_FACE_OVAL), in order around it."""
RINGS: Final = ((1.25, 0.30), (1.6, 0.75))
"""Around the oval: how far out, in its own size, and how far back, in its width."""
AXIS: Final = 0.25
"""How far behind the oval the head turns, in its width."""
POINTS: Final = 468
"""Of the mesh; the ten more that the network gives are the irises."""


def mesh_of(network: Network, pixels: Pixels, face: DetectedFace) -> Floats:
    """468 x 3, in pixels of the picture; away from the camera is positive."""
    square = crops.upright(pixels, face, network.side, scale=crops.MESH_SCALE)
    points = network.run(square.pixels)[0].reshape(-1, 3)[:POINTS].astype(np.float64)
    linear, offset = square.inverse[:, :2], square.inverse[:, 2]
    scale = math.hypot(linear[0, 0], linear[1, 0])
    return np.column_stack([points[:, :2] @ linear.T + offset, points[:, 2] * scale])


def turned(pixels: Pixels, mesh: Floats, yaw: float) -> Pixels:
    """The picture with the head turned.

    Args:
        pixels: H x W x 3.
        mesh: 468 x 3, in pixels of the picture.
        yaw: degrees, positive as `Pose.yaw`.
    """
    height, width = pixels.shape[:2]
    oval = mesh[OUTLINE]
    middle, across = oval.mean(axis=0), float(np.ptp(oval[:, 0]))
    rings = []
    for out, back in RINGS:
        ring = oval.copy()
        ring[:, :2] = middle[:2] + (ring[:, :2] - middle[:2]) * out
        ring[:, 2] += back * across
        rings.append(ring)
    head = np.vstack([mesh, *rings])
    angle, off = math.radians(yaw), head - middle - np.array([0, 0, AXIS * across])
    x = off[:, 0] * math.cos(angle) - off[:, 2] * math.sin(angle) + middle[0]
    z = off[:, 0] * math.sin(angle) + off[:, 2] * math.cos(angle)
    edge = [(a, b) for a in np.linspace(-1, width, 9) for b in (-1, height)]
    edge += [(a, b) for b in np.linspace(-1, height, 9)[1:-1] for a in (-1, width)]
    fixed = np.array(edge, np.float64)
    source = np.vstack([head[:, :2], fixed])
    target = np.vstack([np.column_stack([x, head[:, 1]]), fixed])
    depth = np.concatenate([z, np.full(len(fixed), z.max() + across)])
    triangles = _triangles(source, width, height)
    # Back to front, so that what is nearer covers what is farther; triangles that now show their back are not drawn.
    shown = np.full((height, width), -1, np.int32)
    facing = _areas(target[triangles]) * _areas(source[triangles]) > 0
    for at in np.argsort(-depth[triangles].mean(axis=1), kind="stable"):
        if facing[at]:
            corners = np.round(target[triangles[at]] * 16).astype(np.int32)
            cv2.fillConvexPoly(shown, corners, int(at), shift=4)
    rows, columns = np.nonzero(shown >= 0)
    which = triangles[shown[rows, columns]]
    new, old = target[which], source[which]
    one, two = new[:, 1] - new[:, 0], new[:, 2] - new[:, 0]
    here = np.column_stack([columns, rows]) - new[:, 0]
    whole = _cross(one, two)
    whole = np.where(np.abs(whole) < 1e-9, 1e-9, whole)
    u, v = _cross(here, two) / whole, _cross(one, here) / whole
    from_where = old[:, 0] + u[:, None] * (old[:, 1] - old[:, 0]) + v[:, None] * (old[:, 2] - old[:, 0])
    maps = np.full((2, height, width), -1, np.float32)
    maps[:, rows, columns] = from_where.T
    drawn = cv2.remap(pixels, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.uint8)


def _triangles(points: Floats, width: int, height: int) -> NDArray[np.intp]:
    """Delaunay's triangles, n x 3 of the points' places."""
    plane = cv2.Subdiv2D((-width, -height, 3 * width, 3 * height))
    places: dict[tuple[float, float], int] = {}
    for at, point in enumerate(points.astype(np.float32)):
        x, y = float(point[0]), float(point[1])
        places[x, y] = at
        plane.insert((x, y))
    found = [[places.get((float(t[i]), float(t[i + 1]))) for i in (0, 2, 4)] for t in plane.getTriangleList()]
    # The others hang on corners of the plane that OpenCV adds.
    return np.array([each for each in found if None not in each], np.intp)


def _cross(one: Floats, other: Floats) -> Floats:
    return np.asarray(one[:, 0] * other[:, 1] - other[:, 0] * one[:, 1])


def _areas(corners: Floats) -> Floats:
    return _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
