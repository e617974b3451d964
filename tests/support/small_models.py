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


def esrgan(features: int = 8, growth: int = 32) -> dict[str, torch.Tensor]:
    """State of an ESRGAN of one block for four times the size, at random, under the names of its public files."""
    generator = torch.Generator().manual_seed(1)
    state = {}

    def convolution(name: str, inputs: int, outputs: int) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) / (9 * inputs) ** 0.5
        state[f"{name}.bias"] = torch.zeros(outputs)

    convolution("conv_first", 3, features)
    for block in (1, 2, 3):
        for i in range(5):
            convolution(f"body.0.rdb{block}.conv{i + 1}", features + i * growth, growth if i < 4 else features)
    convolution("conv_body", features, features)
    for name in ("conv_up1", "conv_up2", "conv_hr"):
        convolution(name, features, features)
    convolution("conv_last", features, 3)
    return state
