"""Edge matting: pixels on a depth edge, split into the two surfaces that they show.

Colours and share of the near and the far surface are estimated from the window around a pixel. Left as they are, the mixed pixels
of a rim give bright or dark outlines. Beside light above white a mean says little: there the likeliest of a few shares is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..windows import widen

EDGE = 1.5  # pixels of blur radius by which two surfaces must differ to be two surfaces
NOTHING = 0.05  # share of a pixel below which it is all of the other surface
EDGE_REACH, WINDOW_REACH = 2, 3
SIDE = 2 * WINDOW_REACH + 1
CONTEXT = EDGE_REACH + WINDOW_REACH  # pixels around one that what becomes of it depends on
PIXELS_AT_ONCE = 16384  # few enough for the processor's cache
SHARES = 16  # of a pixel beside light above white that are tried
UNSURE = 0.02  # standard deviation of a colour beside light above white that is always allowed for, and 0.05 of the colour


@dataclass(frozen=True)
class Split:
    """What a photo shows, all (C, H, W): the near and the far surface of every pixel, the near one's weight the share of it.

    shown: where the near and the far one (1, H, W) are photographed, if not everywhere. within: where that may be seen.
    """

    near_color: Tensor
    near_weight: Tensor
    near_radius: Tensor
    far_color: Tensor
    far_radius: Tensor
    shown: tuple[Tensor, Tensor] | None = None
    within: Tensor | None = None


def split_edges(light: Tensor, radius: Tensor, has_lamps: bool, report: Callable[[], None]) -> Split:
    """Near and far surface of a photo's pixels. Away from depth edges the near surface is the pixel.

    light: (C, H, W), linear. radius: (1, H, W), signed. has_lamps: whether what is above 1 is light of the photo's own.
    """
    light, radius = light.contiguous(), radius.contiguous()  # pixels are written by their number
    nearest = widen(radius[None], EDGE_REACH)[0]
    report()
    farthest = -widen(-radius[None], EDGE_REACH)[0]
    report()
    edge = (nearest - farthest) >= EDGE
    # Steps of 8-bit disparity within a surface would show as contour lines.
    mean = F.avg_pool2d(radius[None], 2 * EDGE_REACH + 1, 1, EDGE_REACH, count_include_pad=False)[0]
    radius = torch.where(edge, radius, mean)
    pixels = edge.flatten().nonzero()[:, 0]
    between = ((nearest + farthest) / 2).flatten()
    beside = pixels[:0]
    if has_lamps:
        bright = (light.amax(0, keepdim=True) > 1).to(light)
        beside = (edge & (widen(bright[None], WINDOW_REACH)[0] > 0)).flatten().nonzero()[:, 0]
    del nearest, farthest, mean, edge

    split = Split(light.clone(), torch.ones_like(radius), radius.clone(), light.clone(), radius.clone())
    planes = [split.near_color, split.near_weight, split.near_radius, split.far_color, split.far_radius]
    windows = _Windows(torch.cat([light, radius, (light**2).sum(0, keepdim=True)]))
    colors = light.flatten(1)
    for places, unmixed in ((pixels, _unmix), (beside, _unmix_lamps)):
        for some in places.split(PIXELS_AT_ONCE):
            report()
            for plane, values in zip(planes, unmixed(colors[:, some], windows.around(some), between[some])):
                plane.view(len(plane), -1)[:, some] = values
    return split


class _Windows:
    """Squares of pixels around others, of planes (C, H, W)."""

    def __init__(self, planes: Tensor):
        self.width = planes.shape[-1]
        self.padded_width = self.width + 2 * WINDOW_REACH
        self.padded = F.pad(planes[None], (WINDOW_REACH,) * 4, mode="replicate")[0].flatten(1).T.contiguous()
        step = torch.arange(SIDE, device=planes.device)
        self.offsets = (step[:, None] * self.padded_width + step).flatten()

    def around(self, pixels: Tensor) -> Tensor:
        """(N, SIDE * SIDE, C) around pixels (N,), given by their number."""
        corner = pixels // self.width * self.padded_width + pixels % self.width
        places = (corner[:, None] + self.offsets).flatten()
        return self.padded.index_select(0, places).view(len(pixels), SIDE**2, self.padded.shape[1])


def _unmix(color: Tensor, window: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Near colour (C, N), the share of it (1, N), its radius (1, N), far colour and radius of pixels on an edge.

    A pixel's colour I is taken as a F + (1 - a) B: F and B are means over the window's near and far pixels, best those well inside
    their side, and a is the least-squares mix, held to the share of near pixels around it as far as F and B are close or
    uncertain. F and B are then moved so that the mix is exact: no light is lost.
    color: (C, N). window: (N, SIDE * SIDE, C + 2), light, radius and the light's square. threshold: radius (N,) between near and far.
    """
    closeness, share, around = _weights(window)
    is_near = (window[..., -2] > threshold[:, None]).to(color)
    inside = is_near @ around
    weights = torch.stack([is_near * inside * closeness, (1 - is_near) * (1 - inside) * closeness], 1)
    (near, far), (near_spread, far_spread) = _window_means(window, weights)
    across = near[:-1] - far[:-1]
    doubt = 0.1 + 3 * (near_spread + far_spread)
    mix = (((color - far[:-1]) * across).sum(0) + doubt * (is_near @ share)) / ((across**2).sum(0) + doubt)
    mix = torch.where(mix < NOTHING, 0, torch.where(mix > 1 - NOTHING, 1, mix))
    miss = (color - mix * near[:-1] - (1 - mix) * far[:-1]) / (mix**2 + (1 - mix) ** 2)
    behind = (far[:-1] + (1 - mix) * miss).clamp(min=0).minimum(color / (1 - mix).clamp(min=NOTHING))
    front = (color - (1 - mix) * behind) / mix.clamp(min=NOTHING)
    return front, mix[None], near[-1:], behind, far[-1:]


def _weights(window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of a window's pixels by their distance from its middle: for a mean (SIDE * SIDE,), for a share, whose sum is 1.

    And the matrix that takes a window (N, SIDE * SIDE) to the means over each pixel and those that touch it.
    """
    step = torch.arange(-WINDOW_REACH, WINDOW_REACH + 1, device=window.device)
    places = torch.cartesian_prod(step, step)
    distance2 = (places**2).sum(1)
    share = torch.exp(-distance2 / 2.0)
    touching = ((places[:, None] - places).abs().amax(2) <= 1).to(window)
    return torch.exp(-distance2 / 4.5), share / share.sum(), touching / touching.sum(0)


def _unmix_lamps(color: Tensor, window: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What `_unmix` gives, for pixels beside a lamp, which a mean of its surroundings does not describe.

    F and B have a variance each, and a is the likeliest of a few shares. A pixel that is like one of its own side is that, however
    bright a lamp on the other side is. What a mix leaves over goes to the side that is less certain: a lamp's rim to the lamp.
    """
    closeness, share, _ = _weights(window)
    is_near = (window[..., -2] > threshold[:, None]).to(color)
    near, near_variance, unlike_near = _side(color, window, is_near, closeness)
    far, far_variance, unlike_far = _side(color, window, 1 - is_near, closeness)
    prior = is_near @ share
    mixes = torch.linspace(0, 1, SHARES + 1, device=color.device)[:, None]
    variance = mixes**2 * near_variance + (1 - mixes) ** 2 * far_variance
    misses = color[:, None] - mixes * near[:-1, None] - (1 - mixes) * far[:-1, None]
    unlike = (misses**2).sum(0) / variance + len(color) * variance.log()
    unlike[0], unlike[-1] = unlike_far.minimum(unlike[0]), unlike_near.minimum(unlike[-1])
    best = (unlike + 4 * (mixes - prior) ** 2).argmin(0, keepdim=True)
    mix = mixes[best[0]].T
    miss = misses.gather(1, best.expand(len(color), 1, -1))[:, 0] / variance.gather(0, best)
    behind = (far[:-1] + (1 - mix) * far_variance * miss).clamp(min=0).minimum(color / (1 - mix).clamp(min=NOTHING))
    front = (color - (1 - mix) * behind) / mix.clamp(min=NOTHING)
    return front, mix, near[-1:], behind, far[-1:]


def _side(color: Tensor, window: Tensor, is_on_it: Tensor, closeness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C + 1, N) of one side of a window, its variance (N,), and how unlike any pixel of it a colour is (N,)."""
    # Pixels that touch the other side hold some of its light; they count where there are no others.
    inside = -F.max_pool2d(-is_on_it.view(-1, 1, SIDE, SIDE), 3, 1, 1).flatten(1)
    counts = inside.where(inside.amax(1, keepdim=True) > 0, is_on_it) > 0
    (mean,), (spread,) = _window_means(window, (counts * closeness)[:, None])
    colors = window[..., : len(color)]
    doubt = (UNSURE + 0.05 * colors.amax(2)) ** 2
    unlike = ((color.T[:, None] - colors) ** 2).sum(2) / doubt + len(color) * doubt.log()
    nearest = unlike.masked_fill(~counts, torch.inf).amin(1)
    return mean, spread / len(color) + (UNSURE + 0.05 * mean[:-1].amax(0)) ** 2, nearest


def _window_means(window: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted means (S, C + 1, N) of windows, and the colours' summed variances (S, N). weights: (N, S, SIDE * SIDE)."""
    means = (weights / weights.sum(2, keepdim=True).clamp(min=1e-9)) @ window
    spread = means[..., -1] - (means[..., :-2] ** 2).sum(2)
    return means[..., :-1].permute(1, 2, 0), spread.clamp(min=0).T
