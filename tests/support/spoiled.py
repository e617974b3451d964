"""Disparity maps as a depth network spoils them, and what the lens makes of them, on scenes of known truth."""

import torch
import torch.nn.functional as F
from torch import Tensor

from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.lens import render
from magicbokeh_ops.synthesis.raytrace import flatten, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers
from magicbokeh_ops.windows import widen

SIZE, K = 256, 16
MARGIN = K + 8
NEAR_EDGES = 8  # pixels


def spoil(disparity: Tensor, blur: int, right: float, down: float) -> Tensor:
    """A map (1, 1, H, W) averaged over `blur` pixels and moved."""
    reach = blur // 2
    disparity = F.avg_pool2d(F.pad(disparity, (reach,) * 4, mode="replicate"), blur, 1)
    height, width = disparity.shape[-2:]
    y = (torch.arange(height) + 0.5 - down) / height * 2 - 1
    x = (torch.arange(width) + 0.5 - right) / width * 2 - 1
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)[None]
    return F.grid_sample(disparity, grid, padding_mode="border", align_corners=False)


def compare(seed: int, maps: dict) -> list[dict[str, tuple[float, float]]]:
    """PSNR near edges and of the whole picture for each of the maps, with the focus on each of a scene's layers."""
    layers = three_layers(SIZE, MARGIN, seed)
    light, exact = flatten(layers)
    photo, exact = linear_to_srgb(light)[None], exact[None]
    tried = {name: make(photo.clamp(max=1), exact) for name, make in maps.items()}
    inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    edges = widen(exact, 2) + widen(-exact, 2) > 0.05
    edges = widen(edges.float(), NEAR_EDGES)[inner] > 0
    middle = SIZE // 2 + MARGIN
    depths = [float(layer.disparity()[0, middle, middle]) for layer in layers]
    results = []
    for focus in depths:
        truth = linear_to_srgb(trace(layers, focus, K, rays_for(K * max(abs(d - focus) for d in depths)))).clamp(max=1)
        scores = {}
        for name, disparity in tried.items():
            picture = render(photo, disparity, focus, K).clamp(max=1)[inner]
            scores[name] = psnr(picture, truth[inner][None], edges), psnr(picture, truth[inner][None])
        results.append(scores)
    return results
