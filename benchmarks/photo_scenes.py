"""Scenes made of photographs that nano has not seen, by another generator than it learns from.

python -m benchmarks.photo_scenes PHOTOS OUTPUT

PHOTOS holds the four of `HELD_OUT`. Other shapes (superellipses, lattices, blades) at other places, another blur (each layer by itself
through a disc, the nearer over the farther, in linear light) and other flaws (Pillow's sizes and JPEG, noise that grows with the light)
than those of `synthesis`. OUTPUT becomes a folder as `magicbokeh evaluate` takes it, with `sharp/` besides.
"""

import argparse
import io
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from magicbokeh_ops import files
from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear
from magicbokeh_ops.defocus import defocus_map, focus_mask

HELD_OUT = ("elementary_victor-svistunov.jpg", "lomiri_picosdeeuropa.jpg", "skimage_astronaut.png", "skimage_coffee.png")
COUNT, SIDE, K_LIMIT = 64, 256, 32
FULL = SIDE + 2 * K_LIMIT  # with what the blur reaches


def crop(photos: list[Image.Image], rng: np.random.Generator) -> np.ndarray:
    """A square of a photo that is made 2 to 4 times smaller, or less if it is small, in linear light; lamps in one of four."""
    photo = photos[rng.integers(len(photos))]
    factor = min(rng.uniform(2, 4), min(photo.size) / FULL)
    small = photo.resize([round(side / factor) for side in photo.size], Image.Resampling.BOX)
    left, top = (rng.integers(side - FULL + 1) for side in small.size)
    square = np.asarray(small.crop((left, top, left + FULL, top + FULL)), dtype=np.float32) / 255
    if rng.random() < 0.5:
        square = square[:, ::-1]
    light = srgb_to_linear(torch.from_numpy(square.copy())).numpy()
    if rng.random() < 0.25:
        light *= 1 + rng.uniform(1, 8) * (light.min(-1, keepdims=True) > 0.85)
    return light


def shape(rng: np.random.Generator) -> np.ndarray:
    """Coverage (FULL, FULL) of something drawn with one pixel of softness at its edges."""
    y, x = np.mgrid[:FULL, :FULL] - FULL * rng.uniform(0.3, 0.7, (2, 1, 1))
    angle = rng.uniform(0, math.tau)
    x, y = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    size = SIDE * rng.uniform(0.12, 0.4)
    kind = rng.choice(3, p=(0.6, 0.15, 0.25))
    if kind == 0:  # superellipse
        flat, power = rng.uniform(0.4, 1), rng.uniform(0.8, 5)
        distance = (np.abs(x / size) ** power + np.abs(y / (flat * size)) ** power) ** (1 / power)
        return (0.5 + size * flat * (1 - distance)).clip(0, 1)
    if kind == 1:  # lattice
        pitch, width = rng.uniform(20, 60), rng.uniform(1.5, 8)
        lines = [width / 2 - np.abs(np.remainder(axis, pitch) - pitch / 2) for axis in (x, y)][: rng.integers(1, 3)]
        return (0.5 + np.max(lines, axis=0)).clip(0, 1)
    cover = np.zeros((FULL, FULL))  # blades of grass
    for _ in range(rng.integers(8, 40)):
        root, bend, width = rng.normal(0, size / 2), rng.uniform(-0.004, 0.004), rng.uniform(1, 5)
        tip = rng.uniform(-1, 0.2) * size
        own = width * (1 - (size - y) / (size - tip)).clip(0, 1) - np.abs(x - root - bend * (y - size) ** 2)
        cover = np.maximum(cover, (0.5 + own).clip(0, 1) * (y > tip) * (y < size))
    return cover


def blurred(planes: Tensor, radius: float) -> Tensor:
    """Planes (C, H, W) through a disc."""
    reach = math.ceil(radius + 0.5)
    offset = torch.arange(-reach, reach + 1.0)
    disc = (radius + 0.5 - torch.hypot(offset[:, None], offset)).clamp(0, 1)
    padded = F.pad(planes[:, None], [reach] * 4, mode="replicate")
    return F.conv2d(padded, (disc / disc.sum())[None, None])[:, 0]


def photograph(layers: list[tuple[Tensor, Tensor, float]], focus: float, k: float) -> Tensor:
    """Linear light (3, H, W) of layers from far to near: colour, coverage, disparity."""
    light = torch.zeros_like(layers[0][0])
    for color, cover, disparity in layers:
        planes = blurred(torch.cat([color * cover, cover]), k * abs(disparity - focus))
        light = planes[:3] + (1 - planes[3:]) * light
    return light


def degraded(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A worse version (H, W, 3) of an 8-bit picture."""
    height, width = picture.shape[:2]
    scale = rng.uniform(1, 1.5)
    size = round(width / scale), round(height / scale)
    values = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255
    spread = np.sqrt(rng.uniform(0.005, 0.06) ** 2 + rng.uniform(0, 0.05) ** 2 * values)
    noise = rng.normal(size=values.shape[:2] + (1 if rng.random() < 0.4 else 3,))
    noisy = ((values + spread * noise).clip(0, 1) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=int(rng.integers(60, 97)))
    return np.asarray(Image.open(file).resize((width, height), Image.Resampling.BICUBIC))


def make(photos: list[Image.Image], number: int) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float]]:
    """Photos, maps and settings of scene `number`, by folder."""
    rng = np.random.default_rng([7, number])
    count = rng.integers(2, 5)
    near = np.sort(rng.uniform(0.02, 0.98, count))
    layers = []
    for i, disparity in enumerate(near):
        cover = torch.from_numpy(shape(rng)).float() if i else torch.ones(FULL, FULL)
        layers.append((torch.from_numpy(crop(photos, rng)).movedim(-1, 0), cover[None], float(disparity)))
    focus, k = float(rng.choice(near)), float(rng.uniform(8, K_LIMIT))
    top = torch.full((1, FULL, FULL), layers[0][2])
    for _, cover, disparity in layers[1:]:
        top = torch.where(cover > 0.5, disparity, top)
    inner = slice(K_LIMIT, K_LIMIT + SIDE)
    disparity = top[None, :, inner, inner]
    sharp, bokeh = (
        linear_to_srgb(photograph(layers, focus, radius)[None, :, inner, inner]).clamp(max=1) for radius in (0.0, k)
    )
    levels = (sharp[0].movedim(0, -1) * 255).round().byte().numpy()
    bad = torch.from_numpy(degraded(levels, rng).copy()).movedim(-1, 0)[None] / 255
    maps = {"disparity": disparity, "mask": focus_mask(defocus_map(disparity, focus, k))}
    return {"input": bad, "gt": bokeh, "sharp": sharp}, maps, {"k": k, "focus": focus}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    photos = [Image.open(args.photos / name).convert("RGB") for name in HELD_OUT]
    for folder in ("input", "gt", "sharp", "disparity", "mask"):
        (args.output / folder).mkdir(parents=True)
    settings: dict[str, dict[str, float]] = {}
    number = 0
    with tqdm(total=COUNT) as bar:
        while len(settings) < COUNT:
            pictures, maps, shot = make(photos, number)
            number += 1
            if maps["mask"].unique().numel() < 2:  # nothing in focus, or nothing out of it
                continue
            name = f"{len(settings):04}"
            for folder, picture in pictures.items():
                files.write_photo(args.output / folder / f"{name}.png", picture)
            for folder, plane in maps.items():
                files.write_map(args.output / folder / f"{name}.png", plane)
            settings[name] = shot
            bar.update()
    (args.output / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
