"""One model out of a base and an adapter."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.network import TimeEmbedding
from .adapter import check_adapter, find_updates
from .base import WANTED
from .parts import LORA_ALPHA, Adapter, Base, Tensors, Weights, without_prefix
from .shapes import check, find_hint_channels, find_unet_config


def merge(base: Base, adapter: Adapter, dtype: torch.dtype = torch.float32) -> Weights:
    """Base and adapter as one, computed in fp32, nothing changed in place, nothing left in a file that they are mapped from.

    SR LoRA: W + (8 / rank) B A. Bokeh LoRA: its scale 1 / rank goes into B.
    dtype: of U-Net and ControlNet; the VAE, small and touchy, stays in fp32.
    Raises ValueError if the adapter does not fit the base.
    """
    check_adapter(adapter)
    misfit = f"{adapter.name} does not fit {base.name}"
    unet = _with_lora(base.unet, adapter.unet, adapter.rank_unet, adapter.unet_modules, dtype, misfit)
    for key, value in adapter.processor.items():
        unet[key] = value.float() / adapter.rank_bokeh if key.endswith("_lora.1.weight") else value
    try:
        config = replace(
            find_unet_config(unet, base.heads),
            rank=adapter.rank_bokeh,
            hint_channels=find_hint_channels(adapter.controlnet),
        )
    except KeyError as missing:
        raise ValueError(f"{base.name} + {adapter.name} misses the tensor {missing.args[0]}; {WANTED}") from None
    except ValueError as error:
        raise ValueError(f"{base.name}: {error}; download its config.json again.") from None
    vae = merge_vae(base, adapter)
    weights = Weights(unet, dict(adapter.controlnet), vae, config, {"base": base.name, "adapter": adapter.name})
    check(weights, f"{base.name} + {adapter.name}")
    for part in (unet, weights.controlnet):
        for key, value in part.items():
            part[key] = value.to(dtype, copy=True)
    return weights


def merge_vae(base: Base, adapter: Adapter) -> Tensors:
    """The VAE of `merge` alone, in fp32. Raises ValueError if the adapter does not fit the base."""
    misfit = f"{adapter.name} does not fit {base.name}"
    vae = _with_lora(base.vae, adapter.vae, adapter.rank_vae, adapter.vae_modules, torch.float32, misfit)
    return {key: value.to(torch.float32, copy=True) for key, value in vae.items()}


def _with_lora(tensors: Tensors, lora: Tensors, rank: int, modules: list[str], dtype: torch.dtype, misfit: str) -> Tensors:
    """A network with its LoRA added, what it changes in `dtype`."""
    out = dict(tensors)
    for key, value in lora.items():
        if ".base_layer." in key:
            name = key.replace(".base_layer", "")
            if name not in out or out[name].shape != value.shape:
                raise ValueError(f"{misfit}: {name} is missing or of another size; {WANTED}")
            out[name] = value
    updates = find_updates(lora)
    for module in dict.fromkeys(modules):
        name = f"{module}.weight"
        if name not in out:
            raise ValueError(f"{misfit}: {name} has no counterpart; {WANTED}")
        down, up = updates[module]["A"], updates[module]["B"]
        out[name] = _merged(out[name], down, up, LORA_ALPHA / rank, f"{misfit}: {name}").to(dtype)
    return out


def _merged(weight: Tensor, down: Tensor, up: Tensor, scale: float, complaint: str) -> Tensor:
    delta = up.float().flatten(1) @ down.float().flatten(1)
    if delta.numel() != weight.numel() or len(delta) != len(weight):
        raise ValueError(f"{complaint} is {tuple(weight.shape)}, the adapter's update is for another size; {WANTED}")
    return weight.float() + scale * delta.view_as(weight)


def fold_time(weights: Weights) -> Weights:
    """The same networks without time embedding: t is always 999, so that all it adds are constants, which go into biases."""
    if weights.config.folded:
        return weights
    with torch.device("meta"):
        embedding = TimeEmbedding(weights.config, nn).requires_grad_(False)
    parts = []
    for tensors in (weights.unet, weights.controlnet):
        own = {key: value.float() for key, value in without_prefix(tensors, "time_embedding.").items()}
        embedding.load_state_dict(own, assign=True)
        time = F.silu(embedding(torch.zeros(())))[0]
        folded = {key: value for key, value in tensors.items() if "time_emb" not in key}
        for key, weight in tensors.items():
            if key.endswith(".time_emb_proj.weight"):
                block = key.removesuffix("time_emb_proj.weight")
                bias = tensors[f"{block}conv1.bias"]
                added = weight.float() @ time + tensors[f"{block}time_emb_proj.bias"].float()
                folded[f"{block}conv1.bias"] = (bias.float() + added).to(bias)
        parts.append(folded)
    unet, controlnet = parts
    return Weights(unet, controlnet, weights.vae, replace(weights.config, folded=True), weights.sources)
