"""Focus-aware masked attention (paper Eq. 2-3), as released: a plain branch plus a branch that stays within its region.

Tokens are split by region and attend among themselves, which costs p^2 + (1 - p)^2 of full attention for a region of share p and
never builds an N x N mask.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# attention(q, k, v, heads) of tensors (B, N, heads * width); the host hands in its own.
Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) v per head, (B, N, heads * d) each."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def attend_masked(q: Tensor, k: Tensor, v: Tensor, heads: int, region: Tensor) -> Tensor:
    """Attention in which a token sees only its own region, by an additive (B, N, N) mask: simple, the reference.

    region: (B, N) bool; only whether two tokens are equal matters.
    """
    mask = torch.where(region[:, None] == region[:, :, None], 0.0, float("-inf")).to(q)[:, None]
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


class Regions:
    """Tokens (B, N) split by a bool, once for all layers that share them, since a device has to be asked how many there are.

    inside: (B, N) bool. parts: of each picture, its tokens inside and outside, or None where all are on one side.
    """

    def __init__(self, inside: Tensor):
        self.inside = inside
        count = inside.shape[1]
        order = inside.int().argsort(dim=1, stable=True)
        sizes = inside.sum(1).tolist()
        self.parts = [(own[count - n :], own[: count - n]) if 0 < n < count else None for own, n in zip(order, sizes)]


def attend_within(q: Tensor, k: Tensor, v: Tensor, heads: int, region: Tensor | Regions, attention: Attend = attend) -> Tensor:
    """The same without any N x N mask: the tokens of each region attend among themselves and go back to their places.

    region: (B, N) bool, or what was found of it. Costs p^2 + (1 - p)^2 of full attention for a region of share p.
    """
    parts = (region if isinstance(region, Regions) else Regions(region)).parts
    if not any(parts):
        return attention(q, k, v, heads)
    out = torch.empty_like(q)
    for i, sides in enumerate(parts):
        if sides is None:
            out[i : i + 1] = attention(q[i : i + 1], k[i : i + 1], v[i : i + 1], heads)
            continue
        for tokens in sides:
            some_q, some_k, some_v = (x[i].index_select(0, tokens)[None] for x in (q, k, v))
            out[i, tokens] = attention(some_q, some_k, some_v, heads)[0]
            del some_q, some_k, some_v  # before those of the other side are made
    return out


def thinned(attention: Attend, most: int = 72 * 72) -> Attend:
    """An `attention` in which every token attends to at most `most`, evenly spaced, so that cost grows with the area and not its square.

    72 x 72 are what a Stable Diffusion tile has at the finest level: full attention up to that.
    """

    def attend_to_some(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        count = k.shape[1]
        if count > most:
            kept = torch.arange(most, device=k.device) * (count - 1) // (most - 1)
            k, v = k[:, kept], v[:, kept]
        return attention(q, k, v, heads)

    return attend_to_some


class LowRank(nn.Sequential):
    """B A x, the update of one projection; the scale is part of B."""

    def __init__(self, channels: int, rank: int, operations):
        super().__init__(operations.Linear(channels, rank, bias=False), operations.Linear(rank, channels, bias=False))


class MaskedBranch(nn.Module):
    """The bokeh LoRA of one attention layer; parameter names are those of the released processor."""

    def __init__(self, channels: int, rank: int, operations):
        super().__init__()
        self.to_q_lora = LowRank(channels, rank, operations)
        self.to_k_lora = LowRank(channels, rank, operations)
        self.to_v_lora = LowRank(channels, rank, operations)
        self.to_out_lora = LowRank(channels, rank, operations)

    def forward(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, heads: int, region: Tensor | Regions | None, attention: Attend
    ) -> Tensor:
        """What is added to the plain branch's output (B, N, C). region: as for `attend_within`, None for one region."""
        q, k, v = q + self.to_q_lora(x), k + self.to_k_lora(x), v + self.to_v_lora(x)
        inner = attention(q, k, v, heads) if region is None else attend_within(q, k, v, heads, region, attention)
        return self.to_out_lora(inner)
