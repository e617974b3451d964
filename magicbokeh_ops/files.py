"""Photos and maps on disk."""

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from .planes import check_levels, check_not_empty
from .weights.reading import write_whole

PHOTOS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MAPS = (".png", ".npy", ".tif", ".tiff", ".exr", ".pfm")


def read_photo(path: Path) -> tuple[Tensor, Tensor | None]:
    """sRGB (1, 3, H, W) in [0, 1] and alpha (1, 1, H, W) or None.

    Any picture that Pillow reads, upright as its EXIF orientation says and in sRGB as its colour profile says, or a
    float array `.npy` (H, W, 3) whose white is 1. Raises ValueError for anything else.
    """
    if path.suffix.lower() == ".npy":
        values = _read_npy(path)
        if values.ndim != 3 or values.shape[2] != 3:
            raise ValueError(f"{path} has shape {values.shape}; a photo is (height, width, 3).")
        planes = torch.from_numpy(values).permute(2, 0, 1)[None]
        check_not_empty(planes, str(path))
        check_levels(planes, str(path))
        return planes, None
    picture = _open(path)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"{path} is a {picture.mode} picture; a photo has 8-bit colours (or is a .npy of floats).")
    rgb = picture.convert("RGB")
    if "icc_profile" in picture.info and picture.mode in ("RGB", "RGBA"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
            ImageCms.profileToProfile(rgb, profile, ImageCms.createProfile("sRGB"), inPlace=True)
        except (ImageCms.PyCMSError, OSError) as error:
            raise ValueError(f"{path} has a colour profile that can't be used ({error}); convert it to sRGB.") from None
    alpha = None
    if picture.has_transparency_data:
        alpha = torch.from_numpy(np.array(picture.convert("RGBA"), dtype=np.float32)[..., 3])[None, None] / 255
    return torch.from_numpy(np.array(rgb, dtype=np.float32)).permute(2, 0, 1)[None] / 255, alpha


def read_map(path: Path) -> Tensor:
    """A map (1, 1, H, W), float32: integers become 0..1, floats stay as they are.

    1-, 8- and 16-bit pictures, float TIFF, EXR (channel Y or Z, or grey R, G, B), PFM (its scale is no more than a hint for
    viewers, and not applied) or a float array `.npy` (H, W). Floats may hold NaN and infinity, which mark unknown pixels.
    Raises ValueError for anything else, and for coloured pictures.
    """
    if path.suffix.lower() == ".npy":
        values = _read_npy(path)
        if values.ndim != 2:
            raise ValueError(f"{path} has shape {values.shape}; a map is (height, width).")
    elif path.suffix.lower() == ".exr":
        values = _read_exr(path)
    else:
        picture = _open(path)
        if picture.mode == "F":
            values = np.array(picture)
        elif picture.mode.startswith("I"):
            values = np.array(picture, dtype=np.float32) / 65535
        elif picture.mode in ("1", "L", "LA"):
            values = np.array(picture.convert("L"), dtype=np.float32) / 255
        else:
            values = _grey(np.array(picture.convert("RGB"), dtype=np.float32) / 255, path)
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]


def check_output(path: Path) -> None:
    """Raise ValueError if a photo could not be written here, before any work is done for it."""
    if not path.parent.is_dir():
        raise ValueError(f"{path} can't be written: there is no folder {path.parent}.")
    if path.suffix.lower() != ".npy" and _format(path) not in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        raise ValueError(f"{path} has no known picture format; use .png, .jpg, .tif, .webp, .bmp or .npy.")


def _format(path: Path) -> str | None:
    return Image.registered_extensions().get(path.suffix.lower())


def write_photo(path: Path, photo: Tensor, alpha: Tensor | None = None) -> None:
    """Write sRGB (1, 3, H, W): `.npy` keeps floats (H, W, 3), pictures are rounded to 8 bit. Written whole or not at all."""
    check_output(path)
    values = photo[0].permute(1, 2, 0).cpu().float()
    if path.suffix.lower() == ".npy":
        _write_array(path, values.numpy())
        return
    kind = _format(path)
    if alpha is not None and kind not in ("JPEG", "BMP"):
        values = torch.cat([values, alpha[0].permute(1, 2, 0).cpu()], -1)
    picture = Image.fromarray((values.clamp(0, 1) * 255).round().byte().numpy())
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    write_whole(path, lambda unfinished: picture.save(unfinished, format=kind, **options))


def check_map_output(path: Path) -> None:
    """Raise ValueError if a map could not be written here, before any work is done for it."""
    check_output(path)
    if path.suffix.lower() != ".npy" and _format(path) not in ("PNG", "TIFF"):
        raise ValueError(f"{path} can't hold a map without loss; use .npy, .png or .tif.")


def write_map(path: Path, values: Tensor) -> None:
    """Write a map (1, 1, H, W) in [0, 1]: `.npy` keeps floats (H, W), pictures are 16 bit. Written whole or not at all."""
    check_map_output(path)
    array = values[0, 0].cpu().float().numpy()
    if path.suffix.lower() == ".npy":
        _write_array(path, array)
        return
    picture = Image.fromarray((array.clip(0, 1) * 65535).round().astype(np.uint16))
    write_whole(path, lambda unfinished: picture.save(unfinished, format=_format(path)))


def list_files(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Stem to file, in order. Raises ValueError if the folder is missing or empty, or two files share a stem."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; see docs/evaluation.md for the layout.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise ValueError(f"{folder} has both {found[path.stem].name} and {path.name}; leave one of them.")
            found[path.stem] = path
    if not found:
        raise ValueError(f"{folder} holds no file ending in {', '.join(suffixes)}.")
    return found


def pair(folder: Path, names: Collection[str], suffixes: Collection[str]) -> dict[str, Path]:
    """Stem to file of a folder that has exactly the pictures `names` of input/.

    Raises ValueError naming the first partner that is missing on either side, and as `list_files`.
    """
    found = list_files(folder, suffixes)
    for name in names:
        if name not in found:
            raise ValueError(f"{folder} has no picture {name}, which input/ has; add it.")
    for name in found:
        if name not in names:
            raise ValueError(f"{found[name]} has no partner in input/; add {name} there, or remove it.")
    return found


def _write_array(path: Path, values: np.ndarray) -> None:
    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:  # by its name it would get a second ending
            np.save(file, values)

    write_whole(path, write)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ValueError(f"{path} is not a picture that can be read; it may be damaged.") from None


def _grey(values: np.ndarray, path: Path) -> np.ndarray:
    known = values[np.isfinite(values).all(2)]
    if known.size and np.ptp(known, 1).mean() > 0.03 * max(1.0, float(known.max())):
        raise ValueError(f"{path} is coloured; give the grey map, not its colour rendering.")
    return values.mean(2)


def read_array(path: Path) -> Tensor:
    """Floats of any shape from a `.npy` file, as float32. Raises ValueError for anything else."""
    return torch.from_numpy(_read_npy(path))


def _read_npy(path: Path) -> np.ndarray:
    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError):
        raise ValueError(f"{path} is no .npy array; it may be damaged.") from None
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"{path} holds {values.dtype}; save floats in 0..1.")
    return values.astype(np.float32)


def _read_exr(path: Path) -> np.ndarray:
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels.astype(np.float32) for name, channel in file.channels().items()}
    except RuntimeError:
        raise ValueError(f"{path} is not an EXR picture that can be read; it may be damaged.") from None
    for name in ("Y", "Z"):
        if name in channels:
            return channels[name]
    if {"R", "G", "B"} <= channels.keys():
        return _grey(np.dstack([channels[name] for name in "RGB"]), path)
    raise ValueError(f"{path} has channels {', '.join(channels)}; a map needs Y or Z, or grey R, G and B.")
