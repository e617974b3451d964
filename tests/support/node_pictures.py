"""A picture and a map as nodes get them."""

import torch

HEIGHT, WIDTH = 66, 88


def noise(frames=1, height=HEIGHT, width=WIDTH, channels=3):
    return torch.rand(frames, height, width, channels, generator=torch.Generator().manual_seed(0))


def ramp(frames=1, height=HEIGHT, width=WIDTH):
    return torch.linspace(0, 1, width).expand(frames, height, width).clone()
