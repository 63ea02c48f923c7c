"""The demo as a process of its own, as `mooe demo` starts it, for the tests of the demo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class DemoServer:
    """A running demo: its address, the folder for its temporary files, its process."""

    url: str
    folder: Path
    process: subprocess.Popen[str]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        """End it as `kill` does and give what it printed."""
        self.process.send_signal(number)
        printed, _ = self.process.communicate(timeout=60)
        return printed


@contextmanager
def demo_server(folder: Path, model: str | None = "debug") -> Iterator[DemoServer]:
    """Start the demo with its temporary files in `folder`, and end it after the `with` block.

    `model` is as for the command; None takes the weights inside the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from mooe.cli import main; main()", "demo", "--port", str(port)]
    command += [] if model is None else ["--model", model]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"TMPDIR": str(folder)}
    )
    server = DemoServer(f"http://127.0.0.1:{port}", folder, process)
    try:
        _wait_for(server)
        yield server
    finally:
        if process.poll() is None:
            server.stop()


def _wait_for(server: DemoServer) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(server.process.communicate()[0])
        try:
            urllib.request.urlopen(server.url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError("the demo did not start")
