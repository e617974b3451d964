"""Where everything in a picture is in another one: optical flow without a network.

Coarse to fine, TV-L1 (Zach, Pock and Bischof, 2007) with one linear step for all colours: at each size the second picture is warped
by what is known so far, and the rest found as the smallest change that explains what is left of the difference. Differences count by
their size, not their square, so occlusions pull little; so do changes of the flow between neighbours, which leaves its edges sharp,
the more so where the picture has edges itself.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .planes import resize

SMALLEST = 8  # pixels of the shorter side of the coarsest pictures
WARPS, STEPS = 3, 12  # at full size, and twice as many each time that it is halved; steps towards a smooth flow after each warp
TRUST, TIE = 0.7, 0.3  # weight of the pictures; of the tie between a flow that fits them and a smooth one
SAME = 0.02  # difference of sRGB values that counts little
EDGE = 0.05  # of sRGB values


def find_flow(first: Tensor, second: Tensor) -> Tensor:
    """Where each pixel of the first picture is in the second: (B, 2, H, W), in pixels right and down of where it is.

    first, second: (B, 3, H, W) in [0, 1].
    """
    pyramid = [(first, second)]
    while min(pyramid[-1][0].shape[-2:]) >= 2 * SMALLEST:
        size = [(length + 1) // 2 for length in pyramid[-1][0].shape[-2:]]
        pyramid.append((resize(pyramid[-1][0], size), resize(pyramid[-1][1], size)))
    flow = torch.zeros_like(pyramid[-1][0][:, :2])
    for level, (one, other) in reversed([*enumerate(pyramid)]):
        if flow.shape[-2:] != one.shape[-2:]:
            flow = enlarged(flow, one.shape[-2:])
        # A step goes no farther than a fraction of a pixel. Small pictures cost little, and it is there that far motion is found.
        flow = _refined(one, other, flow, WARPS * 2**level)
    return flow


def enlarged(flow: Tensor, size: Sequence[int]) -> Tensor:
    """A flow at another size (height, width), in pixels of that."""
    scale = [new / old for new, old in zip(size, flow.shape[-2:])]
    factor = torch.tensor([scale[1], scale[0]], device=flow.device).view(1, 2, 1, 1)
    return F.interpolate(flow, size=tuple(size), mode="bilinear") * factor


def warp(values: Tensor, flow: Tensor) -> Tensor:
    """What a flow (B, 2, H, W) leads to in values (B, C, H, W); beyond the border lies what is at it."""
    height, width = values.shape[-2:]
    x = torch.arange(width, device=flow.device) + 0.5 + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + 0.5 + flow[:, 1]
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], -1)
    return F.grid_sample(values, grid, padding_mode="border", align_corners=False)


def _refined(first: Tensor, second: Tensor, flow: Tensor, warps: int) -> Tensor:
    channels = first.shape[1]
    planes = torch.cat([second, *_slopes(second)], 1)
    right, down = _ahead(first)
    firm = [torch.exp(-change.abs().amax(1, keepdim=True) / EDGE).clamp(min=0.05) for change in (right, down)]
    force = [torch.zeros_like(flow) for _ in range(2)]
    for _ in range(warps):
        there, along, across = warp(planes, flow).split(channels, 1)
        rest = there - first
        weight = 2 * TRUST * TIE / (rest.square() + SAME**2).sqrt()
        xx, xy, yy = ((weight * a * b).sum(1, keepdim=True) for a, b in ((along, along), (along, across), (across, across)))
        pull = torch.cat([(weight * slope * rest).sum(1, keepdim=True) for slope in (along, across)], 1)
        inverse = 1 / ((1 + xx) * (1 + yy) - xy * xy)
        start, smooth = flow, flow
        for _ in range(STEPS):
            x, y = (smooth - start - pull).split(1, 1)
            fitting = start + torch.cat([(1 + yy) * x - xy * y, (1 + xx) * y - xy * x], 1) * inverse
            smooth = fitting + TIE * _behind(force)
            # Never longer than the firmness of the tie between neighbours.
            force = [one + 0.25 / TIE * change for one, change in zip(force, _ahead(smooth))]
            force = [
                one / (one.square().sum(1, keepdim=True).sqrt() / tie.clamp(min=1e-6)).clamp(min=1)
                for one, tie in zip(force, firm)
            ]
        flow = _median(smooth)
    return flow


def _median(values: Tensor) -> Tensor:
    """The middle value of 3 x 3, (B, C, H, W): of rows in order, that of the largest low, the middle middle and the smallest high one."""
    padded = F.pad(values, (1,) * 4, mode="replicate")
    left, middle, right = padded[..., :-2], padded[..., 1:-1], padded[..., 2:]
    low, high = left.minimum(middle), left.maximum(middle)
    rows = low.minimum(right), _middle(low, high, right), high.maximum(right)
    lows, middles, highs = ((row[..., :-2, :], row[..., 1:-1, :], row[..., 2:, :]) for row in rows)
    lowest, highest = lows[0].maximum(lows[1]).maximum(lows[2]), highs[0].minimum(highs[1]).minimum(highs[2])
    between = _middle(middles[0].minimum(middles[1]), middles[0].maximum(middles[1]), middles[2])
    return _middle(lowest.minimum(highest), lowest.maximum(highest), between)


def _middle(low: Tensor, high: Tensor, other: Tensor) -> Tensor:
    """The middle one of three values, two of which are in order."""
    return low.maximum(high.minimum(other))


def _slopes(values: Tensor) -> tuple[Tensor, Tensor]:
    padded = F.pad(values, (1,) * 4, mode="replicate")
    right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    return right, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def _ahead(values: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the next pixels to the right and down, 0 at the border."""
    right = F.pad(values[..., 1:] - values[..., :-1], (0, 1))
    return right, F.pad(values[..., 1:, :] - values[..., :-1, :], (0, 0, 0, 1))


def _behind(force: list[Tensor]) -> Tensor:
    """The divergence that belongs to `_ahead`."""
    right, down = force
    right, down = right[..., :-1], down[..., :-1, :]
    along = F.pad(right, (0, 1)) - F.pad(right, (1, 0))
    return along + F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0))
