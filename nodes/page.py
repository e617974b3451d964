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
VIEW_SIDE, CLIP_SIDE = 1024, 640  # pixels of the photo, or of a clip's frames, that the page gets
VIEW_FRAMES = 25  # of a clip, at most


def unless_it_fails(make: Callable[[], T], otherwise: T) -> T:
    """make(), or where nothing can be written, a line in the log and something else: what is only looked at must not end a run."""
    try:
        return make()
    except OSError as error:
        logging.warning(f"MagicBokeh: no preview, since it could not be written ({error}).")
        return otherwise


def save_view(photo: Tensor, disparity: Tensor) -> dict[str, list]:
    """Photos (B or 1, 3, H, W) and disparities (B or 1, 1, h, w) for the page, in the temporary folder: what `web/focus.js` shows.

    Of a clip, some frames, evenly spread, and smaller ones. `magicbokeh_frames` is how many there are in all, and which are given.
    """
    count = max(len(photo), len(disparity))
    given = sorted({round(i * (count - 1) / (VIEW_FRAMES - 1)) for i in range(VIEW_FRAMES)})
    size = photo.shape[-2:]
    side = VIEW_SIDE if count == 1 else CLIP_SIDE
    shots = ([planes[min(i, len(planes) - 1)][None] for planes in (photo, disparity)] for i in given)
    files = [_save(shown, resize(near, size), side) for shown, near in shots]
    height, width = size
    found = {"magicbokeh_photo": [photo for photo, _ in files], "magicbokeh_disparity": [near for _, near in files]}
    return {**found, "magicbokeh_size": [width, height], "magicbokeh_frames": [count, *given]}


def _save(photo: Tensor, disparity: Tensor, side: int) -> list[dict[str, str]]:
    """The files of a photo and its disparity, at most `side` pixels wide and high.

    Disparity is a picture with its high byte in red and its low byte in green, since browsers read 8 bits of a channel.
    """
    size = photo.shape[-2:]
    shorter = [max(1, round(n * min(1, side / max(size)))) for n in size]
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
    return files
