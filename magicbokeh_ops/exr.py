"""EXR pictures: channels by name, and photos in scene-linear light."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor


def read_channels(path: Path) -> dict[str, np.ndarray]:
    """All channels, (H, W) float32, by name. Raises ValueError for what can't be read."""
    exr = library(path)
    try:
        with exr.File(str(path), separate_channels=True) as file:
            return {name: channel.pixels.astype(np.float32) for name, channel in file.channels().items()}
    except (RuntimeError, ValueError):
        raise ValueError(f"{path} is not an EXR picture that can be read; it may be damaged.") from None


def read_light(path: Path) -> tuple[Tensor, Tensor | None]:
    """Linear light (1, 3, H, W), white = 1 and lamps above, and alpha (1, 1, H, W) or None.

    Of the plain channels R, G and B, or of the first layer that has them (Blender's ViewLayer.Combined). EXR holds colours that are
    multiplied by alpha; here they are not. Raises ValueError for anything else, and for NaN or infinite values.
    """
    channels = read_channels(path)
    layers = [
        name[:-1]
        for name in channels
        if re.fullmatch(r"(.*\.)?R", name) and {f"{name[:-1]}G", f"{name[:-1]}B"} <= channels.keys()
    ]
    if not layers:
        raise ValueError(f"{path} has channels {', '.join(channels)}; a photo has R, G and B.")
    layer = min(layers, key=len)
    light = torch.from_numpy(np.stack([channels[layer + color] for color in "RGB"]))[None]
    if not torch.isfinite(light).all():
        raise ValueError(f"{path} holds NaN or infinite values.")
    if layer + "A" not in channels:
        return light, None
    alpha = torch.from_numpy(channels[layer + "A"])[None, None].clamp(0, 1)
    return torch.where(alpha > 0, light / alpha.clamp(min=1e-6), 0), alpha


def write_light(path: Path, light: Tensor, alpha: Tensor | None) -> None:
    """Write linear light (1, 3, H, W) and alpha (1, 1, H, W) as 32-bit floats, multiplied as EXR has them."""
    planes = light[0] if alpha is None else torch.cat([light * alpha, alpha], 1)[0]
    write_channels(path, dict(zip("RGBA", planes)))


def write_channels(path: Path, planes: dict[str, Tensor]) -> None:
    """Write planes (H, W) by name, as 32-bit floats."""
    exr = library(path)
    channels = {name: np.ascontiguousarray(plane.cpu().float().numpy()) for name, plane in planes.items()}
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    with exr.File(header, channels) as file:
        file.write(str(path))


def library(path: Path) -> ModuleType:
    """OpenEXR. Raises ValueError where it is not installed."""
    try:
        import OpenEXR
    except ModuleNotFoundError as error:
        raise ValueError(f"{path} needs {error.name}, which is not installed: pip install 'magicbokeh[exr]'.") from None
    return OpenEXR
