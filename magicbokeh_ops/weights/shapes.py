"""Sizes of networks by the shapes of their tensors, and what is missing or does not fit."""

import re

import torch

from ..network import Config, ControlNet, UNet
from ..patch_codec import PatchCodec
from .parts import Tensors, Weights

HEAD_WIDTH = 64  # of Stable Diffusion 2.1, for files that do not say it


def find_unet_config(unet: Tensors, heads: tuple[int, ...] | None = None) -> Config:
    """Sizes of the U-Net as the shapes tell; heads are 64 wide unless given, since shapes can't tell that.

    Raises KeyError with the name of a tensor that is missing for it.
    """
    levels = 1 + _last(unet, r"down_blocks\.(\d+)\.")
    channels = tuple(_side(unet, f"down_blocks.{i}.resnets.0.conv1.weight", 0) for i in range(max(levels, 1)))
    attended = [f"down_blocks.{i}.attentions.0.norm.weight" in unet for i in range(levels)]
    if heads is None:
        heads = tuple(max(1, width // HEAD_WIDTH) for width in channels)
    return Config(
        in_channels=_side(unet, "conv_in.weight", 1),
        out_channels=_side(unet, "conv_out.weight", 0),
        channels=channels,
        heads=tuple(n if there else 0 for n, there in zip(heads, attended)),
        layers=1 + _last(unet, r"down_blocks\.0\.resnets\.(\d+)\."),
    )


def _last(tensors: Tensors, pattern: str) -> int:
    return max((int(found[1]) for key in tensors if (found := re.match(pattern, key))), default=-1)


def _side(tensors: Tensors, key: str, axis: int) -> int:
    shape = tensors[key].shape
    if len(shape) <= axis:
        raise KeyError(key)
    return shape[axis]


def find_hint_channels(controlnet: Tensors) -> tuple[int, ...]:
    """Channels of the hint's embedding, as the shapes tell. Raises KeyError as `find_unet_config`."""
    hint = "controlnet_cond_embedding."
    blocks = len([key for key in controlnet if re.fullmatch(rf"{hint}blocks\.\d+\.weight", key)])
    names = ["conv_in", *(f"blocks.{i}" for i in range(1, blocks, 2))]
    return tuple(_side(controlnet, f"{hint}{name}.weight", 0) for name in names)


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
            raise ValueError(f"{what} {problem} {_some(keys)}.")
    for key, value in needed.items():
        if value.shape != found[key].shape:
            raise ValueError(f"{what} has {key} of {tuple(found[key].shape)}, expected {tuple(value.shape)}.")


def is_patch_codec(vae: Tensors) -> bool:
    """Whether these are a `PatchCodec`'s tensors and no VAE's."""
    return any(key.startswith("smooth.") for key in vae)


def check_vae(vae: Tensors, name: str) -> None:
    """Raise ValueError naming the first tensors that a VAE misses. name: of the file."""
    if is_patch_codec(vae):
        with torch.device("meta"):
            codec = PatchCodec()
        check_part(vae, codec.state_dict(), f"{name}: the codec")
        return
    missing = vae_names(vae) - vae.keys()
    if missing:
        raise ValueError(f"{name}: the VAE misses {_some(missing)}.")


def _some(keys: set[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")


def _vae_depth(vae: Tensors) -> tuple[int, int]:
    """Levels, and layers per level of the encoder."""
    numbers = [re.match(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", key) for key in vae]
    levels, layers = (1 + max((int(found[i]) for found in numbers if found), default=0) for i in (1, 2))
    return levels, layers


def vae_sizes(vae: Tensors) -> tuple[tuple[int, ...], int, int]:
    """Channels per level, layers per level of the encoder, and channels of the latent, as the shapes tell."""
    levels, layers = _vae_depth(vae)
    channels = tuple(vae[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(levels))
    return channels, layers, vae["decoder.conv_in.weight"].shape[1]


def vae_names(vae: Tensors) -> set[str]:
    """What a VAE must hold, going by the levels and layers that are there."""
    levels, layers = _vae_depth(vae)
    names = {"quant_conv", "post_quant_conv"}
    for side, way, depth in (("encoder", "down", layers), ("decoder", "up", layers + 1)):
        names |= {f"{side}.{part}" for part in ("conv_in", "conv_norm_out", "conv_out")}
        names |= {f"{side}.mid_block.attentions.0.{part}" for part in ("group_norm", "to_q", "to_k", "to_v", "to_out.0")}
        names |= {f"{side}.{way}_blocks.{i}.{way}samplers.0.conv" for i in range(levels - 1)}
        blocks = [f"{side}.{way}_blocks.{i}.resnets.{j}" for i in range(levels) for j in range(depth)]
        for block in (*blocks, f"{side}.mid_block.resnets.0", f"{side}.mid_block.resnets.1"):
            names |= {f"{block}.{part}" for part in ("norm1", "conv1", "norm2", "conv2")}
            first = vae.get(f"{block}.conv1.weight")
            if first is not None and first.shape[0] != first.shape[1]:
                names.add(f"{block}.conv_shortcut")
    return {f"{name}.{parameter}" for name in names for parameter in ("weight", "bias")}
