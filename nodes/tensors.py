"""ComfyUI's IMAGE and MASK to the planes of the library, and back."""

import comfy.model_management as mm
import torch
from torch import Tensor


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


def new_output(*shape: int) -> Tensor:
    """An IMAGE (B, H, W, C) or MASK (B, H, W) to be filled frame by frame, where and how ComfyUI keeps them between nodes."""
    return torch.empty(shape, device=mm.intermediate_device(), dtype=_dtype())


def _keep(values: Tensor) -> Tensor:
    return values.to(device=mm.intermediate_device(), dtype=_dtype()).contiguous()


def _dtype() -> torch.dtype:
    return mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32
