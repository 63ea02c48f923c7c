"""`mooe inspect`: read the marks in a video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def inspect(
    file: Annotated[Path, typer.Argument(help="The video.")],
    as_json: Annotated[bool, typer.Option("--json", help="Give JSON.")] = False,
) -> None:
    """Tell whether a video carries marks that say it was made by a machine."""
    from mooe.media.inspection import inspect_video

    found = inspect_video(file)
    print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False) if as_json else found.text())
