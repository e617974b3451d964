"""The photo and the small model that come with the pack."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ASSETS = Path(__file__).parent / "assets"
# Trained on drawn scenes only (docs/nano.md): it shows what the model does, not how well. Never taken unless asked for.
NANO = ASSETS / "magicbokeh-nano.safetensors"
NANO_LABEL = "nano, demonstration"


def demo_photo() -> tuple[Tensor, Tensor]:
    """Photo (1, 3, 512, 512), sRGB in [0, 1], and its hand-made disparity (1, 1, 512, 512) in [0, 1], 1 = nearest.

    Both are described, with their licence, in assets/README.md.
    """
    with Image.open(ASSETS / "demo_disparity.png") as disparity:
        near = np.asarray(disparity, dtype=np.float32) / 65535
    return _read("demo.jpg"), torch.from_numpy(near)[None, None]


def noisy_demo_photo() -> Tensor:
    """The same photo as it might come from a phone in poor light: noisy, soft, compressed."""
    return _read("demo_noisy.jpg")


def _read(name: str) -> Tensor:
    with Image.open(ASSETS / name) as photo:
        rgb = np.asarray(photo.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(rgb).permute(2, 0, 1)[None]
