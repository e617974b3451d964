"""A depth map out of a photo, before it is stretched to 0..1."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..pictures import decoded


@dataclass
class Depth:
    """disparity: (h, w), float32, larger = nearer, in `unit` to the power of -1 or of no unit.

    focus, blur: of the phone's own picture where the file says so: the disparity in focus, and the blur radius, in pixels of the
    photo, per difference of disparity.
    """

    disparity: np.ndarray
    text: str
    focus: float | None = None
    blur: float | None = None


def decode(content: bytes, name: str) -> Image.Image:
    """An embedded picture with all its pixels. Raises ValueError if it can't be read."""
    try:
        return decoded(io.BytesIO(content))
    except ValueError:
        raise ValueError(f"{name} is damaged") from None


def levels(picture: Image.Image) -> np.ndarray:
    """Grey values 0..1 (h, w), float32, of 8 or 16 bits. Colours are those of a grey map stored as a colour JPEG."""
    if picture.mode.startswith("I"):
        return np.asarray(picture, dtype=np.float32) / 65535
    return np.asarray(picture.convert("L"), dtype=np.float32) / 255
