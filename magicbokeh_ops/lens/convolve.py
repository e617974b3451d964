"""Blurs of fragments: on a processor by small kernels directly, else by FFT.

For an FFT what is blurred is cut into blocks of one size, whose blurs are added up where they overlap. So all transforms of a picture have
one size for each resolution, and spectra of kernels are small and can be kept. Real planes travel in pairs as complex ones.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from ..aperture import Aperture
from .bins import Layer
from .kernels import kernel, reach_of
from .tiles import round_up

DIRECT = 13  # pixels per side of the largest kernel that is not transformed on a processor
SIDE = 224  # pixels per side of a block, about, unless kernels are large
AT_ONCE = 4  # blocks that are transformed together
STEP = 32  # pixels of which the sides of what is not transformed are multiples
KEPT = 2**27  # bytes of spectra
# Lengths of tiles are rounded up to it, and reaches to a power of two, such that pictures of a clip whose focus moves are transformed alike.
ALIKE = 64

# Premultiplied colour and weight (n, C + 1) of fragments, and their rows and columns (n,).
Content = tuple[Tensor, Tensor, Tensor]
# Rows and columns of a tile at some resolution, and planes (C + G, h, w) there: premultiplied colour and its coverage, one for all
# colours, or one for each where the aperture differs between them.
Placed = tuple[slice, slice, Tensor]


class Blurs:
    """The blurs of a picture's tiles.

    size: of the largest tile. layers: all for which blurs are made.
    """

    def __init__(self, aperture: Aperture, size: Sequence[int], layers: Sequence[Layer]):
        self.aperture = aperture
        self.frames = {
            level: _frame(
                [round_up(length, ALIKE) >> level for length in size],
                max(reach_of(aperture, radius, level) for layer in some for radius in layer.radii),
            )
            for level, some in groupby(sorted(layers, key=lambda layer: layer.level), key=lambda layer: layer.level)
        }

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

        radius, level, field, positive: as for `kernels.kernel`; 0 is no blur. precise: transformed in double precision.
        """
        key = (self.aperture, radius, level, field, positive)
        blur = kernel(*key) if radius else torch.ones(1, 1, 1)
        reach = blur.shape[-1] // 2
        rows, cols = (slice(max(span.start - reach, 0), min(span.stop + reach, length)) for span, length in zip(box, size))
        size = rows.stop - rows.start, cols.stop - cols.start
        # More than it takes, since a convolution is prepared for each size.
        height, width = (round_up(length, STEP) for length in size)
        out = contents[0][0].new_zeros(height * width, contents[0][0].shape[1])
        for planes, row, col in contents:
            place = (row - rows.start) * width + (col - cols.start)
            out.scatter_add_(0, place[:, None].expand_as(planes), planes)
        planes = out.view(height, width, -1).permute(2, 0, 1)
        if self.aperture.colored:
            # Each colour with a weight of its own.
            planes = torch.cat([planes[:-1], planes[-1:].expand(len(planes) - 1, -1, -1)])
        if radius and len(blur[0]) <= DIRECT and planes.device.type == "cpu":
            kernels = _for_planes(blur, planes)[:, None].flip(2, 3)
            planes = F.conv2d(planes[None], kernels, padding=reach, groups=len(planes))[0]
        elif radius:
            planes = self._transformed(planes[:, : size[0], : size[1]], key, reach, self.frames[level], precise)
        return rows, cols, planes[:, : size[0], : size[1]]

    def _transformed(self, planes: Tensor, key: tuple, reach: int, frame: tuple[int, int], precise: bool) -> Tensor:
        """Planes (C, h, w) blurred by FFT, on the processor where the device lacks double precision."""
        if precise:
            place = planes.device if planes.device.type in ("cpu", "cuda") else torch.device("cpu")
            return self._in_blocks(planes.to(place, torch.float64), key, reach, frame).to(planes)
        return self._in_blocks(planes, key, reach, frame)

    def _in_blocks(self, planes: Tensor, key: tuple, reach: int, frame: tuple[int, int]) -> Tensor:
        count, height, width = planes.shape
        if not self.aperture.colored and count % 2:
            planes = torch.cat([planes, torch.zeros_like(planes[:1])])
        pairs = planes.unflatten(0, (2, -1) if self.aperture.colored else (-1, 2)).movedim(1 if self.aperture.colored else 0, 0)
        spectrum = _spectra.get(key, frame, planes.dtype.to_complex(), planes.device)
        out = torch.zeros_like(pairs, memory_format=torch.contiguous_format)
        steps = [length - 2 * reach for length in frame]
        corners = [(top, left) for top in range(0, height, steps[0]) for left in range(0, width, steps[1])]
        while corners:
            some = corners[: min(AT_ONCE, 1 << len(corners).bit_length() - 1)]
            corners = corners[len(some) :]
            blocks = planes.new_zeros(len(some), len(pairs), *frame, 2)
            for block, (top, left) in zip(blocks, some):
                part = pairs[..., top : top + steps[0], left : left + steps[1]].movedim(1, 3)
                block[:, reach : reach + part.shape[1], reach : reach + part.shape[2]] = part
            found = torch.fft.fft2(torch.view_as_complex(blocks)).mul_(_for_planes(spectrum, pairs))
            for block, (top, left) in zip(torch.view_as_real(torch.fft.ifft2(found)), some):
                top, left = top - reach, left - reach
                seen = block[:, max(-top, 0) : height - top, max(-left, 0) : width - left].movedim(3, 1)
                out[..., max(top, 0) : top + frame[0], max(left, 0) : left + frame[1]] += seen
        return out.transpose(0, 1).flatten(0, 1) if self.aperture.colored else out.flatten(0, 1)[:count]


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

    def get(self, key: tuple, frame: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """(K, *frame), of the kernel by these arguments of `kernels.kernel`, its middle at 0."""
        name = (key, frame, dtype, device)
        if name not in self.kept:
            made = kernel(*key)
            padded = torch.zeros(len(made), *frame, dtype=dtype, device=device)
            padded[:, : made.shape[1], : made.shape[2]] = made.to(padded)
            self.kept[name] = torch.fft.fft2(padded.roll((-(made.shape[1] // 2), -(made.shape[2] // 2)), (1, 2)))
            while sum(spectrum.nbytes for spectrum in self.kept.values()) > KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(name)
        return self.kept[name]


_spectra = _Spectra()


def _frame(size: Sequence[int], reach: int) -> tuple[int, int]:
    """Height and width of transforms for tiles of `size` and kernels of up to this reach."""
    from scipy.fft import next_fast_len  # a third of a second at ComfyUI's start

    reach = 2 ** math.ceil(math.log2(reach))
    counts = [max(1, round(length / max(SIDE, 10 * reach))) for length in size]
    height, width = (next_fast_len(-(-length // count) + 2 * reach, real=True) for length, count in zip(size, counts))
    return height, width
