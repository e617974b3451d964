"""Photos and maps on disk."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from .atomic import write_whole
from .color import linear_to_srgb, srgb_to_linear
from .deep_pictures import bits_and_channels, is_deep, read_deep, read_deep_metadata, write_deep
from .exr import library, read_channels, read_light, write_channels, write_light
from .pictures import open_picture, picture_to_planes, upright, upright_exif
from .planes import check_levels, check_not_empty

PHOTOS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MAPS = (".png", ".npy", ".npz", ".tif", ".tiff", ".exr", ".pfm")
ARRAYS = (".npy", ".npz")


@dataclass(frozen=True)
class Origin:
    """What a result takes over from the file of the photo it is made of.

    exif, icc_profile: as they go into the result's file, or None. is_deep: it has 16 or 32 bits per channel.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    is_deep: bool = False


def color_space(path: Path) -> str:
    """Of what a file holds: EXR holds linear light, all others sRGB."""
    return "linear" if path.suffix.lower() == ".exr" else "srgb"


def read_photo(path: Path, space: str = "srgb") -> tuple[Tensor, Tensor | None]:
    """Colours (1, 3, H, W) in `space`, "srgb" or "linear", white = 1, and alpha (1, 1, H, W) or None.

    Any picture that Pillow reads, upright as its EXIF orientation says and in sRGB as its colour profile says; PNG and TIFF with 16 or
    32 bits per channel, all of which are kept, in the colours of their own profile; EXR, whose lamps are above 1; or a float array `.npy`
    or `.npz` (H, W, 3) whose white is 1. Raises ValueError for anything else.
    """
    planes, alpha = _read_planes(path)
    if color_space(path) == space:
        return planes, alpha
    return (linear_to_srgb if space == "srgb" else srgb_to_linear)(planes), alpha


def _read_planes(path: Path) -> tuple[Tensor, Tensor | None]:
    if path.suffix.lower() == ".exr":
        return read_light(path)
    if path.suffix.lower() in ARRAYS:
        values = _read_floats(path)
        if values.ndim != 3 or values.shape[2] != 3:
            raise ValueError(f"{path} has shape {values.shape}; a photo is (height, width, 3).")
        planes = torch.from_numpy(values).permute(2, 0, 1)[None]
        check_not_empty(planes, str(path))
        check_levels(planes, str(path))
        return planes, None
    if is_deep(path):
        planes, alpha = read_deep(path)
        check_levels(planes, str(path))
        return planes, alpha
    return picture_to_planes(upright(open_picture(path)), str(path))


def read_origin(path: Path) -> Origin:
    """What `write_photo` puts into the result of this photo: EXIF, upright, and the colour profile of what `read_photo` gives.

    Raises ValueError for a file that is no picture.
    """
    if path.suffix.lower() in (*ARRAYS, ".exr"):
        return Origin(is_deep=path.suffix.lower() == ".exr")
    if is_deep(path):
        return Origin(*read_deep_metadata(path), is_deep=True)
    picture = open_picture(path)
    profile = picture.info.get("icc_profile") and ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return Origin(upright_exif(picture), profile or None)


def read_map(path: Path, layer: str | None = None, in_any_unit: bool = False) -> Tensor:
    """A map (1, 1, H, W), float32: integers become 0..1, floats stay as they are.

    1-, 8- and 16-bit pictures, float TIFF, EXR, PFM (its scale is only a hint for viewers, and not applied), or a float array `.npy`
    or `.npz` (H, W). Floats may hold NaN and infinity, which mark unknown pixels.
    layer: of an EXR with several, by name, or one of its channels. in_any_unit: arrays may hold integers, such as millimetres.
    Raises ValueError for anything else, and for coloured pictures.
    """
    if path.suffix.lower() in ARRAYS:
        values = _read_numbers(path) if in_any_unit else _read_floats(path)
        if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
            values = values.squeeze(0 if values.shape[0] == 1 else 2)
        if values.ndim != 2:
            raise ValueError(f"{path} has shape {values.shape}; a map is (height, width).")
    elif path.suffix.lower() == ".exr":
        values = _read_exr(path, layer)
    elif is_deep(path) and bits_and_channels(path)[1] > 1:
        values = _grey(read_deep(path)[0][0].permute(1, 2, 0).numpy(), path)
    else:
        picture = upright(open_picture(path))
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
    if path.suffix.lower() == ".exr":
        library(path)
    elif path.suffix.lower() != ".npy" and _format(path) not in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        raise ValueError(f"{path} has no known picture format; use .png, .jpg, .tif, .webp, .bmp, .exr or .npy.")


def _format(path: Path) -> str | None:
    return Image.registered_extensions().get(path.suffix.lower())


def write_photo(
    path: Path, photo: Tensor, alpha: Tensor | None = None, origin: Origin | None = None, space: str = "srgb"
) -> None:
    """Write colours (1, 3, H, W) of `space`: EXR keeps all light, `.npy` floats (H, W, 3), pictures are cut off at white and rounded
    to 8 bit. Written whole or not at all.

    alpha: (1, 1, H, W), not kept by `.npy`. In JPEG and BMP, which have none, what is transparent is black.
    origin: of the photo it is made of, whose metadata go into the file; PNG and TIFF get 16 bit if that had more than 8.
    """
    check_output(path)
    origin = origin or Origin()
    if color_space(path) != space:
        photo = (linear_to_srgb if space == "linear" else srgb_to_linear)(photo)
    if path.suffix.lower() == ".exr":
        write_whole(path, lambda unfinished: write_light(unfinished, photo, alpha))
        return
    values, kind = photo[0].permute(1, 2, 0).cpu().float(), _format(path)
    if path.suffix.lower() == ".npy":
        _write_array(path, values.numpy())
        return
    if alpha is not None:
        opaque = alpha[0].permute(1, 2, 0).cpu().float()
        values = values * opaque if kind in ("JPEG", "BMP") else torch.cat([values, opaque], -1)
    if origin.is_deep and kind in ("PNG", "TIFF"):
        levels = (values.clamp(0, 1) * 65535).round().numpy().astype(np.uint16)
        write_whole(path, lambda unfinished: write_deep(unfinished, levels, kind, origin.exif, origin.icc_profile))
        return
    picture = Image.fromarray((values.clamp(0, 1) * 255).round().byte().numpy())
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    if origin.exif:
        options["exif"] = origin.exif
    if origin.icc_profile:
        options["icc_profile"] = origin.icc_profile
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


def check_numbers_output(path: Path) -> None:
    """Raise ValueError if `write_numbers` could not write here, before any work is done for it."""
    check_output(path)
    if path.suffix.lower() not in (".npy", ".exr") and _format(path) != "TIFF":
        raise ValueError(f"{path} can't hold numbers of any size and sign; use .exr, .tif or .npy.")


def write_numbers(path: Path, values: Tensor) -> None:
    """Write any numbers (1, 1, H, W) as 32-bit floats: `.npy` (H, W), a grey TIFF, or an EXR with the channel Y. Written whole or not at all."""
    check_numbers_output(path)
    plane = values[0, 0].cpu().float()
    if path.suffix.lower() == ".npy":
        _write_array(path, plane.numpy())
    elif path.suffix.lower() == ".exr":
        write_whole(path, lambda unfinished: write_channels(unfinished, {"Y": plane}))
    else:
        write_whole(path, lambda unfinished: Image.fromarray(plane.numpy()).save(unfinished, format="TIFF"))


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


def pair(folder: Path, names: Collection[str], suffixes: Collection[str], beside: Path | str = "input/") -> dict[str, Path]:
    """Stem to file of a folder that has exactly the pictures `names` of the folder `beside`.

    Raises ValueError naming the first partner that is missing on either side, and as `list_files`.
    """
    found = list_files(folder, suffixes)
    for name in names:
        if name not in found:
            raise ValueError(f"{folder} has no picture {name}, which {beside} has; add it.")
    for name in found:
        if name not in names:
            raise ValueError(f"{found[name]} has no partner in {beside}; add {name} there, or remove it.")
    return found


def _write_array(path: Path, values: np.ndarray) -> None:
    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:  # by its name it would get a second ending
            np.save(file, values)

    write_whole(path, write)


def _grey(values: np.ndarray, path: Path) -> np.ndarray:
    known = values[np.isfinite(values).all(2)]
    if known.size and np.ptp(known, 1).mean() > 0.03 * max(1.0, float(known.max())):
        raise ValueError(f"{path} is coloured; give the grey map, not its colour rendering.")
    return values.mean(2)


def read_array(path: Path) -> Tensor:
    """Finite floats of any shape from a `.npy` file, as float32. Raises ValueError for anything else."""
    values = _read_floats(path)
    if not np.isfinite(values).all():
        raise ValueError(f"{path} holds NaN or infinite values.")
    return torch.from_numpy(values)


def _read_floats(path: Path) -> np.ndarray:
    values = _read_numpy(path)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"{path} holds {values.dtype}; save floats in 0..1, or say --convention distance if these are distances."
        )
    return values.astype(np.float32)


def _read_numbers(path: Path) -> np.ndarray:
    values = _read_numpy(path)
    if not np.issubdtype(values.dtype, np.floating) and not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{path} holds {values.dtype}; save numbers.")
    return values.astype(np.float32)


def _read_numpy(path: Path) -> np.ndarray:
    """The array of a `.npy`, or the only one of a `.npz`. Nothing in it is executed."""
    kind = ".npz" if path.suffix.lower() == ".npz" else ".npy"
    try:
        if kind == ".npy":
            return np.lib.format.open_memmap(path, mode="r")
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            if len(names) == 1:
                return arrays[names[0]]
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception:  # NumPy evaluates the header as Python
        raise ValueError(f"{path} is no {kind} array; it may be damaged.") from None
    raise ValueError(f"{path} holds {len(names)} arrays ({', '.join(names[:5])}); save the map alone.")


def _read_exr(path: Path, layer: str | None) -> np.ndarray:
    channels = read_channels(path)
    found = _depth_channels(list(channels), layer)
    if len(found) == 1:
        return channels[found[0]]
    if found:
        raise ValueError(f"{path} has several maps: {', '.join(found)}; choose one by --layer.")
    if layer is None and {"R", "G", "B"} <= channels.keys():
        return _grey(np.dstack([channels[name] for name in "RGB"]), path)
    wish = "a map needs Y or Z, a layer called Depth, or grey R, G and B" if layer is None else f"none of them is {layer}"
    raise ValueError(f"{path} has channels {', '.join(channels)}; {wish}. Choose one by --layer.")


def _depth_channels(names: list[str], layer: str | None) -> list[str]:
    """Channels that hold the map: those of `layer`, or the plain one, or what Blender and Nuke call so (View.Depth.Z, depth.V)."""
    if layer is not None:
        return [name for name in names if name == layer] or [name for name in names if name.startswith(f"{layer}.")]
    for pattern in ("Y", "Z", r"(.*\.)?depth(\.[zvy])?", r".*\.z"):
        found = [name for name in names if re.fullmatch(pattern, name, re.IGNORECASE)]
        if found:
            return found
    return []
