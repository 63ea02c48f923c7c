"""Starting the page: its folder, its server, its end."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from mooe.errors import ConfigError, DependencyError

if TYPE_CHECKING:
    from mooe.demo.studio import Studio

_PREFIX = "mooe-demo-"


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    open_browser: bool = False,
    model: str | None = None,
    speakers: Path | None = None,
) -> None:
    """Serve the page until the process is stopped.

    Args:
        host: address to listen on; other machines see the page only if it is not the default.
        port: port to listen on.
        open_browser: open the page in the browser.
        model: as for ``MoEEPipeline.from_pretrained``.
        speakers: folder of speakers' LoRA weights.

    Raises:
        DependencyError: the extra `demo` is not installed.
        ConfigError: the address is in use or not this machine's, or the folder is none.
    """
    if importlib.util.find_spec("gradio") is None:
        raise DependencyError("The demo needs its extra: pip install 'mooe[demo]'.")
    folder = working_folder()
    # Read by Gradio when it is imported: uploads and results stay in a folder that goes with the process. Films are
    # made outside of it, as Gradio copies only files from elsewhere into its care.
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "cache")
    films = folder / "films"
    films.mkdir()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    warnings.filterwarnings("ignore")
    from mooe.demo.page import build, launch_settings

    with closing(_studio(model, speakers)) as studio:
        _warm_up(studio)
        page = build(studio, films)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                prevent_thread_lock=True,
                **launch_settings(),
            )
        except OSError as error:
            reason = error.strerror or "in use"
            raise ConfigError(
                f"The page cannot be served at {host}:{port} ({reason}): choose another --port or --host."
            ) from error
        print(f"mooe demo: http://{host}:{port} (Ctrl-C ends it)", flush=True)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)


def working_folder() -> Path:
    """A new folder for uploads and films that goes when the process ends, however it ends.

    What a killed process left behind goes when the next one starts.
    """
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        process = old.name.removeprefix(_PREFIX).partition("-")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _studio(model: str | None, speakers: Path | None) -> Studio:
    import diffusers
    import transformers

    from mooe.demo.studio import Studio
    from mooe.pipeline import MoEEPipeline
    from mooe.weights import books_keep_pace

    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    found: dict[str, Path] = {}
    if speakers is not None:
        if not speakers.is_dir():
            raise ConfigError(f"{speakers} is not a folder: give the folder that holds the speakers' weights.")
        found = {path.stem: path for path in sorted(speakers.iterdir()) if _is_lora(path)}
    pipeline = MoEEPipeline.from_pretrained(model)
    if not books_keep_pace():
        pipeline.register_modules(compensator=None)
    return Studio(pipeline, found)


def _warm_up(studio: Studio) -> None:
    """Compile what is compiled at its first use, so that the first visitor need not wait for it."""
    from mooe.demo import samples
    from mooe.emotion import EmotionMix

    for portrait in samples.portraits().values():
        studio.still(portrait, 0, EmotionMix.from_mapping({"happy": 0.5}))


def _is_lora(path: Path) -> bool:
    return path.suffix == ".safetensors" or (path / "pytorch_lora_weights.safetensors").is_file()
