"""Convolutions of large pictures in strips of rows, so that neither what they are given nor PyTorch's own copies are ever whole.

They give what the whole convolution gives, to rounding, and are for inference: nothing is recorded for gradients.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Values of one picture that a layer works on at once; more in pictures that would need very many strips.
STRIP, MOST_STRIPS = 2**21, 64
# Where rows of a 3 x 3 kernel meet the same one of two rows, for the upper and the lower row that a row becomes.
MEET = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])


def strip_rows(x: Tensor) -> int:
    """Rows, an even number, of a strip of pictures (B, C, H, W)."""
    _, channels, height, width = x.shape
    return 2 * max(1, STRIP // (channels * width) // 2, height // MOST_STRIPS // 2)


def takes_strips(layer: nn.Module, x: Tensor) -> TypeGuard[nn.Conv2d]:
    """Whether the picture is large, nothing is to be learned, and no LoRA is around the layer."""
    return x[0].numel() > STRIP and type(layer) is nn.Conv2d and not torch.is_grad_enabled()


def activated(conv: nn.Module, norm: nn.GroupNorm, x: Tensor, in_place: bool = False) -> Tensor:
    """conv(silu(norm(x))) of pictures (B, C, H, W). in_place: of as many channels as x, which may be overwritten."""
    if not takes_strips(conv, x):
        return conv(F.silu(norm(x), inplace=True))
    n, channels, height, width = x.shape
    shared = channels // norm.num_groups
    # Written to one tensor: were they kept, they would lie between the groups' large results in memory, and glibc would take
    # new memory for each of those.
    moments = torch.empty(2, n, norm.num_groups, device=x.device)
    for i, group in enumerate(x.split(shared, 1)):
        group = group.float().contiguous()  # halves would round the mean
        moments[..., i : i + 1] = torch.stack(
            torch.native_group_norm(group, None, None, n, shared, height * width, 1, norm.eps)[1:]
        )
    means, spreads = moments.repeat_interleave(shared, 2)
    scale = norm.weight * spreads
    shift = norm.bias - scale * means
    scale, shift = scale[..., None, None], shift[..., None, None]
    out = x if in_place else x.new_empty(n, conv.out_channels, height, width)
    return _prepared(conv, x, lambda part: F.silu(torch.addcmul(shift, part, scale), inplace=True).to(x), out)


def upsampled(conv: nn.Module, x: Tensor, in_phases: bool) -> Tensor:
    """A convolution of 3 x 3 after every pixel has been doubled both ways.

    in_phases: as four convolutions of 2 x 2 before that, with 4 instead of 9 products per value and the same result but for rounding.
    """
    if not takes_strips(conv, x):
        return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    out = x.new_empty(len(x), conv.out_channels, 2 * x.shape[-2], 2 * x.shape[-1])
    if not in_phases:
        return _prepared(conv, x, partial(F.interpolate, scale_factor=2.0, mode="nearest"), out)
    weight = torch.einsum("par,qbs,oirs->pqoiab", MEET.to(x.device), MEET.to(x.device), conv.weight.float()).to(x)
    (height, width), rows = x.shape[-2:], strip_rows(out)
    for top in range(0, height, rows):
        strip = F.pad(x[..., max(top - 1, 0) : top + rows + 1, :], (1, 1, int(top == 0), int(top + rows >= height)))
        for p in (0, 1):
            above = strip[..., p : p + strip.shape[-2] - 1, :]
            row = [F.conv2d(above[..., q : q + width + 1], weight[p, q], conv.bias) for q in (0, 1)]
            out[..., 2 * top + p : 2 * (top + rows) : 2, :] = torch.stack(row, -1).flatten(-2)
    return out


def downsampled(conv: nn.Module, x: Tensor) -> Tensor:
    """A convolution of 3 x 3 at every other pixel, zeros on the right and below."""

    def work(part: Tensor) -> Tensor:
        return conv(F.pad(part, (0, 1, 0, 1)))

    if not takes_strips(conv, x):
        return work(x)
    rows = strip_rows(x)
    # Each strip's padding is below what the convolution reaches, but for the last.
    return torch.cat([work(x[..., top : top + rows + 1, :]) for top in range(0, x.shape[-2], rows)], -2)


def _prepared(conv: nn.Conv2d, x: Tensor, prepare: Callable[[Tensor], Tensor], out: Tensor) -> Tensor:
    """The convolution of prepare(x), which is pointwise or upsamples by 2, written to `out`, which may be x."""
    height, zoom = x.shape[-2], out.shape[-2] // x.shape[-2]
    rows = strip_rows(x)
    # Of the neighbours' rows one is needed; outside of the picture are zeros.
    above = x.new_zeros(*x.shape[:2], 1, out.shape[-1])
    for top in range(0, height, rows):
        strip = prepare(x[..., top : top + rows + 1, :])[..., : zoom * rows + 1, :]
        strip = torch.cat([above, strip], -2)
        if top + rows >= height:
            strip = F.pad(strip, (0, 0, 0, 1))
        above = strip[..., -2:-1, :].clone()
        out[..., zoom * top : zoom * (top + rows), :] = F.conv2d(strip, conv.weight, conv.bias, padding=(0, 1))
    return out
