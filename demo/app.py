"""The demo as a Space: `python demo/app.py`; the page itself is mooe/demo."""

import os

from mooe.demo import serve

if __name__ == "__main__":
    # A Space is behind a proxy of its own, which must reach the page.
    serve(host="0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1", port=int(os.environ.get("PORT", "7860")))
