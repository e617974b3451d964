"""Networks that take no time."""

import torch
from torch import nn

from magicbokeh_ops.model.nano import fresh_networks
from magicbokeh_ops.model.patch_codec import PatchCodec
from magicbokeh_ops.weights import checkpoint


def nano_like() -> checkpoint.Weights:
    """Random weights of the kind that training from nothing makes."""
    sizes = {"channels": (32, 32, 32), "heads": (1, 1, 0), "layers": 1, "groups": 8, "rank": 2, "hint_channels": (4, 4, 4)}
    torch.manual_seed(0)
    unet, controlnet = fresh_networks(**sizes)
    for parameter in (unet.conv_out.weight, *(layer.weight for layer in controlnet.controlnet_down_blocks)):
        nn.init.normal_(parameter, std=0.05)
    parts = (network.requires_grad_(False).state_dict() for network in (unet, controlnet, PatchCodec()))
    return checkpoint.Weights(*parts, unet.config, {"trained": "not at all"})
