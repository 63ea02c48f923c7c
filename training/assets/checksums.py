"""Write mooe/assets/checksums.json, which `mooe doctor` compares the embedded weights with.

Run it last, after the assets were made: python -m training.assets.checksums
"""

from __future__ import annotations

import sys
from pathlib import Path

from mooe.doctor import CHECKSUMS, asset_checksums
from mooe.media import write_json

ASSETS = Path(__file__).resolve().parents[2] / "mooe" / "assets"


def main() -> None:
    """Write the file and say how many weights it lists."""
    checksums = asset_checksums(ASSETS)
    write_json(ASSETS / CHECKSUMS, checksums)
    sys.stdout.write(f"{len(checksums)} files listed in {ASSETS / CHECKSUMS}\n")


if __name__ == "__main__":
    main()
