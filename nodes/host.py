"""Every contact of the nodes with ComfyUI: schemas across versions, tensors, devices, progress and interrupts."""

import inspect
from collections.abc import Callable

import comfy.model_management as mm
import torch
from comfy.utils import ProgressBar
from comfy_api.latest import io
from torch import Tensor

# Keyword arguments that ComfyUI 0.3.64 does not know yet; there they are left out.
NEWER = {"advanced", "search_aliases"}


def build(kind: Callable, *args, **kwargs):
    """kind(*args, **kwargs), for `io.Schema` and the inputs, on any ComfyUI from 0.3.64 on."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{key: value for key, value in kwargs.items() if key in known or key not in NEWER})


def schema(**kwargs) -> io.Schema:
    return build(io.Schema, category="image/bokeh", **kwargs)


def fraction(name: str, default: float, tooltip: str, **more):
    """A FLOAT widget for 0..1."""
    limits = {"min": 0.0, "max": 1.0, "step": 0.001, "round": 0.0001}
    return build(io.Float.Input, name, default=default, tooltip=tooltip, **limits, **more)


def blur_radius(name: str, tooltip: str):
    """A FLOAT widget for K, in pixels."""
    return io.Float.Input(name, default=24.0, min=0.0, max=512.0, step=0.5, tooltip=tooltip)


def image_to_planes(image: Tensor, name: str = "image") -> tuple[Tensor, Tensor | None]:
    """IMAGE (B, H, W, 3 or 4) to (B, 3, H, W) float32, and the alpha channel (B, H, W, 1) if there is one."""
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        raise ValueError(f"{name} has shape {tuple(image.shape)}; connect an image with 3 or 4 channels.")
    alpha = image[..., 3:] if image.shape[-1] == 4 else None
    return image[..., :3].movedim(-1, 1).float(), alpha


def planes_to_image(planes: Tensor, alpha: Tensor | None = None) -> Tensor:
    """(B, 3, H, W) to IMAGE where and how ComfyUI keeps images between nodes."""
    image = planes.movedim(1, -1)
    if alpha is not None:
        image = torch.cat([image, alpha.to(image).expand(len(image), -1, -1, -1)], -1)
    return _keep(image)


def mask_to_map(mask: Tensor, name: str) -> Tensor:
    """MASK (B, H, W) or (H, W) to (B, 1, H, W) float32."""
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3:
        raise ValueError(f"{name} has shape {tuple(mask.shape)}; connect a mask, (batch, height, width).")
    return mask[:, None].float()


def map_to_mask(values: Tensor) -> Tensor:
    """(B, 1, H, W) to MASK where and how ComfyUI keeps masks between nodes."""
    return _keep(values[:, 0])


def _keep(values: Tensor) -> Tensor:
    dtype = mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32
    return values.to(device=mm.intermediate_device(), dtype=dtype).contiguous()


def compute_device(memory: int) -> torch.device:
    """The device to work on, with room made for `memory` bytes."""
    device = mm.get_torch_device()
    mm.free_memory(memory, device)
    return device


class Progress:
    """The node's progress bar over some equal parts; every call is a place where the user can stop the run."""

    def __init__(self, parts: int):
        self.bar = ProgressBar(parts * 100)
        self.part = 0

    def __call__(self, done: int, steps: int) -> None:
        mm.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(self.part * 100 + 100 * done // steps)

    def next_part(self) -> None:
        self.part += 1
