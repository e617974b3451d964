"""The drawn photos that come with the pack, the picture of an iris, and masks for the demo photo.

python -m benchmarks.demo_photos magicbokeh_ops/assets
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from benchmarks import drawn_scenes
from magicbokeh_ops.defocus import normalize
from magicbokeh_ops.demo import with_disparity

SAMPLES = 4  # along each side of a pixel
# On demo.jpg, x and y in pixels: the model of the shuttle and the helmet, some pixels beside their outlines, as with a brush.
SHUTTLE = (
    "407,-4 428,-4 438,46 446,40 455,76 457,190 459,240 474,272 470,282 366,286 366,276 373,268 367,256 379,236 353,226 355,211"
)
SHUTTLE += " 382,180 384,106 378,60 386,37 397,58"
HELMET = "276,470 284,430 304,385 340,355 378,344 420,343 455,356 482,388 497,430 501,455 512,470 512,516 280,516"


def encoded(values: Tensor, kind: str, **options) -> bytes:
    """A picture (1, 1 or 3, H, W) in 0..1 as a file of 8 bits."""
    levels = (255 * values[0].permute(1, 2, 0)).round().byte().numpy()
    file = io.BytesIO()
    Image.fromarray(levels.squeeze()).save(file, kind, optimize=True, **options)
    return file.getvalue()


def photo(scene: drawn_scenes.Scene, width: int, height: int, has_depth: bool) -> bytes:
    picture, distance = scene.photograph(width, height, SAMPLES)
    jpeg = encoded(picture, "JPEG", quality=88)
    return with_disparity(jpeg, encoded(normalize(1 / distance, "minmax"), "PNG")) if has_depth else jpeg


def heart(side: int = 256, samples: int = 8) -> bytes:
    """(x² + y² - 1)³ <= x² y³, white on black."""
    y, x = np.mgrid[1.3 : -1.3 : side * samples * 1j, -1.3 : 1.3 : side * samples * 1j]
    inside = torch.from_numpy((x * x + y * y - 1) ** 3 <= x * x * y**3).float()
    return encoded(torch.nn.functional.avg_pool2d(inside[None, None], samples), "PNG")


def masks(*outlines: str) -> bytes:
    """Each in a colour of its own: red, green."""
    planes = [Image.new("L", (512, 512)) for _ in range(3)]
    for plane, outline in zip(planes, outlines):
        ImageDraw.Draw(plane).polygon([tuple(map(int, point.split(","))) for point in outline.split()], fill=255)
    file = io.BytesIO()
    Image.merge("RGB", planes).save(file, "PNG", optimize=True)
    return file.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder")
    output = parser.parse_args().output
    # As an 85 mm lens on full frame sees them.
    toys = drawn_scenes.toys()._replace(eye=(1.6, 1.3, -3.4), target=(0.6, 0.6, 3.5), view=18 / 85)
    found = {
        "lamps.jpg": photo(drawn_scenes.lamps(), 512, 512, True),
        "toys.jpg": photo(toys, 640, 427, True),
        "town.jpg": photo(drawn_scenes.city(), 640, 480, False),
        "heart.png": heart(),
        "masks.png": masks(SHUTTLE, HELMET),
    }
    for name, content in found.items():
        (output / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")


if __name__ == "__main__":
    main()
