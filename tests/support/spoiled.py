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


def spoil_clip(
    maps: list[Tensor],
    seed: int,
    change: float = 0.05,
    noise: float = 0.01,
    swim: float = 1.0,
    blur: int = 5,
) -> list[Tensor]:
    """Maps (1, 1, H, W) of a clip as a network makes them that sees each frame alone.

    change: by which scale and shift differ from frame to frame, at most and evenly, without a mean over the clip, which nobody could
    know. noise: spread of errors that are 6 pixels wide. swim: pixels by which edges lie beside the true ones, in waves 24 pixels long,
    others in every frame. blur: as for `spoil`.
    """
    generator = torch.Generator().manual_seed(seed)
    scales, shifts = change * (2 * torch.rand(2, len(maps), generator=generator) - 1)
    height, width = maps[0].shape[-2:]

    def waves(channels: int, length: float) -> Tensor:
        """Smooth noise of spread 1."""
        coarse = torch.randn(1, channels, round(height / length) + 3, round(width / length) + 3, generator=generator)
        smooth = F.interpolate(coarse, size=(height, width), mode="bicubic")
        return smooth / smooth.std()

    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    result = []
    for near, scale, shift in zip(maps, scales - scales.mean(), shifts - shifts.mean()):
        beside = torch.stack([x, y], -1) + swim * waves(2, 24)[0].movedim(0, -1)
        grid = beside * 2 / torch.tensor([width, height]) - 1
        moved = F.grid_sample(spoil(near, blur, 0, 0), grid[None], padding_mode="border", align_corners=False)
        result.append((moved * (1 + scale) + shift + noise * waves(1, 6)).clamp(0, 1))
    return result


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
