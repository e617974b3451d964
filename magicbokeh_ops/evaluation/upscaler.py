"""Super-resolution by any file that spandrel opens, brought back to the photo's size: the first stage of a baseline.

A photo larger than a tile is worked on in overlapping ones. Each is shrunk to its own size at once, so that the large picture
never exists; the blend over the overlap hides what a network with a wider view than that makes different in two tiles.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.tiling import blend, even_tiles, smooth_ramp

TILE, OVERLAP = 512, 32  # pixels of the photo, as in ComfyUI's own upscaling


@lru_cache(1)  # for the pictures that one process makes
def load_upscaler(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """restore(photo), (1, 3, H, W) in [0, 1] at the same size, by the network in a file, in fp32 on `device`.

    Raises ValueError without spandrel, and for a file that it does not know or that takes more than a photo.
    """
    try:
        import spandrel
        from safetensors import SafetensorError
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch raises RuntimeError
        raise ValueError(f"An upscaler needs spandrel ({error}): pip install 'magicbokeh[upscale]'.") from None
    try:
        model = spandrel.ModelLoader(device).load_from_file(path)
    except (
        spandrel.UnsupportedModelError,
        SafetensorError,
        UnpicklingError,
        EOFError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # what readers of files and spandrel's detectors raise for what they don't know
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(f"{path} is no upscaler that spandrel knows ({reason}).") from None
    if not isinstance(model, spandrel.ImageModelDescriptor) or model.input_channels != 3 or model.output_channels != 3:
        raise ValueError(f"{path} is {model.architecture.name} for {model.purpose}; give an upscaler from RGB to RGB.")
    return lambda photo: restore(model.eval(), photo.to(device))


@torch.inference_mode()
def restore(upscale: Callable[[Tensor], Tensor], photo: Tensor) -> Tensor:
    """`upscale` over the tiles of a photo (1, 3, H, W), each shrunk to its size by the mean over areas."""
    size = photo.shape[-2:]
    positions, (height, width) = even_tiles(size, TILE, OVERLAP)

    def tiles() -> Iterator[Tensor]:
        for top, left in positions:
            tile = photo[..., top : top + height, left : left + width]
            yield F.interpolate(upscale(tile), (height, width), mode="area")

    return blend(tiles(), positions, size, OVERLAP, smooth_ramp).clamp(0, 1)
