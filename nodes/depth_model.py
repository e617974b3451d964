"""Depth Anything in ComfyUI's hands."""

from dataclasses import dataclass
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
from torch import Tensor, nn

from ..magicbokeh_ops import depth
from .devices import free_everything, is_oom, patcher, retry_when_freed
from .folders import chosen_in
from .progress import Progress


class DepthAnything(nn.Module):
    """transformers' model, whose `device` ComfyUI can't set, in one on which it can."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


@dataclass(frozen=True)
class DepthModel:
    """What a MAGICBOKEH_DEPTH_MODEL socket carries. ComfyUI looks for `patcher` and `get_models`."""

    patcher: comfy.model_patcher.ModelPatcher

    def get_models(self) -> list[comfy.model_patcher.ModelPatcher]:
        return [self.patcher]


def load_depth_model(path: Path) -> DepthModel:
    """Depth Anything in ComfyUI's hands, in fp32: half precision shows as terraces."""
    with chosen_in("model"):
        network = depth.build(*depth.read_depth(path), path.name)
    return DepthModel(patcher(DepthAnything(network)))


def find_disparity(
    model: DepthModel, image: Tensor, input_size: int, smooth_range: int, progress: Progress, out: Tensor
) -> Tensor:
    """`depth.disparity` of photos on ComfyUI's devices."""
    network = model.patcher.model.network
    needed = depth.memory_needed(network.config, *image.shape[-2:], input_size)

    def work() -> Tensor:
        # Its layers are not ComfyUI's, so it can't stay outside the card in part.
        mm.load_models_gpu([model.patcher], needed, force_full_load=True)
        return depth.disparity(network, image, input_size, smooth_range, progress, out)

    try:
        return retry_when_freed(work)
    except Exception as error:
        if not is_oom(error):
            raise
    free_everything()
    raise MemoryError(f"There is too little memory for the depth model at an input_size of {input_size}; lower it.")
