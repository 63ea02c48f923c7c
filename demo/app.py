"""The demo as a program of its own: `python demo/app.py`; the page itself is mooe/demo.

A container, such as a Space, sets MOOE_HOST=0.0.0.0, because visitors come from outside of it; PORT is the port.
"""

import os

from mooe.demo import serve

if __name__ == "__main__":
    serve(host=os.environ.get("MOOE_HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "7860")))
