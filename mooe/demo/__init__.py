"""The page in the browser (`mooe demo`; needs the extra `demo`)."""

from mooe.demo.server import serve

__all__ = ["serve"]
