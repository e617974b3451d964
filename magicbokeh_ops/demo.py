"""The photo that comes with the pack."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ASSETS = Path(__file__).parent / "assets"


def demo_photo() -> tuple[Tensor, Tensor]:
    """Photo (1, 3, 512, 512), sRGB in [0, 1], and its hand-made disparity (1, 1, 512, 512) in [0, 1], 1 = nearest.

    Both are described, with their licence, in assets/README.md.
    """
    with Image.open(ASSETS / "demo.jpg") as photo, Image.open(ASSETS / "demo_disparity.png") as disparity:
        rgb = np.asarray(photo.convert("RGB"), dtype=np.float32) / 255
        near = np.asarray(disparity, dtype=np.float32) / 65535
    return torch.from_numpy(rgb).permute(2, 0, 1)[None], torch.from_numpy(near)[None, None]
