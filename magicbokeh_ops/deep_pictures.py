"""PNG and TIFF photos with 16 or 32 bits per channel, of which Pillow would keep 8: through imagecodecs and tifffile."""

import struct
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from .pictures import open_picture, tiff_tags, turned, upright_exif

PNG_HEADER = 8 + 25  # the signature and the first chunk, IHDR
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by its colour type
BITS, SAMPLES = 258, 277  # tags of TIFF
DESCRIPTIONS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
GREY, GREY_FROM_WHITE, COLOURS = 1, 0, 2  # photometric interpretations


def bits_and_channels(path: Path) -> tuple[int, int]:
    """Bits per channel, and channels, of a PNG or TIFF; 8 bits for any other file."""
    with path.open("rb") as file:
        header = file.read(26)
    if header.startswith(b"\x89PNG") and len(header) == 26:
        return header[24], PNG_CHANNELS.get(header[25], 3)
    tags = tiff_tags(path) if header[:2] in (b"II", b"MM") else {BITS: 8}
    bits = tags.get(BITS, 1)
    return max(bits if isinstance(bits, tuple) else (bits,)), tags.get(SAMPLES, 1)


def is_deep(path: Path) -> bool:
    """Whether a file is a PNG or TIFF with more than 8 bits per channel."""
    return bits_and_channels(path)[0] > 8


def read_deep(path: Path) -> tuple[Tensor, Tensor | None]:
    """A photo, upright: (1, 3, H, W), integers scaled to [0, 1] and floats as they are, and alpha (1, 1, H, W) or None.

    Colours stay in those of the file's profile. Raises ValueError for a file that can't be read, and for other colours than RGB or grey.
    """
    codecs, tifffile = _libraries(path)
    try:
        if _is_png(path):
            values, orientation, from_white = codecs.png_decode(path.read_bytes()), _png_orientation(path), False
            colours = GREY if values.ndim == 2 or values.shape[2] == 2 else COLOURS
        else:
            with tifffile.TiffFile(path) as file:
                page = file.pages[0]
                values, colours = page.asarray(), int(page.photometric)
                orientation = page.tags.valueof(ExifTags.Base.Orientation, 1)
                if page.planarconfig == 2 and values.ndim == 3:
                    values = np.moveaxis(values, 0, -1)
            from_white = colours == GREY_FROM_WHITE
    except MemoryError:
        raise
    except Exception:  # the decoders', of many types
        raise ValueError(f"{path} is not a picture that can be read; it may be damaged.") from None
    if colours not in (GREY, GREY_FROM_WHITE, COLOURS) or values.ndim not in (2, 3):
        raise ValueError(f"{path} is neither RGB nor grey; convert it to RGB.")
    if np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float32) / np.iinfo(values.dtype).max
    values = np.atleast_3d(values.astype(np.float32))
    stored = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, -1, 0)]
    planes: np.ndarray = np.stack([np.array(turned(plane, orientation)) for plane in stored])
    count = 1 if colours != COLOURS else 3
    shown = torch.from_numpy(1 - planes[:count] if from_white else planes[:count])
    alpha = torch.from_numpy(planes[count])[None, None] if len(planes) > count else None
    return shown.expand(3, -1, -1)[None].contiguous(), alpha


def read_deep_metadata(path: Path) -> tuple[bytes | None, bytes | None]:
    """EXIF, upright, and the colour profile, or None. Of a TIFF only its texts, such as the camera's name and the copyright."""
    if _is_png(path):
        picture = open_picture(path)
        return upright_exif(picture), picture.info.get("icc_profile")
    tags = tiff_tags(path)
    exif = Image.Exif()
    for tag in DESCRIPTIONS:
        if tag in tags:
            exif[tag] = tags[tag]
    return (exif.tobytes() if exif else None), tags.get(ExifTags.Base.InterColorProfile)


def write_deep(path: Path, levels: np.ndarray, kind: str, exif: bytes | None, icc_profile: bytes | None) -> None:
    """Write (H, W, 3 or 4), uint16, as `kind` PNG or TIFF."""
    codecs, tifffile = _libraries(path)
    if kind == "PNG":
        content = codecs.png_encode(np.ascontiguousarray(levels))
        further = b"" if icc_profile is None else _chunk(b"iCCP", b"profile\0\0" + zlib.compress(icc_profile))
        further += b"" if exif is None else _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
        path.write_bytes(content[:PNG_HEADER] + further + content[PNG_HEADER:])
        return
    tags = Image.Exif()
    tags.load(exif or b"")
    texts = [
        (tag, "s", 0, str(tags[tag]), True) for tag in DESCRIPTIONS if tag in tags and tag != ExifTags.Base.ImageDescription
    ]
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if levels.shape[2] == 4 else {}
    tifffile.imwrite(
        path,
        levels,
        photometric="rgb",
        compression="zlib",
        predictor=True,
        metadata=None,
        description=tags.get(ExifTags.Base.ImageDescription),
        iccprofile=icc_profile,
        extratags=texts,
        **options,
    )


def _libraries(path: Path) -> tuple[ModuleType, ModuleType]:
    try:
        import imagecodecs
        import tifffile
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path} has more than 8 bits per channel, for which {error.name} is missing: pip install 'magicbokeh[deep]'."
        ) from None
    return imagecodecs, tifffile


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x89PNG"


def _png_orientation(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
