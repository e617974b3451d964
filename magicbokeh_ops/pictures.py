"""Picture files as Pillow opens them, and as planes: upright and in sRGB."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin
from torch import Tensor

HEIF = (".heic", ".heif")
# What brings a picture of each EXIF orientation upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Image.MAX_IMAGE_PIXELS = 2**29  # phones make 200 megapixels, which Pillow takes for an attack


def open_picture(path: Path) -> Image.Image:
    """A picture with all its pixels, as they are stored (see `upright`).

    HEIC needs pillow-heif. Raises ValueError for a file that can't be read, FileNotFoundError and PermissionError as they come.
    """
    if path.suffix.lower() in HEIF:
        return open_heif(path)[0]
    try:
        return decoded(path)
    except ValueError:
        if tiff_tags(path):
            raise ValueError(f"{path} is a TIFF of a kind that can't be read; save it with 8 bits per channel.") from None
        raise ValueError(f"{path} is not a picture that can be read; it may be damaged.") from None


def decoded(source: Path | io.BytesIO) -> Image.Image:
    """A picture with all its pixels. Raises ValueError for one that can't be read; what the disk or the memory lacks is raised as it is."""
    try:
        picture = Image.open(source)
        picture.load()
        picture.getexif()  # which is read only now
        return picture
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception:  # Pillow's decoders raise whatever they come across
        raise ValueError("not a picture that can be read") from None


def open_heif(path: Path) -> tuple[Image.Image, Any]:
    """A HEIC file as Pillow's picture, turned as its container says, and as pillow-heif's. Raises ValueError as `open_picture`."""
    try:
        import pillow_heif
    except ModuleNotFoundError:
        raise ValueError(f"{path} is HEIC, which needs pillow-heif: pip install pillow-heif, or export it as JPEG.") from None
    try:
        heif = pillow_heif.read_heif(path)
        picture = heif.to_pillow()
        picture.getexif()
        return picture, heif
    except (FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception:  # libheif's, of several types
        raise ValueError(f"{path} is not a HEIC picture that can be read; it may be damaged.") from None


def orientation_of(picture: Image.Image, otherwise: int = 1) -> int:
    """1 to 8, as EXIF counts them. otherwise: if it does not say."""
    return picture.getexif().get(ExifTags.Base.Orientation, otherwise)


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture as it is seen, of one that is stored in this EXIF orientation."""
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF says."""
    return turned(picture, orientation_of(picture))


def upright_exif(picture: Image.Image) -> bytes | None:
    """Its EXIF as it is for the picture brought upright, beginning with Exif, or None if it has none."""
    exif = picture.getexif()
    exif.pop(ExifTags.Base.Orientation, None)
    return exif.tobytes() if exif else None


def picture_to_planes(picture: Image.Image, name: str) -> tuple[Tensor, Tensor | None]:
    """sRGB (1, 3, H, W) in [0, 1], by the colour profile of the picture, and alpha (1, 1, H, W) or None.

    name: what an error calls it. Raises ValueError for floats of no known range, and for a profile that can't be used.
    """
    if picture.mode == "F":
        raise ValueError(f"{name} has floating-point pixels; save it as PNG or JPEG.")
    if picture.mode.startswith("I"):  # grey, of 16 bits
        grey = torch.from_numpy(np.array(picture, dtype=np.float32)) / 65535
        return grey.expand(1, 3, -1, -1).contiguous(), None
    rgb = picture.convert("RGB")
    if picture.info.get("icc_profile"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
            own = {"GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.strip())
            source = picture if picture.mode == own else rgb
            converted = ImageCms.profileToProfile(source, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError) as error:
            raise ValueError(f"{name} has a colour profile that can't be used ({error}); convert it to sRGB.") from None
        rgb = converted or rgb
    alpha = None
    if picture.has_transparency_data:
        alpha = torch.from_numpy(np.array(picture.convert("RGBA"), dtype=np.float32)[..., 3])[None, None] / 255
    return torch.from_numpy(np.array(rgb, dtype=np.float32)).permute(2, 0, 1)[None] / 255, alpha


def tiff_tags(path: Path) -> dict[int, Any]:
    """The tags of a TIFF whose directory is there, though its pixels may be of a kind that Pillow does not know; of others none."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
            file.seek(directory.next)
            directory.load(file)
            is_picture = TiffImagePlugin.STRIPOFFSETS in directory or TiffImagePlugin.TILEOFFSETS in directory
            return dict(directory) if is_picture else {}
    except Exception:  # as of Pillow's decoders
        return {}
