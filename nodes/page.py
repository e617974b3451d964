"""What the page shows: the photo and its disparity as files."""

import hashlib
import logging
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import folder_paths
import torch
from PIL import Image
from torch import Tensor

from ..magicbokeh_ops.defocus import resize

T = TypeVar("T")
VIEW_SIDE = 1024  # pixels of the photo that the page gets


def unless_it_fails(make: Callable[[], T], otherwise: T) -> T:
    """make(), or where nothing can be written, a line in the log and something else: what is only looked at must not end a run."""
    try:
        return make()
    except OSError as error:
        logging.warning(f"MagicBokeh: no preview, since it could not be written ({error}).")
        return otherwise


def save_view(photo: Tensor, disparity: Tensor) -> dict[str, list]:
    """Photo (1, 3, H, W) and disparity (1, 1, H, W) for the page, in the temporary folder: what `web/focus.js` shows.

    Disparity is a picture with its high byte in red and its low byte in green, since browsers read 8 bits of a channel.
    """
    size = photo.shape[-2:]
    shorter = [max(1, round(n * min(1, VIEW_SIDE / max(size)))) for n in size]
    small = (resize(plane.float().cpu(), shorter).clamp(0, 1)[0] for plane in (photo, disparity))
    rgb, near = ((planes * levels).round().int() for planes, levels in zip(small, (255, 65535)))
    near = torch.cat([near // 256, near % 256, torch.zeros_like(near)])
    files = []
    for planes, options in ((rgb, {"format": "JPEG", "quality": 90}), (near, {"format": "PNG", "compress_level": 1})):
        content = BytesIO()
        Image.fromarray(planes.permute(1, 2, 0).byte().numpy()).save(content, **options)
        # Named by what is in it: the same picture is written once, and the page's cache knows a new one.
        name = f"magicbokeh_{hashlib.sha256(content.getvalue()).hexdigest()[:24]}.{options['format'].lower()}"
        folder = Path(folder_paths.get_temp_directory())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.getvalue())
        files.append({"filename": name, "subfolder": "", "type": "temp"})
    height, width = size
    return {"magicbokeh_photo": files[:1], "magicbokeh_disparity": files[1:], "magicbokeh_size": [width, height]}
