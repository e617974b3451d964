"""ComfyUI's IMAGE and MASK to the planes of the library, and back: the one place for what they may hold."""

from dataclasses import dataclass
from typing import Any

import comfy.model_management as mm
import torch
from torch import Tensor

from ..magicbokeh_ops.defocus import reciprocal
from ..magicbokeh_ops.planes import check_levels, check_not_empty, check_range, match_batch


def image_to_planes(image: Tensor, name: str = "image", exposed: bool = True) -> tuple[Tensor, Tensor | None]:
    """IMAGE (B, H, W, 1, 3 or 4) to (B, 3, H, W), and the alpha channel (B, H, W, 1) if there is one. One channel is grey.

    Floats keep their type, so that a clip in half precision is made float32 one frame at a time; integers are scaled as `to_floats` says.
    Light above 1 stays. exposed: white is 1, as it need not be in a scene's light. Raises ValueError for pictures in 0..255 and the like
    if exposed, and without pixels.
    """
    check_tensor(image, name)
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name} has shape {tuple(image.shape)}; connect an image, (batch, height, width, 3 or 4 channels).")
    check_not_empty(image, name)
    image = to_floats(image)
    planes, alpha = image[..., :3].movedim(-1, 1), None
    if exposed:
        check_levels(planes, name)
    planes = planes.expand(-1, 3, -1, -1)
    if image.shape[-1] == 4:
        alpha = image[..., 3:]
        check_range(alpha.movedim(-1, 1), f"the alpha channel of {name}")
    return planes, alpha


def planes_to_image(planes: Tensor) -> Tensor:
    """(B, 3, H, W) to IMAGE where and how ComfyUI keeps images between nodes."""
    return _keep(planes.movedim(1, -1))


def mask_to_map(mask: Tensor, name: str, highest: float | None = 1.0) -> Tensor:
    """MASK (B, H, W), (H, W), (B, 1, H, W) or (B, H, W, 1), as other packs make them, to (B, 1, H, W).

    Floats keep their type; integers are scaled as `to_floats` says. highest: values go from 0 to this, or anywhere if None.
    Raises ValueError if they don't.
    """
    check_tensor(mask, name)
    if mask.ndim == 2:
        mask = mask[None]
    elif mask.ndim == 4 and 1 in (mask.shape[1], mask.shape[3]):
        mask = mask.squeeze(1 if mask.shape[1] == 1 else 3)
    if mask.ndim != 3:
        raise ValueError(f"{name} has shape {tuple(mask.shape)}; connect a mask, (batch, height, width).")
    if is_picture(mask):
        raise ValueError(
            f"{name} has shape {tuple(mask.shape)}, as a picture without its batch; connect a mask, (batch, height, width)."
        )
    check_not_empty(mask, name)
    values = to_floats(mask, may_be_labels=True)[:, None]
    if highest is not None:
        check_range(values, name, highest)
    return values


@dataclass(frozen=True)
class Depth:
    """Depth of any kind, frame by frame: planes (B, 1 or 3, H, W) of any values; sky (B, 1, h, w) of a geometry that knows it."""

    planes: Tensor
    sky: Tensor | None = None
    is_geometry: bool = False  # whose values are distances

    def values(self, i: int) -> Tensor:
        """(1, 1, H, W)"""
        return self.planes[i : i + 1].float().mean(1, keepdim=True)

    def reciprocal(self, i: int) -> Tensor:
        """1 / values (1, 1, H, W) as `defocus.reciprocal` has it, of distances."""
        return reciprocal(self.values(i), None if self.sky is None else self.sky[i : i + 1])


def read_depth(depth: Any) -> Depth:
    """What a socket for depth gets: a grey picture, a mask, or the geometry of Depth Anything 3 or MoGe. Raises ValueError for others."""
    if isinstance(depth, dict):
        if depth.get("depth") is None:
            raise ValueError("depth is a geometry that holds no depth; connect one that was made by a depth model.")
        planes, sky = mask_to_map(depth["depth"], "depth", None), depth.get("sky")
        return Depth(
            planes, None if sky is None else match_batch(mask_to_map(sky, "sky"), len(planes), "sky"), is_geometry=True
        )
    check_tensor(depth, "depth")
    picture = depth[None] if is_picture(depth) else depth
    has_channels = picture.ndim == 4 and picture.shape[-1] in (1, 3, 4)
    return Depth(_grey(picture) if has_channels else mask_to_map(depth, "depth", None))


def _grey(image: Tensor) -> Tensor:
    """Planes (B, 1 or 3, H, W) of a grey picture, whose values may go anywhere."""
    check_not_empty(image, "depth")
    planes = to_floats(image)[..., :3].movedim(-1, 1)
    color, known, white = 0.0, 0, 1.0
    for frame in planes:
        frame = frame.float()
        spread, level = frame.amax(0) - frame.amin(0), frame.mean(0)
        finite = torch.isfinite(spread)
        color += float(spread[finite].sum())
        known += int(finite.sum())
        white = max(white, float(level.where(finite, torch.zeros_like(level)).amax()))
    if color > 0.03 * white * known:
        raise ValueError("depth is a coloured picture; connect the grey depth map, not its colour rendering or the photo.")
    return planes


def map_to_mask(values: Tensor) -> Tensor:
    """(B, 1, H, W) to MASK where and how ComfyUI keeps masks between nodes."""
    return _keep(values[:, 0])


def new_output(*shape: int) -> Tensor:
    """An IMAGE (B, H, W, C) or MASK (B, H, W) to be filled frame by frame, where and how ComfyUI keeps them between nodes."""
    return torch.empty(shape, device=mm.intermediate_device(), dtype=_dtype())


def check_tensor(values: Tensor, name: str) -> None:
    """Raise ValueError for what holds no pixels: switches of other packs hand on None where nothing is connected to them."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} is {values!r:.40} and holds no pixels; connect another output.")


def is_picture(mask: Tensor) -> bool:
    """Whether three dimensions are those of one picture, (height, width, channels), rather than of frames as narrow as that."""
    return mask.ndim == 3 and mask.shape[-1] in (1, 3, 4) and min(mask.shape[:2]) > 4


def count_frames(**batches: Tensor) -> int:
    """Frames that inputs have together, where one of them may serve for all. Raises ValueError if their counts don't match."""
    for name, values in batches.items():
        check_not_empty(values, name)
    longest = max(batches, key=lambda name: len(batches[name]))
    frames = len(batches[longest])
    for name, values in batches.items():
        if len(values) not in (1, frames):
            others = (f"{frames} pictures" if frames > 1 else "1 picture") if longest == "image" else f"{frames} of {longest}"
            raise ValueError(f"{name} has {len(values)} frames for {others}; give one for all, or one each.")
    return frames


def to_floats(values: Tensor, may_be_labels: bool = False) -> Tensor:
    """Integers as float32, divided by what is white among them unless they are labels, 0 and 1; floats as they are.

    White is the largest number of 8 bits; of types with more it is the first of 255, 65535 and their own largest that is reached
    by none, since packs hold 8 bits in wider types, whereas hardly a picture is as dark as that would be otherwise.
    """
    if values.dtype in (torch.float16, torch.bfloat16, torch.float32):
        return values
    floats = values.float()
    if values.is_floating_point() or values.dtype == torch.bool or (may_be_labels and floats.amax() <= 1):
        return floats
    largest = torch.iinfo(values.dtype).max
    whites = [white for white in (255, 65535) if white < largest] + [largest]
    return floats / next(white for white in whites if floats.amax() <= white)


def _keep(values: Tensor) -> Tensor:
    return values.to(device=mm.intermediate_device(), dtype=_dtype()).contiguous()


def _dtype() -> torch.dtype:
    return mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32
