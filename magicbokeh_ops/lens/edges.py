"""Pixels on a depth edge, split into the two surfaces that they show."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..windows import widen

EDGE = 1.5  # pixels of blur radius by which two surfaces must differ to be two surfaces
NOTHING = 0.05  # share of a pixel below which it is all of the other surface
EDGE_REACH, WINDOW_REACH = 2, 3
CONTEXT = EDGE_REACH + WINDOW_REACH  # pixels around one that what becomes of it depends on
PIXELS_AT_ONCE = 32768


@dataclass(frozen=True)
class Split:
    """What a photo shows, all (C, H, W): the near and the far surface of every pixel, the near one's weight the share of it."""

    near_color: Tensor
    near_weight: Tensor
    near_radius: Tensor
    far_color: Tensor
    far_radius: Tensor


def split_edges(light: Tensor, radius: Tensor, report: Callable[[], None]) -> Split:
    """Near and far surface of a photo's pixels.

    Around a depth edge the pixel's colour I is taken as a F + (1 - a) B: F and B are means over the window's near and
    far pixels, best those well inside their side, and a is the least-squares mix, held to the share of near pixels
    around it as far as F and B are close or uncertain. F and B are then moved so that the mix is exact: no light is lost.
    Elsewhere the near surface is the pixel.

    light: (C, H, W), linear. radius: (1, H, W), signed.
    """
    light, radius = light.contiguous(), radius.contiguous()  # pixels are written by their number
    channels, height, width = light.shape
    near_color, far_color = light.clone(), light.clone()
    near_weight = torch.ones_like(radius)
    size = 2 * EDGE_REACH + 1
    nearest = widen(radius[None], EDGE_REACH)[0]
    report()
    farthest = -widen(-radius[None], EDGE_REACH)[0]
    report()
    edge = (nearest - farthest) >= EDGE
    # Steps of 8-bit disparity within a surface would show as contour lines.
    mean = F.avg_pool2d(radius[None], size, 1, EDGE_REACH, count_include_pad=False)[0]
    radius = torch.where(edge, radius, mean)
    near_radius, far_radius = radius.clone(), radius.clone()
    edges = edge.flatten().nonzero()[:, 0]
    threshold = ((nearest + farthest) / 2).flatten()[edges]
    del nearest, farthest, mean, edge

    size = 2 * WINDOW_REACH + 1
    padded = F.pad(torch.cat([light, radius])[None], (WINDOW_REACH,) * 4, mode="replicate")[0].flatten(1)
    step = torch.arange(size, device=light.device)
    window = step[:, None] * (width + 2 * WINDOW_REACH) + step
    distance2 = ((step - WINDOW_REACH) ** 2)[:, None] + (step - WINDOW_REACH) ** 2
    closeness = torch.exp(-distance2 / 4.5)
    share = torch.exp(-distance2 / 2.0)
    share = share / share.sum()
    for pixels, between in zip(edges.split(PIXELS_AT_ONCE), threshold.split(PIXELS_AT_ONCE)):
        report()
        corner = pixels // width * (width + 2 * WINDOW_REACH) + pixels % width
        samples = padded[:, corner[:, None, None] + window]  # (C + 1, pixels, size, size)
        is_near = (samples[-1] > between[:, None, None]).to(light)
        inside = F.avg_pool2d(is_near[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
        near, near_spread = _window_mean(samples, is_near * inside * closeness)
        far, far_spread = _window_mean(samples, (1 - is_near) * (1 - inside) * closeness)
        color, across = light.view(channels, -1)[:, pixels], near[:-1] - far[:-1]
        doubt = 0.1 + 3 * (near_spread + far_spread)
        prior = (is_near * share).sum((1, 2))
        mix = (((color - far[:-1]) * across).sum(0) + doubt * prior) / ((across**2).sum(0) + doubt)
        mix = torch.where(mix < NOTHING, 0, torch.where(mix > 1 - NOTHING, 1, mix))
        miss = (color - mix * near[:-1] - (1 - mix) * far[:-1]) / (mix**2 + (1 - mix) ** 2)
        behind = (far[:-1] + (1 - mix) * miss).clamp(min=0).minimum(color / (1 - mix).clamp(min=NOTHING))
        far_color.view(channels, -1)[:, pixels] = behind
        near_color.view(channels, -1)[:, pixels] = (color - (1 - mix) * behind) / mix.clamp(min=NOTHING)
        near_weight.view(-1)[pixels] = mix
        near_radius.view(-1)[pixels] = near[-1]
        far_radius.view(-1)[pixels] = far[-1]
    return Split(near_color, near_weight, near_radius, far_color, far_radius)


def _window_mean(samples: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean (C + 1, N) of samples (C + 1, N, h, w), and the colours' summed variance (N,)."""
    weight = weight / weight.sum((1, 2), keepdim=True).clamp(min=1e-9)
    mean = (samples * weight).sum((2, 3))
    spread = ((samples[:-1] - mean[:-1, :, None, None]) ** 2 * weight).sum((0, 2, 3))
    return mean, spread
