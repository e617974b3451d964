"""ComfyUI's devices and the memory on them."""

import comfy.model_management as mm
import comfy.model_patcher
import torch
from torch import nn


def compute_device(memory: int) -> torch.device:
    """The device to work on, with room made for `memory` bytes."""
    device = mm.get_torch_device()
    mm.free_memory(memory, device)
    return device


def patcher(model: nn.Module) -> comfy.model_patcher.ModelPatcher:
    # Looked up late: ComfyUI replaces this class when it starts.
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return kind(model, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device())
