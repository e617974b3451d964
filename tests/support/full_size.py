"""The one step on networks of the full size with random weights, stage by stage, by ours and by the released procedure."""

import time
from collections import Counter
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from magicbokeh_ops import sampler
from magicbokeh_ops.model.network import Config, ControlNet, SelfAttention, UNet
from magicbokeh_ops.model.vae import vae_of
from magicbokeh_ops.training.trainee import Trainee
from tests.support.memory_peak import memory

PROCEDURES = ("as-released", "reference", "fast")
RANK = 4  # of the SR LoRA; the released file was not at hand
RANK_BOKEH = 64


class Stages:
    """Seconds and operations by stage, of functions that are called in the course of a run."""

    def __init__(self, counting: bool):
        self.counting, self.seconds, self.flops = counting, Counter(), Counter()
        self.known = {}

    def watched(self, name, function):
        """The function, watched; while counting, calls of the same shapes are made once."""

        def call(*arguments, **options):
            if not self.counting:
                start = time.perf_counter()
                result = function(*arguments, **options)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                self.seconds[name] += time.perf_counter() - start
                return result
            key = (name, *(getattr(x, "shape", None) for x in arguments))
            if key not in self.known:
                with FlopCounterMode(display=False) as counter:
                    result = function(*arguments, **options)
                self.known[key] = result, counter.get_total_flops()
            result, flops = self.known[key]
            self.flops[name] += flops
            return result

        return call


class Codec:
    def __init__(self, codec: Any, stages: Stages):
        self.cell = codec.cell
        self.encode, self.decode = stages.watched("encode", codec.encode), stages.watched("decode", codec.decode)


def released_attention(q, k, v, heads, region):
    """Explicit softmax over all tokens with a -100 mask repeated per head."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mask = torch.where(region[:, None] == region[:, :, None], 0.0, -100.0)[:, None].repeat(1, heads, 1, 1)
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def masked_as_released(processor, x, q, k, v, heads, region, attention):
    """`MaskedBranch.forward` with the released softmax."""
    q, k, v = q + processor.to_q_lora(x), k + processor.to_k_lora(x), v + processor.to_v_lora(x)
    inside = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device) if region is None else region.inside
    return processor.to_out_lora(released_attention(q, k, v, heads, inside))


def explicit_attention(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return ((q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)


def full_size_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )


class DiffusersVae(nn.Module):
    """diffusers' VAE as a `sampler.Codec`."""

    cell = 8

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae

    def encode(self, image, _noise=None):
        return self.vae.encode(image).latent_dist.mean

    def decode(self, latent):
        return self.vae.decode(latent).sample

    def add_lora(self, rank: int) -> None:
        """On all layers of the encoder, as the released adapter has it."""
        layers = [name for name, module in self.vae.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
        targets = [name for name in layers if name.startswith("encoder.") or name == "quant_conv"]
        inject_adapter_in_model(LoraConfig(r=rank, target_modules=targets), self.vae)


def build(procedure: str, device: str, dtype: torch.dtype) -> tuple[UNet, ControlNet, Any, nn.Module | None]:
    """U-Net, ControlNet, codec, and the text encoder that the released procedure runs for nothing.

    procedure: one of PROCEDURES, or "nodes": fast with a VAE that does what ComfyUI's does.
    """
    released = procedure == "as-released"
    torch.manual_seed(0)
    with torch.device(device):
        config = Config(rank=RANK_BOKEH, folded=not released)
        unet, controlnet = UNet(config), ControlNet(config)
        vae = full_size_vae()
        codec = DiffusersVae(vae) if procedure in ("as-released", "nodes") else vae_of(vae.state_dict(), device)
        text = None
        if released:
            sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
            text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, projection_dim=512, hidden_act="gelu", **sizes)).eval()
    if released:
        Trainee(unet, controlnet, codec).add_sr_lora(RANK)
        codec.add_lora(RANK)
        for up in unet.up_blocks:
            for module in up.modules():
                if isinstance(module, SelfAttention):
                    module.attention = explicit_attention
                    module.processor.forward = partial(masked_as_released, module.processor)
    for network in (unet, controlnet, codec, text):
        if network is not None:
            network.requires_grad_(False).eval().to(dtype)
    return unet, controlnet, codec, text


@torch.inference_mode()
def run(procedure: str, size: tuple[int, int], device: str, dtype: torch.dtype = torch.float32) -> dict:
    """Stages of one picture; on device "meta" operations are counted instead of seconds."""
    stages = Stages(counting=device == "meta")
    unet, controlnet, codec, text = build(procedure, device, dtype)
    image, defocus = torch.rand(1, 3, *size, device=device), torch.rand(1, 1, *size, device=device)
    regions = None  # on "meta" nobody can look where the mask is; attention over everything is the most it takes
    if not stages.counting:
        regions = torch.zeros_like(defocus)
        regions[..., : size[1] // 2] = 1
    watched_unet = stages.watched("unet", unet)
    watched_unet.config = unet.config
    tokens = torch.zeros(1, 77, dtype=torch.long, device=device)

    def predict(latent, hint, masks):
        if text is not None:
            stages.watched("text", text)(tokens)
        return sampler.predict(watched_unet, stages.watched("controlnet", controlnet), latent, hint, masks, device, dtype)

    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    weights = memory(device)
    start = time.perf_counter()
    if procedure in ("fast", "nodes"):
        sampler.sample_fast(Codec(codec, stages), predict, image, defocus, regions)
    else:
        sampler.sample_as_released(Codec(codec, stages), predict, image, defocus, regions)
    total = time.perf_counter() - start
    stages.seconds["rest"] = max(total - stages.seconds.total(), 0)
    return {
        "procedure": procedure,
        "size": size,
        "seconds": dict(stages.seconds),
        "total": total,
        "flops": dict(stages.flops),
        "peak": memory(device, peak=True),
        "activations": memory(device, peak=True) - weights,
    }
