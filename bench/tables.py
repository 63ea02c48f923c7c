"""Tables on the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; numbers get three digits."""
    table = Table(title=title, title_justify="left", min_width=60)
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    Console(width=160).print(table)


def storable(content: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON does not know."""
    if isinstance(content, dict):
        return {name: storable(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [storable(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
