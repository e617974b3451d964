"""Photos and maps on disk."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor


def read_photo(path: Path) -> tuple[Tensor, Tensor | None]:
    """sRGB (1, 3, H, W) in [0, 1] and alpha (1, 1, H, W) or None.

    Any picture that Pillow reads, upright as its EXIF orientation says, or a float array `.npy` (H, W, 3).
    Raises ValueError for anything else.
    """
    if path.suffix == ".npy":
        values = _read_npy(path)
        if values.ndim != 3 or values.shape[2] != 3:
            raise ValueError(f"{path} has shape {values.shape}; a photo is (height, width, 3).")
        return torch.from_numpy(values).permute(2, 0, 1)[None], None
    picture = _open(path)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"{path} is a {picture.mode} picture; a photo has 8-bit colours (or is a .npy of floats).")
    pixels = torch.from_numpy(np.array(picture.convert("RGBA"), dtype=np.float32)).permute(2, 0, 1)[None] / 255
    return pixels[:, :3], pixels[:, 3:] if picture.has_transparency_data else None


def read_map(path: Path) -> Tensor:
    """A map (1, 1, H, W), float32: integers become 0..1, floats stay as they are.

    8- and 16-bit pictures, float TIFF, EXR (channel Y, Z or R) or a float array `.npy` (H, W).
    Raises ValueError for anything else, and for coloured pictures.
    """
    if path.suffix == ".npy":
        values = _read_npy(path)
        if values.ndim != 2:
            raise ValueError(f"{path} has shape {values.shape}; a map is (height, width).")
    elif path.suffix.lower() == ".exr":
        values = _read_exr(path)
    else:
        picture = _open(path)
        values = np.array(picture.convert("RGB") if picture.mode in ("P", "RGBA", "CMYK") else picture)
        if values.ndim == 3:
            if picture.mode != "LA" and int((values.max(2) - values.min(2)).max()) > 5:
                raise ValueError(f"{path} is coloured; give the grey map, not its colour rendering.")
            values = values[..., 0]
        if picture.mode != "F":
            values = values.astype(np.float32) / (255 if values.dtype == np.uint8 else 65535)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]


def write_photo(path: Path, photo: Tensor, alpha: Tensor | None = None) -> None:
    """Write sRGB (1, 3, H, W): `.npy` keeps floats (H, W, 3), pictures are rounded to 8 bit. Written whole or not at all."""
    values = photo[0].permute(1, 2, 0).cpu().float()
    if path.suffix == ".npy":
        _replace(path, lambda file: np.save(file, values.numpy()))
        return
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path} has no known picture format; use .png, .jpg, .tif, .webp or .npy.")
    if alpha is not None and path.suffix.lower() not in (".jpg", ".jpeg", ".bmp"):
        values = torch.cat([values, alpha[0].permute(1, 2, 0).cpu()], -1)
    picture = Image.fromarray((values.clamp(0, 1) * 255).round().byte().numpy())
    kind = Image.registered_extensions()[path.suffix.lower()]
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    _replace(path, lambda file: picture.save(file, format=kind, **options))


def _replace(path: Path, write) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=path.suffix, delete=False) as file:
        try:
            write(file)
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not a picture that can be read.") from None


def _read_npy(path: Path) -> np.ndarray:
    values = np.load(path, allow_pickle=False)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"{path} holds {values.dtype}; save floats in 0..1.")
    return values.astype(np.float32)


def _read_exr(path: Path) -> np.ndarray:
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = file.channels()
        for name in ("Y", "Z", "R"):
            if name in channels:
                return channels[name].pixels.astype(np.float32)
    raise ValueError(f"{path} has channels {', '.join(channels)}; a map needs Y, Z or R.")
