"""Facebook's pytorch_GAN_zoo (`torch.hub`): its ProGAN, in terms of ours.

There a layer's bias is scaled like its weight, by sqrt(2 / fan in) everywhere; the first layer has one for each
pixel.
"""

import math
import re
from collections.abc import Mapping

from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.generators.checkpoints.converted import Converted

LAYER = re.compile(
    r"(formatLayer|groupScale0\.0|scaleLayers\.(\d{1,2})\.([01])|toRGBLayers\.(\d{1,2}))\.module\.(\w+)"
)
DENSE_GAIN = 4.0  # by which the first layer's gain is smaller here
RGB_GAIN = math.sqrt(1 / 2)


def from_progan(state: Mapping[str, Tensor]) -> Converted:
    """Convert a ProGAN whose layers begin as `formatLayer`, `groupScale0`, `scaleLayers` and `toRGBLayers`."""
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        match = LAYER.fullmatch(key)
        if match is None or match[5] not in ("weight", "bias"):
            raise CheckpointError(f"its key '{key[:80]}' is in no ProGAN of pytorch_GAN_zoo's")
        name, scale, conv, output, leaf = match.groups()
        place, gain = f"b{8 << int(scale or 0)}.conv{conv}", 1.0
        if name == "formatLayer":
            place, gain = "b4.dense", DENSE_GAIN
        elif name == "groupScale0.0":
            place = "b4.conv1"
        elif output is not None:
            place, gain = f"b{4 << int(output)}.torgb", 1 / RGB_GAIN
        if leaf == "weight":
            result[f"{place}.weight"] = tensor * gain
            continue
        weight = state[f"{name}.module.weight"]
        bias = tensor * math.sqrt(2 / weight[0].numel())
        result[f"{place}.bias"] = bias.reshape(-1, 4, 4) if name == "formatLayer" else bias
    return Converted(result)
