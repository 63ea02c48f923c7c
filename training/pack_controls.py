"""Put the heads of ``train_controls.py`` into the package, in half precision.

python training/pack_controls.py --runs runs/controls --out mooe/assets/controls
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from mooe.emotion.text import TextEmotionHead
from mooe.emotion.voice import VoiceEmotionHead

HEADS = {"text": TextEmotionHead, "voice": VoiceEmotionHead}


def main() -> None:
    """Read each head's weights and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder with text and voice")
    parser.add_argument("--out", type=Path, required=True, help="folder of the heads; replaced")
    options = parser.parse_args()
    temporary = options.out.with_name("controls.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for name, kind in HEADS.items():
        kind.from_pretrained(options.runs / name / "weights").half().save_pretrained(temporary / name)
    shutil.rmtree(options.out, ignore_errors=True)
    temporary.rename(options.out)


if __name__ == "__main__":
    main()
