"""Sizes of networks by the shapes of their tensors, and what is missing or does not fit."""

import re

import torch

from ..model.network import Config, ControlNet, UNet
from ..model.patch_codec import empty_codec, is_patch_codec
from ..model.vae import GROUPS, Vae, side, vae_sizes
from .parts import Tensors, Weights

REPLACE = "download or make it again"
HEAD_WIDTH = 64  # of Stable Diffusion 2.1, for files that do not say it


def find_unet_config(unet: Tensors, heads: tuple[int, ...] | None = None) -> Config:
    """Sizes of the U-Net as the shapes tell; heads are 64 wide unless given, since shapes can't tell that.

    Raises KeyError with the name of a tensor that is missing for it, ValueError if heads don't divide the levels' channels.
    """
    levels = 1 + _last(unet, r"down_blocks\.(\d+)\.")
    channels = tuple(side(unet, f"down_blocks.{i}.resnets.0.conv1.weight", 0) for i in range(max(levels, 1)))
    attended = [f"down_blocks.{i}.attentions.0.norm.weight" in unet for i in range(levels)]
    if heads is None:
        heads = tuple(max(1, width // HEAD_WIDTH) for width in channels)
    if len(heads) != levels or any(n and width % n for n, width in zip(heads, channels)):
        raise ValueError(f"{heads} heads do not divide {channels} channels")
    return Config(
        in_channels=side(unet, "conv_in.weight", 1),
        out_channels=side(unet, "conv_out.weight", 0),
        channels=channels,
        heads=tuple(n if there else 0 for n, there in zip(heads, attended)),
        layers=1 + _last(unet, r"down_blocks\.0\.resnets\.(\d+)\."),
    )


def _last(tensors: Tensors, pattern: str) -> int:
    return max((int(found[1]) for key in tensors if (found := re.match(pattern, key))), default=-1)


def find_hint_channels(controlnet: Tensors) -> tuple[int, ...]:
    """Channels of the hint's embedding, as the shapes tell. Raises KeyError as `find_unet_config`."""
    hint = "controlnet_cond_embedding."
    blocks = len([key for key in controlnet if re.fullmatch(rf"{hint}blocks\.\d+\.weight", key)])
    names = ["conv_in", *(f"blocks.{i}" for i in range(1, blocks, 2))]
    return tuple(side(controlnet, f"{hint}{name}.weight", 0) for name in names)


def check(weights: Weights, name: str) -> None:
    """Raise ValueError naming the first tensors that are missing, left over or of the wrong shape. name: of the file."""
    with torch.device("meta"):
        unet, controlnet = UNet(weights.config), ControlNet(weights.config)
    check_part(weights.unet, unet.state_dict(), f"{name}: the U-Net")
    check_part(weights.controlnet, controlnet.state_dict(), f"{name}: the ControlNet")
    check_vae(weights.vae, name)


def check_part(found: Tensors, needed: Tensors, what: str) -> None:
    """Raise ValueError naming the first tensors that one network misses or has too many, or whose shape is wrong."""
    for problem, keys in (("misses", needed.keys() - found.keys()), ("has unknown", found.keys() - needed.keys())):
        if keys:
            raise ValueError(f"{what} {problem} {_some(keys)}; {REPLACE}.")
    for key, value in needed.items():
        if value.shape != found[key].shape:
            raise ValueError(f"{what} has {key} of {tuple(found[key].shape)}, expected {tuple(value.shape)}; {REPLACE}.")


def check_vae(vae: Tensors, name: str) -> None:
    """Raise ValueError naming the first tensors that a VAE misses, or whose shape is wrong. name: of the file."""
    if is_patch_codec(vae):
        check_part(vae, empty_codec(vae).state_dict(), f"{name}: the codec")
        return
    try:
        channels, layers, latent_channels = vae_sizes(vae)
    except KeyError as missing:
        raise ValueError(f"{name}: the VAE misses {missing.args[0]}; {REPLACE}.") from None
    if any(width < 1 or width % GROUPS for width in channels):
        raise ValueError(f"{name}: the VAE has levels of {channels} channels, no multiples of {GROUPS}; {REPLACE}.")
    with torch.device("meta"):
        needed = Vae(channels, layers, latent_channels).state_dict()
    # Files hold more: the attention's parts that only other versions use, and what training left.
    check_part({key: value for key, value in vae.items() if key in needed}, needed, f"{name}: the VAE")


def _some(keys: set[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")
