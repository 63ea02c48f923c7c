"""Photograph -> face: tracking, crop and paste-back, mesh topology, regions and ARKit shapes."""

from mooe.face.tracker import Face, FaceTracker

__all__ = ["Face", "FaceTracker"]
