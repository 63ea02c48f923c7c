"""mooe: talking-portrait video with a mixture of emotion experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["MoEEPipeline", "MoEEPipelineOutput", "MooeError", "__version__"]

if TYPE_CHECKING:
    from mooe.errors import MooeError
    from mooe.pipeline import MoEEPipeline, MoEEPipelineOutput

_HOMES = {"MoEEPipeline": "mooe.pipeline", "MoEEPipelineOutput": "mooe.pipeline", "MooeError": "mooe.errors"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import mooe` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mooe' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
