"""What workers of the tests do; apart, as each worker imports its task's module and this one is quickly there."""

from __future__ import annotations

import os
import signal


def work(item: str) -> str:
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "raise":
        raise OSError(28, "No space left on device")
    return item.upper()
