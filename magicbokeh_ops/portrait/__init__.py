"""Photos that bring their own depth: portrait photos of phones (`google.py`, `apple.py`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..pictures import HEIF, open_heif, open_picture, orientation_of, picture_to_planes, turned
from . import apple, google
from .depth import Depth, decode
from .jpeg import further_pictures, packets
from .xmp import parse

ULTRA_HDR = b"http://ns.adobe.com/hdr-gain-map/1.0/"
DEPTH_NAMESPACES = (google.GDEPTH.encode(), google.DYNAMIC.encode() + b"depthmap/")


@dataclass
class Portrait:
    """A photo and what its file says of depth.

    image: sRGB (1, 3, H, W) in [0, 1]. alpha: (1, 1, H, W) or None. disparity: (1, 1, h, w) in [0, 1], 1 = nearest, or None.
    matte: (1, 1, h, w) in [0, 1], 1 = the person, or None. focus, k: disparity in focus, and blur radius in pixels of the image at a
    disparity difference of 1, as the phone had them, or None. info: what the file brings, in lines.
    """

    image: Tensor
    alpha: Tensor | None
    disparity: Tensor | None = None
    matte: Tensor | None = None
    focus: float | None = None
    k: float | None = None
    info: str = "no depth map"


def read_portrait(path: Path) -> Portrait:
    """A photo with its depth map: GDepth, Dynamic Depth or Apple's. The photo's orientation turns all of it.

    Of any other picture there is only the image. If the file holds the sharp original of a photo that the phone has blurred, that is
    the image. HEIC needs pillow-heif. Raises ValueError, with the file's name, for a file or a depth map in it that is damaged.
    """
    picture, heif = open_heif(path) if path.suffix.lower() in HEIF else (open_picture(path), None)
    depth: Depth | None = None
    matte: np.ndarray | None = None
    original: bytes | None = None
    try:
        if heif is not None:
            depth, matte = apple.of_heif(heif, path.read_bytes())
        elif picture.format in ("JPEG", "MPO"):
            depth, matte, original = _of_jpeg(picture, path.read_bytes())
        return _portrait(picture, depth, matte, original, path.name)
    except ValueError as error:
        raise ValueError(f"{path.name} can't be used as it is: {error}. Save it again without its depth map.") from None


def _of_jpeg(picture: Image.Image, content: bytes) -> tuple[Depth | None, np.ndarray | None, bytes | None]:
    segments = b"".join(segment for _, segment in getattr(picture, "applist", []))
    if any(namespace in segments for namespace in DEPTH_NAMESPACES):
        roots = [parse(packet) for packet in packets(picture)]
        depth, original = google.gdepth(roots, max(picture.size))
        return (depth, None, original) if depth is not None else google.dynamic_depth(roots, content)
    try:
        return *apple.of_jpeg(further_pictures(picture, content)), None
    except ValueError:
        if ULTRA_HDR in segments:  # tools leave its index behind when they drop the gain map
            return None, None, None
        raise


def _portrait(
    picture: Image.Image, depth: Depth | None, matte: np.ndarray | None, original: bytes | None, name: str
) -> Portrait:
    orientation = orientation_of(picture)
    photo, info = turned(picture, orientation), []
    if original is not None:
        sharp = decode(original, "the original in it")
        sharp.info.setdefault("icc_profile", picture.info.get("icc_profile"))
        photo = turned(sharp, orientation_of(sharp, orientation))
        info.append("photo: the original, from before the phone's blur")
    portrait = Portrait(*picture_to_planes(photo, name))

    def to_map(values: np.ndarray) -> Tensor:
        plane = Image.fromarray(values)
        # libheif turns what is in a HEIC by itself, but maps only if the file says so of each.
        turn = picture.info.get("original_orientation", 1) if _across(plane, photo) else 1
        upright = np.array(turned(plane, orientation if "original_orientation" not in picture.info else turn))
        return torch.from_numpy(upright)[None, None]

    if depth is not None:
        info.append(depth.text)
        low, high = float(depth.disparity.min()), float(depth.disparity.max())
        if not low < high:
            raise ValueError("its depth map is the same everywhere")
        portrait.disparity = to_map((depth.disparity - low) / (high - low))
        if depth.focus is not None and depth.blur is not None:
            portrait.focus = min(max((depth.focus - low) / (high - low), 0.0), 1.0)
            portrait.k = depth.blur * (high - low) * max(photo.size) / max(picture.size)
            info.append(f"the phone's blur: focus {portrait.focus:.3f}, k {portrait.k:.1f}")
    if matte is not None:
        info.append(f"portrait matte: {matte.shape[1]} x {matte.shape[0]}")
        portrait.matte = to_map(matte)
    portrait.info = "\n".join(info) or portrait.info
    return portrait


def _across(plane: Image.Image, photo: Image.Image) -> bool:
    """Whether one lies and the other stands."""
    return (plane.width - plane.height) * (photo.width - photo.height) < 0
