"""The MagicBokeh networks and their VAE in ComfyUI's hands."""

import logging
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor, nn

from ..magicbokeh_ops.model.network import Config, ControlNet, UNet
from ..magicbokeh_ops.model.patch_codec import PATCH, PatchCodec, codec_of, is_patch_codec
from ..magicbokeh_ops.model.vae import vae_sizes
from ..magicbokeh_ops.weights import checkpoint
from ..magicbokeh_ops.weights.checkpoint import Tensors, Weights, check_vae, fold_time, vae_from_ldm
from . import folders
from .devices import patcher

PARAMETERS = 971_000_000  # of U-Net and ControlNet at full size, for the host's choice of dtype


class MagicBokeh(nn.Module):
    """U-Net and ControlNet, so that one patcher holds both."""

    def __init__(self, config: Config, operations):
        super().__init__()
        # In fp32 as ComfyUI does it for Stable Diffusion 2; and the one step multiplies errors by 15, too much for
        # quantised attention, which newer versions let one decline.
        attention = partial(optimized_attention, attn_precision=torch.float32, low_precision_attention=False)
        self.unet = UNet(config, operations, attention)
        self.controlnet = ControlNet(config, operations, attention)


@dataclass(frozen=True)
class BokehModel:
    """What a MAGICBOKEH_MODEL socket carries. ComfyUI looks for `patcher` and `get_models`.

    config: of the file. dtype: of the computation. folded: tensors of each network that `fold_time` has left out or changed, as they
    were. focus_mask: (B, 1, H, W) of Masked Attention, or None.
    """

    patcher: comfy.model_patcher.ModelPatcher
    config: Config
    dtype: torch.dtype
    sources: dict[str, str]
    folded: dict[str, dict[str, Tensor]]
    focus_mask: Tensor | None = None

    def get_models(self) -> list[comfy.model_patcher.ModelPatcher]:
        return [self.patcher]


@cache  # of ComfyUI's options, which stay as they are; says only once what it makes of them
def weight_dtype() -> torch.dtype:
    """fp16 or fp32 by ComfyUI's rules and options; bf16 only if asked for and never fp8, since the one step multiplies their errors."""
    asked = mm.unet_dtype(mm.get_torch_device(), PARAMETERS, [torch.float16, torch.float32])
    if asked.itemsize > 1:
        return asked
    logging.info(f"MagicBokeh's networks keep 16 bits instead of {asked}, whose errors the one step multiplies by 15.")
    return torch.float16


@dataclass(frozen=True)
class Source:
    """Files of a model: a merged one, or the adapter and its base."""

    path: Path
    base: Path | None

    def fingerprint(self) -> list[tuple[str, int, int]]:
        with folders.chosen_in("base"):
            return checkpoint.fingerprint([self.path, *(checkpoint.base_files(self.base) if self.base else ())])

    def read(self) -> Weights:
        with folders.chosen_in("checkpoint"):
            if checkpoint.is_merged(self.path):
                return checkpoint.load(self.path)
            adapter = checkpoint.read_adapter(self.path, mapped=True)
        with folders.chosen_in("base"):
            if self.base is None:
                raise ValueError(f"{self.path.name} needs Stable Diffusion 2.1-base; choose it as base.")
            return checkpoint.merge(checkpoint.read_base(self.base, mapped=True), adapter, weight_dtype())


def load(source: Source) -> tuple[BokehModel, comfy.sd.VAE]:
    """Networks and VAE in ComfyUI's hands. The VAE remembers where it is from, for `weights_of`."""
    files = source.fingerprint()
    weights = source.read()
    model, vae = load_model(weights), load_vae(weights.vae)
    vae.magicbokeh_source = source, files
    return model, vae


def load_model(weights: Weights) -> BokehModel:
    """U-Net and ControlNet in ComfyUI's hands. The tensors of `weights` are used, not changed."""
    file, weights = weights, fold_time(weights)
    device, offload = mm.get_torch_device(), mm.unet_offload_device()
    stored = weight_dtype()
    computed = mm.unet_manual_cast(stored, device, [torch.float16, torch.float32]) or stored
    with torch.device("meta"):
        model = MagicBokeh(weights.config, comfy.ops.pick_operations(stored, computed, load_device=device))
    held = patcher(model.eval())
    folded = {}
    for part in ("unet", "controlnet"):
        tensors, before = getattr(weights, part), getattr(file, part)
        network = getattr(model, part)
        network.load_state_dict({key: value.to(offload, stored) for key, value in tensors.items()}, assign=True)
        network.requires_grad_(False)
        folded[part] = {key: value.to(stored) for key, value in before.items() if value is not tensors.get(key)}
    return BokehModel(held, file.config, computed, file.sources, folded)


def load_vae(tensors: Tensors) -> comfy.sd.VAE:
    """A ComfyUI VAE of a state dict under diffusers' names, or of a `PatchCodec`."""
    if is_patch_codec(tensors):
        return _vae_around(codec_of(tensors))
    channels, layers, latent_channels = vae_sizes(tensors)
    sizes = {
        "ch": channels[0],
        "ch_mult": [width // channels[0] for width in channels],
        "num_res_blocks": layers,
        "z_channels": latent_channels,
        "double_z": True,
        "in_channels": 3,
        "out_ch": 3,
        "resolution": 256,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return comfy.sd.VAE(sd=dict(tensors), config={"params": {"ddconfig": sizes, "embed_dim": latent_channels}})


def _vae_around(codec: PatchCodec) -> comfy.sd.VAE:
    """ComfyUI's own VAE that does nothing, with ours inside."""
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
    shell = vae.first_stage_model
    shell.codec = codec.requires_grad_(False)
    shell.encode = lambda pixels, *_args, **_options: codec.encode(pixels)
    shell.decode = lambda latent, *_args, **_options: codec.decode(latent)
    vae.latent_channels = 3 * PATCH**2
    vae.downscale_ratio = vae.upscale_ratio = PATCH
    vae.memory_used_encode = lambda shape, dtype: shape[2] * shape[3] * 512
    vae.memory_used_decode = lambda shape, dtype: shape[2] * shape[3] * PATCH**2 * 256
    vae.patcher.model.to(vae.patcher.offload_device)
    return vae


def check_family(vae: comfy.sd.VAE, config: Config) -> None:
    """Raise ValueError if a VAE can't belong to a model of this config."""
    if vae.first_stage_model is None or (vae.latent_channels, vae.latent_dim) != (config.in_channels, 2):
        raise ValueError("vae is of another family than the model, or none at all; connect the vae of Load MagicBokeh.")


def weights_of(model: BokehModel, vae: comfy.sd.VAE) -> Weights:
    """What Save MagicBokeh Checkpoint writes: the networks as they are loaded, the VAE as it is in its file."""
    check_family(vae, model.config)
    state = {key: value.cpu() for key, value in model.patcher.model.state_dict().items()}
    parts = {
        part: {k[len(part) + 1 :]: v for k, v in state.items() if k.startswith(part)} | folded
        for part, folded in model.folded.items()
    }
    tensors, note = _vae_weights(vae)
    return Weights(**parts, vae=tensors, config=model.config, sources=model.sources | note)


def _vae_weights(vae: comfy.sd.VAE) -> tuple[Tensors, dict[str, str]]:
    """A VAE's weights, and what there is to say of them. ComfyUI holds most in bf16; of ours the file has them whole."""
    source, files = getattr(vae, "magicbokeh_source", (None, None))
    if source is not None and source.fingerprint() == files:
        return checkpoint.read_vae(source.path, source.base), {}
    codec = getattr(vae.first_stage_model, "codec", None)
    held = codec.state_dict() if codec else vae.get_sd()
    tensors = {key: value.cpu().float() for key, value in held.items()}
    tensors = tensors if codec else vae_from_ldm(tensors)
    check_vae(tensors, "vae")
    dtype = str(vae.vae_dtype).removeprefix("torch.")
    return tensors, {"vae": f"as ComfyUI held it, in {dtype}"}
