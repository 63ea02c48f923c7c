"""Pack Kokoro's voices into ``mooe/assets/voices.safetensors``:

    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz
    python -m training.assets.make_voices package/voices

Takes those of the languages whose phonemes espeak-ng gives Kokoro; see :mod:`mooe.audio.voices` for the layout.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mooe.audio.voices import FILE, LANGUAGES, VoiceTables

RANK = 8
LARGEST_ERROR = 0.002  # of entries whose standard deviation is about .19


def pack(table: np.ndarray) -> dict[str, np.ndarray]:
    """A style table [510, 256] as mean, rows and directions in float16 (truncated singular values)."""
    mean = table.mean(axis=0)
    left, singular, right = np.linalg.svd(table - mean, full_matrices=False)
    parts = {"mean": mean, "rows": left[:, :RANK] * singular[:RANK], "directions": right[:RANK]}
    return {name: np.ascontiguousarray(part, np.float16) for name, part in parts.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pack Kokoro's voices.")
    parser.add_argument("voices", type=Path, help="folder of *.bin")
    parser.add_argument("--out", type=Path, default=Path("mooe/assets") / FILE)
    arguments = parser.parse_args()
    packed: dict[str, np.ndarray] = {}
    for path in sorted(arguments.voices.glob("*.bin")):
        if path.stem[0] not in LANGUAGES:
            continue
        table = np.fromfile(path, np.float32).reshape(-1, 256)
        parts = {f"{path.stem}.{name}": part for name, part in pack(table).items()}
        error = float(np.abs(VoiceTables(parts)[path.stem] - table).max())
        if error > LARGEST_ERROR:
            raise SystemExit(f"{path} cannot be packed: an entry is off by {error:.4f}.")
        packed |= parts
    save_file(packed, arguments.out)
    print(f"{arguments.out}: {len(packed) // 3} voices")


if __name__ == "__main__":
    main()
