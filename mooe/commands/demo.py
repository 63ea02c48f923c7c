"""`mooe demo`: the page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is seen by this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on, 1 to 65535.", min=1, max=65535)] = 7860,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    model: Annotated[
        str | None, typer.Option(help="A folder or hub name of other weights, or 'debug' [default: built in].")
    ] = None,
    speakers: Annotated[Path | None, typer.Option(help="A folder of speakers' LoRA weights to choose from.")] = None,
) -> None:
    """Open the demo: a page in the browser."""
    from mooe.demo import serve

    serve(host=host, port=port, open_browser=open_browser, model=model, speakers=speakers)
