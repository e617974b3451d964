"""Networks that take no time."""

import torch

from magicbokeh_ops import checkpoint
from magicbokeh_ops.training.settings import Settings
from magicbokeh_ops.training.trainee import build_nano


def nano_like() -> checkpoint.Weights:
    """Random weights of the kind that training from nothing makes."""
    network = {"channels": [32, 32, 32], "heads": [1, 1, 0], "layers": 1, "groups": 8, "hint_channels": [4, 4, 4]}
    model = build_nano(Settings(stages=(), network=network, bokeh_rank=2))
    for parameter in (model.unet.conv_out.weight, *(layer.weight for layer in model.controlnet.controlnet_down_blocks)):
        torch.nn.init.normal_(parameter, std=0.05)
    return model.weights({"trained": "not at all"})
