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
    """Raise ValueError naming the first tensors that a VAE misses, or whose shape is wrong. name: of the file."""
    if is_patch_codec(vae):
        with torch.device("meta"):
            codec = PatchCodec()
        check_part(vae, codec.state_dict(), f"{name}: the codec")
        return
    try:
        shapes = vae_shapes(vae)
    except KeyError as missing:
        raise ValueError(f"{name}: the VAE misses {missing.args[0]}.") from None
    if shapes.keys() - vae.keys():
        raise ValueError(f"{name}: the VAE misses {_some(shapes.keys() - vae.keys())}.")
    for key, shape in shapes.items():
        if vae[key].shape != shape:
            raise ValueError(f"{name}: the VAE has {key} of {tuple(vae[key].shape)}, expected {shape}.")


def _some(keys: set[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")


def _vae_depth(vae: Tensors) -> tuple[int, int]:
    """Levels, and layers per level of the encoder."""
    numbers = [re.match(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", key) for key in vae]
    levels, layers = (1 + max((int(found[i]) for found in numbers if found), default=0) for i in (1, 2))
    return levels, layers


def vae_sizes(vae: Tensors) -> tuple[tuple[int, ...], int, int]:
    """Channels per level, layers per level of the encoder, and channels of the latent, as the shapes tell.

    Raises KeyError as `find_unet_config`.
    """
    levels, layers = _vae_depth(vae)
    channels = tuple(_side(vae, f"encoder.down_blocks.{i}.resnets.0.conv1.weight", 0) for i in range(max(levels, 1)))
    return channels, layers, _side(vae, "decoder.conv_in.weight", 1)


def vae_shapes(vae: Tensors) -> dict[str, tuple[int, ...]]:
    """What a VAE must hold, and of which shape, going by its sizes. Raises KeyError as `find_unet_config`."""
    channels, layers, latent = vae_sizes(vae)
    shapes: dict[str, tuple[int, ...]] = {}

    def add(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    def add_resnet(name: str, before: int, after: int) -> None:
        add(f"{name}.norm1", before)
        add(f"{name}.conv1", after, before, 3, 3)
        add(f"{name}.norm2", after)
        add(f"{name}.conv2", after, after, 3, 3)
        if before != after:
            add(f"{name}.conv_shortcut", after, before, 1, 1)

    add("quant_conv", 2 * latent, 2 * latent, 1, 1)
    add("post_quant_conv", latent, latent, 1, 1)
    widest = channels[-1]
    for side, way, widths, depth, ends in (
        ("encoder", "down", channels, layers, (3, 2 * latent)),
        ("decoder", "up", channels[::-1], layers + 1, (latent, 3)),
    ):
        add(f"{side}.conv_in", widths[0], ends[0], 3, 3)
        before = widths[0]
        for i, width in enumerate(widths):
            for j in range(depth):
                add_resnet(f"{side}.{way}_blocks.{i}.resnets.{j}", before, width)
                before = width
            if i < len(widths) - 1:
                add(f"{side}.{way}_blocks.{i}.{way}samplers.0.conv", width, width, 3, 3)
        for i in (0, 1):
            add_resnet(f"{side}.mid_block.resnets.{i}", widest, widest)
        attention = f"{side}.mid_block.attentions.0"
        add(f"{attention}.group_norm", widest)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            add(f"{attention}.{part}", widest, widest)
        add(f"{side}.conv_norm_out", widths[-1])
        add(f"{side}.conv_out", ends[1], widths[-1], 3, 3)
    return shapes
