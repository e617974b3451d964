"""Pictures and masks of every awkward kind."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

GOLDEN = Path(__file__).resolve().parents[2] / "parity" / "golden"


def ramp(frames=1, height=48, width=64):
    return torch.linspace(0, 1, width).expand(frames, height, width).clone()


def noise(frames=1, height=48, width=64, channels=3):
    return torch.rand(frames, height, width, channels, generator=torch.Generator().manual_seed(0))


def golden(name, folder="inputs"):
    picture = Image.open(GOLDEN / folder / name).convert("RGB")
    return torch.from_numpy(np.array(picture, dtype=np.float32))[None] / 255


IMAGES = {
    "photo": noise,
    "batch of 3": lambda: noise(3),
    "batch of 3 that stands still": lambda: noise().repeat(3, 1, 1, 1),
    "batch of 100": lambda: noise(100, 64, 64),
    "rgba": lambda: noise(channels=4),
    "daylight with a lamp": lambda: noise() * 5 + 500 * (ramp() > 0.98)[..., None],
    "half": lambda: noise().half(),
    "odd": lambda: noise(1, 37, 53),
    "3 megapixels": lambda: noise(1, 30, 40).repeat(1, 50, 50, 1),
    "12 megapixels": lambda: noise(1, 30, 40).repeat(1, 100, 100, 1),
    "grey depth": lambda: ramp()[..., None].expand(-1, -1, -1, 3),
    "with NaN": lambda: noise().index_fill(1, torch.tensor([3]), float("nan")),
    "half white": lambda: (ramp() < 0.5).float()[..., None].expand(-1, -1, -1, 3),
    "dark with a soft edge": lambda: (0.8 - 0.6 * ((0.645 - ramp()) / 0.2).clamp(0, 1))[..., None].expand(-1, -1, -1, 3),
    "one channel": lambda: noise(channels=1),
    "channels first": lambda: noise().movedim(-1, 1),
    "golden": lambda: golden("image.png"),
    "golden depth": lambda: golden("img_167x251_in126.png", "depth"),
    "fading golden depth": lambda: golden("img_167x251_in126.png", "depth") * torch.tensor([1, 0.5]).view(2, 1, 1, 1),
    "bytes": lambda: (noise() * 255).round(),
    "uint8": lambda: (noise() * 255).round().byte(),
    "no frames": lambda: noise(0),
    "one wide": lambda: noise(1, 64, 1),
    "golden tile": lambda: golden("image.png")[:, 64:576, 100:612],
    "golden corner": lambda: golden("image.png")[:, 64:320, 100:356],
}
MASKS = {
    "ramp": ramp,
    "batch of 2": lambda: ramp(2),
    "batch of 3": lambda: ramp(3),
    "jumping": lambda: ramp(5) * torch.tensor([0.8, 1, 0.8, 1, 0.8]).view(-1, 1, 1),
    "small": lambda: ramp(1, 12, 16),
    "two-dimensional": lambda: ramp()[0],
    "half": lambda: ramp().half(),
    "empty 64": lambda: torch.zeros(1, 64, 64),
    "left half": lambda: (ramp() < 0.5).float(),
    "soft edge": lambda: ((0.645 - ramp()) / 0.2).clamp(0, 1)[:, ::2, ::2],
    "with NaN": lambda: ramp().index_fill(1, torch.tensor([3]), float("nan")),
    "metres": lambda: 1 + 9 * ramp(),
    "one": lambda: torch.ones(1, 48, 64),
    "bytes": lambda: (ramp() * 255).round(),
    "uint8": lambda: (ramp() * 255).round().byte(),
    "square": lambda: ramp(1, 48, 48),
    "no frames": lambda: ramp(0),
    "nothing": lambda: torch.zeros(1, 64, 64),
    "golden": lambda: golden("depth_u8.png")[..., 0],
    "golden tile": lambda: golden("depth_u8.png")[:, 64:576, 100:612, 0],
    "golden corner": lambda: golden("depth_u8.png")[:, 64:320, 100:356, 0],
    "blocks": lambda: noise(1, 3, 4)[..., 0].repeat_interleave(1000, 1).repeat_interleave(1000, 2),
}
