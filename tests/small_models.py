"""Networks that take no time."""

import torch
from torch import nn

from magicbokeh_ops import checkpoint
from magicbokeh_ops.network import Config, ControlNet, UNet
from magicbokeh_ops.patch_codec import PATCH, PatchCodec, kaiming_start


def nano_like() -> checkpoint.Weights:
    """Random weights of the kind that training from nothing makes."""
    channels = 3 * PATCH**2
    sizes = {"channels": (32, 32, 32), "heads": (1, 1, 0), "layers": 1, "groups": 8, "rank": 2, "hint_channels": (4, 4, 4)}
    config = Config(channels, channels + 1, prediction="residual", latent_scale=1.0, **sizes)
    torch.manual_seed(0)
    unet, controlnet = UNet(config), ControlNet(config)
    nn.init.zeros_(unet.conv_out.bias)
    kaiming_start(controlnet.controlnet_cond_embedding, 0.2)
    for parameter in (unet.conv_out.weight, *(layer.weight for layer in controlnet.controlnet_down_blocks)):
        nn.init.normal_(parameter, std=0.05)
    parts = (network.requires_grad_(False).state_dict() for network in (unet, controlnet, PatchCodec()))
    return checkpoint.Weights(*parts, config, {"trained": "not at all"})
