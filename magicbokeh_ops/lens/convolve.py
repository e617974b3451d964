"""Blurs of fragments by FFT.

What is blurred is cut into squares of one of a few sizes, whose blurs are added up where they overlap. So there are few plans for
transforms, and spectra of kernels are small and can be kept. Real planes travel in pairs as complex ones.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..aperture import Aperture
from .kernels import kernel

SIDES = (40, 64, 96, 144, 216, 324, 486, 729)  # pixels of the squares that are transformed
BLOCK_COST = 4000  # pixels that take as long as what a block takes besides them
AT_ONCE = 4  # blocks that are transformed together
KEPT = 2**26  # bytes of spectra

# Premultiplied colour and weight (n, C + 1) of fragments, and their rows and columns (n,).
Content = tuple[Tensor, Tensor, Tensor]
# Rows and columns of a tile at some resolution, and planes (C + G, h, w) there: premultiplied colour and its coverage, one for all
# colours, or one for each where the aperture differs between them.
Placed = tuple[slice, slice, Tensor]


class Blurs:
    """The blurs of an aperture."""

    def __init__(self, aperture: Aperture):
        self.aperture = aperture

    def coverages(self, colors: int) -> int:
        """How many a blur of so many colours has."""
        return colors if self.aperture.colored else 1

    def blurred(
        self,
        contents: Sequence[Content],
        radius: float,
        level: int,
        field: tuple[float, float],
        box: tuple[slice, slice],
        size: Sequence[int],
        positive: bool = False,
        precise: bool = False,
    ) -> Placed:
        """Fragments within rows and columns of a tile of `size`, blurred and added up, as far as they lie in the tile.

        radius, level, field, positive: as for `kernels.kernel`; 0 is no blur. precise: in double precision, on the processor where the
        device may have none.
        """
        key = (self.aperture, radius, level, field, positive)
        reach = kernel(*key).shape[-1] // 2 if radius else 0
        height, width = (span.stop - span.start for span in box)
        first = contents[0][0]
        place = first.device if not precise or first.device.type in ("cpu", "cuda") else torch.device("cpu")
        out = torch.zeros(height * width, first.shape[1], dtype=torch.float64 if precise else first.dtype, device=place)
        for planes, row, col in contents:
            pixel = (row - box[0].start) * width + (col - box[1].start)
            out.scatter_add_(0, pixel.to(place)[:, None].expand_as(planes), planes.to(out))
        planes = out.view(height, width, -1)
        if self.aperture.colored:
            # Each colour with a weight of its own.
            planes = torch.stack([planes[..., :-1], planes[..., -1:].expand(-1, -1, planes.shape[-1] - 1)], -1).flatten(2)
        elif planes.shape[-1] % 2 and radius:
            planes = F.pad(planes, (0, 1))
        rows, cols = (slice(max(span.start - reach, 0), min(span.stop + reach, length)) for span, length in zip(box, size))
        if radius:
            pairs = torch.view_as_complex(planes.unflatten(2, (-1, 2))).permute(2, 0, 1)
            start = box[0].start - reach - rows.start, box[1].start - reach - cols.start
            found = self._in_blocks(pairs, key, reach, start, (rows.stop - rows.start, cols.stop - cols.start))
            planes = torch.view_as_real(found).permute(0, 3, 1, 2).flatten(0, 1).permute(1, 2, 0)
        planes = planes.permute(2, 0, 1).to(first)
        if self.aperture.colored:
            return rows, cols, torch.cat([planes[::2], planes[1::2]])
        return rows, cols, planes[: first.shape[1]]

    def _in_blocks(self, pairs: Tensor, key: tuple, reach: int, start: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Pairs of planes (P, h, w), complex, blurred, as (P, *size). key: arguments of `kernels.kernel`. start: where their blur begins."""
        height, width = pairs.shape[-2:]
        side = _side(height, width, reach)
        step = side - 2 * reach
        spectrum = _for_planes(_spectra.get(key, side, pairs.dtype, pairs.device), pairs)
        out = pairs.new_zeros(len(pairs), *size)
        corners = [(top, left) for top in range(0, height, step) for left in range(0, width, step)]
        while corners:
            some = corners[: min(AT_ONCE, 1 << len(corners).bit_length() - 1)]
            corners = corners[len(some) :]
            blocks = pairs.new_zeros(len(some), len(pairs), side, side)
            for block, (top, left) in zip(blocks, some):
                part = pairs[:, top : top + step, left : left + step]
                block[:, reach : reach + part.shape[1], reach : reach + part.shape[2]] = part
            for block, (top, left) in zip(torch.fft.ifft2(torch.fft.fft2(blocks).mul_(spectrum)), some):
                top, left = top + start[0], left + start[1]
                seen = block[:, max(-top, 0) : size[0] - top, max(-left, 0) : size[1] - left]
                out[:, max(top, 0) : top + side, max(left, 0) : left + side] += seen
        return out


def _for_planes(kernels: Tensor, planes: Tensor) -> Tensor:
    """Kernels (K, ...), one or those of the colours, for planes (C, ...), in which the colours come once or more."""
    if len(kernels) == 1:
        return kernels.expand(len(planes), *kernels.shape[1:])
    # The mean one is for alpha.
    own = kernels if len(planes) % 4 else torch.cat([kernels, kernels.mean(0, keepdim=True)])
    return own.repeat(len(planes) // len(own), 1, 1)


class _Spectra:
    """Transforms of kernels, of which the last ones that were asked for are kept."""

    def __init__(self) -> None:
        self.kept: OrderedDict[tuple, Tensor] = OrderedDict()

    def get(self, key: tuple, side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """(K, side, side), of the kernel by these arguments of `kernels.kernel`, its middle at 0."""
        name = (key, side, dtype, device)
        if name not in self.kept:
            made = kernel(*key)
            padded = torch.zeros(len(made), side, side, dtype=dtype, device=device)
            padded[:, : made.shape[1], : made.shape[2]] = made.to(padded)
            self.kept[name] = torch.fft.fft2(padded.roll((-(made.shape[1] // 2), -(made.shape[2] // 2)), (1, 2)))
            while sum(spectrum.nbytes for spectrum in self.kept.values()) > KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(name)
        return self.kept[name]


_spectra = _Spectra()


def _side(height: int, width: int, reach: int) -> int:
    """Side of the squares that blur planes (h, w) in the least time, with room for the kernel around them."""

    def cost(side: int) -> int:
        step = side - 2 * reach
        return -(-height // step) * -(-width // step) * (side**2 + BLOCK_COST)

    return min((side for side in SIDES if side > 4 * reach), key=cost)
