"""Thin-lens bokeh without weights: one photo and its disparity in, the photo through a fast lens out.

The photo is taken apart into fragments (colour, weight, signed blur radius), the fragments are sorted into bins of
about equal radius, every bin is blurred by the aperture with an FFT in linear light, and the bins are put together
from near to far, each adding no more than what the nearer ones left uncovered. Two things make edges look right:

* a pixel on a depth edge is a mix of two surfaces, so it is split into a near and a far fragment (`_split_edges`);
* what a blurred or sharp silhouette uncovers is not in the photo, so the surface behind is continued under it
  (`_continue_behind`) and shows only through the gap.

Wide blurs run at lower resolution, so that the cost hardly grows with the radius.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from .aperture import Aperture
from .color import linear_to_srgb, srgb_to_linear
from .defocus import check_image, check_map, fit, match_batch, signed_radius, widen

EDGE = 1.5  # pixels of blur radius by which two surfaces must differ to be two surfaces
HIDDEN_CONFIDENCE = 0.5  # vote of a continued pixel against a seen one
FULL_RESOLUTION = 16.0  # radius up to which a bin is blurred at full resolution; every doubling halves it once more
GROWTH = 0.2  # of radius from bin to bin, once that is more than a pixel
NOTHING = 0.05  # share of a pixel below which it is all of the other surface
TILE = 1024  # padded side of a tile in pixels, unless the blur asks for more
CAT_EYE_CELLS = 8  # along the longer side; the aperture's shape is interpolated between their centres


def render(
    image: Tensor,
    disparity: Tensor,
    focus: float | Sequence[float],
    k: float | Sequence[float],
    *,
    aperture: Aperture = Aperture(),
    highlight_boost: float = 0.0,
    near_scale: float = 1.0,
    far_scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    show: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Photograph `image` through a thin lens (paper Eq. 1 gives the radius; the renderer is our own).

    image: (B, 3, H, W) sRGB in [0, 1]; brighter values are kept as light.
    disparity: (B or 1, 1, h, w) in [0, 1], 1 = nearest; resized to the image, whose shape it must have.
    focus: disparity in focus. k: blur radius in pixels at |disparity - focus| = 1. One value, or one per image.
    highlight_boost: stops of light added to clipped highlights out of focus.
    near_scale, far_scale: factors on the radius in front of and behind the focal plane.
    progress: called with (steps done, steps in all), many times per step; may raise to stop.
    show: called after each tile with the frame (3, H, W) so far, the photo where it is not done.

    A radius goes up to half the longer side of the image, beyond which all is one haze.
    Returns (B, 3, H, W) sRGB in [0, 1]. Frames are independent: a batch equals its single runs.
    Raises ValueError for wrong shapes, NaN or infinite values, and options below 0.
    """
    for name, value in (("highlight_boost", highlight_boost), ("near_scale", near_scale), ("far_scale", far_scale)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; it is a number of 0 or more.")
    check_image(image)
    check_map(disparity, "disparity")
    disparity = match_batch(fit(disparity, image.shape[-2:], "disparity"), len(image), "disparity")
    radii = signed_radius(disparity, focus, k)
    largest = max(image.shape[-2:]) / 2
    radii = torch.where(radii > 0, radii * near_scale, radii * far_scale).clamp(-largest, largest)
    tiles = [_tiles(image.shape[-2:], float(radius.abs().amax()), aperture) for radius in radii]
    steps, done = sum(len(t) + 1 for t in tiles), 0

    def report() -> None:
        if progress is not None:
            progress(done, steps)

    out = image.clone()
    for i, radius in enumerate(radii):
        report()
        light = _boost_highlights(image[i].float(), radius, highlight_boost)
        report()
        scene = _take_apart(light, radius, report)
        done += 1
        bins = _Bins.spanning(float(radius.amin()), float(radius.amax()))
        kernels = _Kernels(aperture)
        result = torch.zeros_like(light)
        for tile in tiles[i]:
            place = (slice(None), tile.rows, tile.cols)
            result[place] += _render_tile(scene, bins, kernels, tile, report) * tile.weight.to(light)
            done += 1
            out[i][place] = linear_to_srgb(result[place]).clamp(max=1)
            if show is not None:
                show(out[i])
    report()
    return out


def memory_needed(size: Sequence[int], largest_radius: float) -> int:
    """Upper bound in bytes of what `render` takes for one image of `size` (height, width), by measurement."""
    tile = _tiles(size, min(largest_radius, max(size) / 2), Aperture())[0]
    return 180 * size[0] * size[1] + 400 * len(tile.from_rows) * len(tile.from_cols) + 2**27


def _boost_highlights(image: Tensor, radius: Tensor, stops: float) -> Tensor:
    """Linear light of an sRGB photo, with what the sensor clipped given back where it is out of focus.

    Fades in from sRGB 0.8 to 1 and from 1 to 3 pixels of blur: a sharp highlight stays as it is.
    """
    light = srgb_to_linear(image)
    if stops == 0:
        return light
    bright = ((image.amax(0, keepdim=True) - 0.8) / 0.2).clamp(0, 1)
    blurred = ((radius.abs() - 1) / 2).clamp(0, 1)
    return light * torch.exp2(stops * bright**2 * blurred)


@dataclass(frozen=True)
class _Scene:
    """Fragments of one photo, all (C, H, W): what is seen (near and far part of each pixel) and what lies behind."""

    near_color: Tensor
    near_weight: Tensor
    near_radius: Tensor
    far_color: Tensor
    far_radius: Tensor
    hidden_color: Tensor
    hidden_radius: Tensor
    hidden_weight: Tensor

    def crop(self, rows: Tensor, cols: Tensor) -> "_Scene":
        return _Scene(*(plane[:, rows[:, None], cols] for plane in vars(self).values()))


def _take_apart(light: Tensor, radius: Tensor, report: Callable[[], None]) -> _Scene:
    near_color, near_weight, near_radius, far_color, far_radius = _split_edges(light, radius, report)
    hidden = _continue_behind(far_color, far_radius, near_weight, near_radius, report)
    return _Scene(near_color, near_weight, near_radius, far_color, far_radius, *hidden)


def _split_edges(
    light: Tensor,
    radius: Tensor,
    report: Callable[[], None],
    edge_reach: int = 2,
    window_reach: int = 3,
    pixels_at_once: int = 32768,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Near colour, near weight, near radius, far colour and far radius of every pixel.

    Around a depth edge the pixel's colour I is taken as a F + (1 - a) B: F and B are means over the window's near and
    far pixels, best those well inside their side, and a is the least-squares mix, held to the share of near pixels
    around it as far as F and B are close or uncertain. F and B are then moved so that the mix is exact: no light is lost.
    Elsewhere the near fragment is the pixel.
    """
    height, width = radius.shape[-2:]
    near_color, far_color = light.clone(), light.clone()
    near_weight = torch.ones_like(radius)
    size = 2 * edge_reach + 1
    nearest = widen(radius[None], edge_reach)[0]
    report()
    farthest = -widen(-radius[None], edge_reach)[0]
    report()
    edge = (nearest - farthest) >= EDGE
    # Steps of 8-bit disparity within a surface would show as contour lines.
    mean = F.avg_pool2d(radius[None], size, 1, edge_reach, count_include_pad=False)[0]
    radius = torch.where(edge, radius, mean)
    near_radius, far_radius = radius.clone(), radius.clone()
    edges = edge.flatten().nonzero()[:, 0]
    threshold = ((nearest + farthest) / 2).flatten()

    size = 2 * window_reach + 1
    padded = F.pad(torch.cat([light, radius])[None], (window_reach,) * 4, mode="replicate")[0].flatten(1)
    step = torch.arange(size, device=light.device)
    window = step[:, None] * (width + 2 * window_reach) + step
    distance2 = ((step - window_reach) ** 2)[:, None] + (step - window_reach) ** 2
    closeness = torch.exp(-distance2 / 4.5)
    share = torch.exp(-distance2 / 2.0)
    share = share / share.sum()
    for pixels in edges.split(pixels_at_once):
        report()
        corner = pixels // width * (width + 2 * window_reach) + pixels % width
        samples = padded[:, corner[:, None, None] + window]  # (4, pixels, size, size)
        is_near = (samples[3] > threshold[pixels, None, None]).to(light)
        inside = F.avg_pool2d(is_near[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
        near, near_spread = _window_mean(samples, is_near * inside * closeness)
        far, far_spread = _window_mean(samples, (1 - is_near) * (1 - inside) * closeness)
        color, across = light.flatten(1)[:, pixels], near[:3] - far[:3]
        doubt = 0.1 + 3 * (near_spread + far_spread)
        prior = (is_near * share).sum((1, 2))
        mix = (((color - far[:3]) * across).sum(0) + doubt * prior) / ((across**2).sum(0) + doubt)
        mix = torch.where(mix < NOTHING, 0, torch.where(mix > 1 - NOTHING, 1, mix))
        miss = (color - mix * near[:3] - (1 - mix) * far[:3]) / (mix**2 + (1 - mix) ** 2)
        behind = (far[:3] + (1 - mix) * miss).clamp(min=0).minimum(color / (1 - mix).clamp(min=NOTHING))
        far_color.flatten(1)[:, pixels] = behind
        near_color.flatten(1)[:, pixels] = (color - (1 - mix) * behind) / mix.clamp(min=NOTHING)
        near_weight.flatten()[pixels] = mix
        near_radius.flatten()[pixels] = near[3]
        far_radius.flatten()[pixels] = far[3]
    return near_color, near_weight, near_radius, far_color, far_radius


def _window_mean(samples: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean (C, N) of samples (C, N, h, w), and the summed colour variance (N,)."""
    weight = weight / weight.sum((1, 2), keepdim=True).clamp(min=1e-9)
    mean = (samples * weight).sum((2, 3))
    spread = ((samples[:3] - mean[:3, :, None, None]) ** 2 * weight).sum((0, 2, 3))
    return mean, spread


def _continue_behind(
    color: Tensor,
    far_radius: Tensor,
    near_weight: Tensor,
    near_radius: Tensor,
    report: Callable[[], None],
    depths: int = 8,
) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, radius and weight of the surface behind the nearest one.

    Covered pixels take the colour and radius of the closest pixels that are far enough behind them: a push-pull
    pyramid for each of a few depths, at half resolution, since nothing there is sharp. Light above white is not
    continued. The weight is 1 where the surface is seen, less where it is made up, 0 where no gap can open.
    """
    size = near_radius.shape[-2:]
    covered = _covered(far_radius, near_radius, report)
    hidden = torch.cat([color, far_radius])
    if not covered.any():
        return color, far_radius, torch.zeros_like(near_radius)
    seen = torch.where(far_radius < near_radius, 1 - near_weight, torch.ones_like(near_weight))
    source = torch.cat([color.clamp(max=1), far_radius])
    first_depth = float(far_radius.amin()) + 0.01
    step = (float(near_radius.amax() - far_radius.amin()) - EDGE) / depths
    for i in range(depths):
        report()
        depth = first_depth + i * step
        here = covered & (near_radius - EDGE >= depth)
        if i < depths - 1:
            here &= near_radius - EDGE < depth + step
        weight = seen * (far_radius <= depth)
        if not here.any() or not weight.any():
            continue
        filled = _push_pull(source, weight)[None]
        report()
        filled = F.interpolate(filled, scale_factor=2, mode="bilinear")[0]
        hidden = torch.where(here, filled[:, : size[0], : size[1]], hidden)
    report()
    hidden[3:] = torch.where(covered, hidden[3:].minimum(near_radius), hidden[3:])
    reach = math.ceil(float(near_radius.abs().amax().maximum(far_radius.abs().amax()))) + 2
    weight = torch.where(covered, HIDDEN_CONFIDENCE, 1.0).to(color) * _cells_to_pixels(
        widen(F.max_pool2d(covered.to(color)[None], 4, ceil_mode=True), reach // 4 + 1), size
    )
    return hidden[:3], hidden[3:], weight


def _covered(far_radius: Tensor, near_radius: Tensor, report: Callable[[], None]) -> Tensor:
    """Where a lens could see past the nearest surface: mask (1, H, W).

    The lens moves a surface x pixels away against this one by the difference of their radii, so it shows only if
    that exceeds x. (A slope never does; a step always does, up to its height.)
    """
    span = float(near_radius.amax() - far_radius.amin())
    covered = torch.zeros_like(near_radius, dtype=torch.bool)
    nearness = F.max_pool2d(-far_radius[None], 4, ceil_mode=True)
    cells = 0
    while max(EDGE, 4 * cells) <= span:
        report()
        nearness = widen(nearness, max(1, cells))
        farthest = -_cells_to_pixels(nearness, near_radius.shape[-2:])
        covered |= near_radius - farthest >= max(EDGE, 4 * cells)
        cells += max(1, cells)
    return covered


def _cells_to_pixels(cells: Tensor, size: Sequence[int]) -> Tensor:
    return cells.repeat_interleave(4, -2).repeat_interleave(4, -1)[0, :, : size[0], : size[1]]


def _push_pull(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of `values` (C, H, W) at half resolution, holes filled from ever coarser levels."""
    levels = [_halve(torch.cat([values * weight, weight])[None])]
    while max(levels[-1].shape[-2:]) > 1:
        levels.append(_halve(levels[-1]))
    filled = levels[-1][:, :-1] / levels[-1][:, -1:].clamp(min=1e-6)
    for level in reversed(levels[:-1]):
        mean = level[:, :-1] / level[:, -1:].clamp(min=1e-6)
        trust = (2 * level[:, -1:]).clamp(max=1)
        filled = F.interpolate(filled, scale_factor=2, mode="bilinear")[..., : mean.shape[-2], : mean.shape[-1]]
        filled = mean * trust + filled * (1 - trust)
    return filled[0]


def _halve(planes: Tensor) -> Tensor:
    """Mean of 2 x 2 pixels, zeros beyond an odd border (bilinear at half scale is just that, and the fastest way)."""
    planes = F.pad(planes, (0, planes.shape[-1] % 2, 0, planes.shape[-2] % 2))
    return F.interpolate(planes, scale_factor=0.5, mode="bilinear")


@dataclass(frozen=True)
class _Bins:
    """Radii that blurs are made for, from near (positive) to far: a fragment is shared by the two around its own."""

    radii: list[float]
    levels: list[int]

    @classmethod
    def spanning(cls, lowest: float, highest: float) -> "_Bins":
        """One per pixel up to a radius of 5 pixels, then 20 % apart: finer gains nothing."""

        def outwards(largest: float) -> list[float]:
            out = [0.0]
            while out[-1] < largest:
                out.append(out[-1] + max(1.0, GROWTH * out[-1]))
            return out

        radii = outwards(highest)[:0:-1] + [-radius for radius in outwards(-lowest)]
        return cls(radii, [_level(radius) for radius in radii])

    def groups(self) -> list[tuple[int, range]]:
        """(level, bins) of consecutive bins of one resolution, coarse to fine in front and fine to coarse behind."""
        spans = groupby(range(len(self.radii)), key=lambda i: (self.levels[i] > 0 and self.radii[i] < 0, self.levels[i]))
        return [(key[1], range(span[0], span[-1] + 1)) for key, span in ((k, list(g)) for k, g in spans)]


class _Fragments:
    """Fragments of a tile, sorted by radius: premultiplied colour and weight, place, and share of the farther bin."""

    def __init__(self, surfaces: list[tuple[Tensor, Tensor, Tensor]], bins: _Bins):
        """surfaces: (colour, radius, weight), each (C, H, W)."""
        width = surfaces[0][2].shape[-1]
        parts = []
        for color, radius, weight in surfaces:
            pixels = weight.flatten().nonzero()[:, 0]
            weight = weight.flatten(1)[:, pixels]
            parts.append((torch.cat([color.flatten(1)[:, pixels] * weight, weight]), radius.flatten()[pixels], pixels))
        planes, radius, pixels = (torch.cat(part, -1) for part in zip(*parts))
        centers = torch.tensor([*bins.radii, bins.radii[-1] - 1], device=radius.device)
        nearer = (torch.bucketize(-radius, -centers, right=True) - 1).clamp(0, len(bins.radii) - 1)
        order = nearer.argsort(stable=True)
        radius, nearer, pixels = radius[order], nearer[order], pixels[order]
        self.planes = planes[:, order]
        self.share = ((centers[nearer] - radius) / (centers[nearer] - centers[nearer + 1])).clamp(0, 1)
        self.row, self.col = pixels // width, pixels % width
        self.start = [0, 0, *torch.bincount(nearer, minlength=len(bins.radii)).cumsum(0).tolist()]

    def bin(self, i: int, level: int) -> tuple[Tensor, int, int] | None:
        """Premultiplied colour and weight (4, h, w) of a bin averaged to `level`, cut to what it fills, and its corner."""
        shared, own = slice(*self.start[i : i + 2]), slice(*self.start[i + 1 : i + 3])
        both = slice(shared.start, own.stop)
        weight = torch.cat([self.share[shared], 1 - self.share[own]])
        if not weight.any():
            return None
        row, col = self.row[both] >> level, self.col[both] >> level
        top, bottom, left, right = torch.stack([*row.aminmax(), *col.aminmax()]).tolist()
        height, width = bottom - top + 1, right - left + 1
        out = weight.new_zeros(4, height * width)
        cell = (row - top) * width + (col - left)
        out.scatter_add_(1, cell.expand(4, -1), self.planes[:, both] * (weight / 4**level))
        return out.view(4, height, width), top, left


def _level(radius: float) -> int:
    """Times that the resolution is halved for a blur of this radius."""
    return max(0, math.ceil(math.log2(max(abs(radius), 1e-6) / FULL_RESOLUTION)))


class _Kernels:
    """Blur kernels of one aperture, kept while tiles use the same."""

    def __init__(self, aperture: Aperture):
        self.aperture = aperture
        self.made: dict[tuple[float, int], Tensor] = {}
        self.field = (0.0, 0.0)

    def at(self, field: tuple[float, float]) -> "_Kernels":
        """These kernels as they are at a place in the picture."""
        if field != self.field:
            self.made.clear()
            self.field = field
        return self

    def get(self, radius: float, level: int) -> Tensor:
        """Square kernel with sum 1 for a blur of `radius` full-resolution pixels, to be used at `level`."""
        if (radius, level) not in self.made:
            self.made[radius, level] = self._make(radius, level)
        return self.made[radius, level]

    def _make(self, radius: float, level: int) -> Tensor:
        """The aperture's points, scaled and shared among the four pixels around each: exact for any radius and shape."""
        scale = abs(radius) / 2**level
        if level:
            # Going to low resolution and back blurs too (box 1/12, two tents 1/6 each): take it from the disc's 1/4 r^2.
            own = (1 / 12 + 2 / 6) * (1 - 4.0**-level)
            scale = math.sqrt(max(scale**2 - 4 * own, 0))
        points = self.aperture.samples(max(256, round(40 * scale**2)), self.field) * math.copysign(scale, -radius)
        reach = math.ceil(scale) + 1
        corner = points.floor()
        part = points - corner
        corner = corner.long() + reach
        kernel = torch.zeros(2 * reach + 1, 2 * reach + 1)
        for right in (0, 1):
            for down in (0, 1):
                share = (part[:, 0] - 1 + right).abs() * (part[:, 1] - 1 + down).abs()
                kernel.index_put_((corner[:, 1] + down, corner[:, 0] + right), share, accumulate=True)
        return kernel / kernel.sum()


def _convolve(planes: Tensor, kernel: Tensor) -> Tensor:
    """Full convolution of planes (4, h, w) with a square kernel; real planes travel in pairs as complex ones."""
    kernel = kernel.to(planes)
    size = [planes.shape[-2] + len(kernel) - 1, planes.shape[-1] + len(kernel) - 1]
    padded = [_fft_size(n, 1) for n in size]
    spectrum = torch.fft.fft2(torch.complex(planes[:2], planes[2:]), s=padded)
    pairs = torch.fft.ifft2(spectrum * torch.fft.fft2(kernel, s=padded))[:, : size[0], : size[1]]
    return torch.cat([pairs.real, pairs.imag])


@dataclass(frozen=True)
class _Tile:
    """Part of the picture: where it lies, the pixels it is computed from, and its weight in the sum of tiles."""

    rows: slice
    cols: slice
    from_rows: Tensor
    from_cols: Tensor
    margin: int
    weight: Tensor
    field: tuple[float, float]


def _tiles(size: Sequence[int], largest_radius: float, aperture: Aperture) -> list[_Tile]:
    """Tiles whose weights sum to 1 everywhere.

    A tile is computed with a margin of the largest radius, mirrored at the border of the picture, on a grid that low
    resolutions share: neighbours agree to rounding, so no blending is needed. Only with cat-eye, whose aperture
    differs from tile to tile, do tiles overlap and fade into each other.
    """
    step = 2 ** (_level(largest_radius) + 1)
    margin = _round_up(math.ceil(largest_radius) + 2 * step, step)
    if aperture.cat_eye:
        cell = _round_up(math.ceil(max(size) / CAT_EYE_CELLS), step)
        rows, cols = (_fading_spans(length, cell) for length in size)
    else:
        rows, cols = (_plain_spans(length, max(TILE, 4 * margin) - 2 * margin, step) for length in size)
    half_diagonal = math.hypot(*size) / 2

    def source(start: int, end: int, length: int) -> Tensor:
        padded = _fft_size(end - start + 2 * margin, step)
        return _mirror(torch.arange(start - margin, start - margin + padded), length)

    return [
        _Tile(
            rows=slice(top, bottom),
            cols=slice(left, right),
            from_rows=source(top, bottom, size[0]),
            from_cols=source(left, right, size[1]),
            margin=margin,
            weight=weight_y[:, None] * weight_x,
            field=((left + right - size[1]) / 2 / half_diagonal, (top + bottom - size[0]) / 2 / half_diagonal)
            if aperture.cat_eye
            else (0.0, 0.0),
        )
        for top, bottom, weight_y in rows
        for left, right, weight_x in cols
    ]


def _plain_spans(length: int, longest: int, step: int) -> list[tuple[int, int, Tensor]]:
    """Spans of nearly equal length that do not overlap, with weights of 1."""
    span = _round_up(math.ceil(length / math.ceil(length / longest)), step)
    ends = [(start, min(start + span, length)) for start in range(0, length, span)]
    return [(start, end, torch.ones(end - start)) for start, end in ends]


def _fading_spans(length: int, cell: int) -> list[tuple[int, int, Tensor]]:
    """Spans two cells long, one cell apart, with triangular weights that sum to 1."""
    count = max(1, math.ceil(length / cell) - 1)
    spans = []
    for i in range(count):
        start, end = i * cell, length if i == count - 1 else (i + 2) * cell
        weight = torch.ones(end - start)
        if i > 0:
            weight[:cell] = (torch.arange(cell) + 0.5) / cell
        if i < count - 1:
            weight[cell:] = 1 - (torch.arange(cell) + 0.5) / cell
        spans.append((start, end, weight))
    return spans


def _round_up(n: int, step: int) -> int:
    return -(-n // step) * step


def _fft_size(n: int, step: int) -> int:
    """The next multiple of `step` with no prime factor above 5."""
    n = _round_up(n, step)
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += step


def _mirror(index: Tensor, length: int) -> Tensor:
    """Fold positions outside [0, length) back in, as a mirror at each border does."""
    index = index.remainder(2 * length)
    return torch.where(index < length, index, 2 * length - 1 - index)


def _render_tile(scene: _Scene, bins: _Bins, kernels: _Kernels, tile: _Tile, report: Callable[[], None]) -> Tensor:
    """Linear light of one tile, (3, rows, cols)."""
    device = scene.near_color.device
    part = scene.crop(tile.from_rows.to(device), tile.from_cols.to(device))
    size = part.near_radius.shape[-2:]
    kernels = kernels.at(tile.field)
    seen = _Fragments(
        [
            (part.near_color, part.near_radius, part.near_weight),
            (part.far_color, part.far_radius, 1 - part.near_weight),
        ],
        bins,
    )
    report()
    hidden = _Fragments([(part.hidden_color, part.hidden_radius, part.hidden_weight)], bins)

    def nothing(level: int) -> tuple[Tensor, Tensor]:
        shrunk = _shrink(size, level)
        return part.near_color.new_zeros(3, *shrunk), part.near_color.new_ones(1, *shrunk)

    level = bins.levels[0]
    light, gap = nothing(level)
    behind = part.near_color.new_zeros(4, *size)
    for group_level, span in bins.groups():
        beyond = group_level > 0 and bins.radii[span.start] < 0
        if beyond:
            group_light, group_gap = nothing(group_level)
        else:
            group_light, group_gap = _enlarge(light, level - group_level), _enlarge(gap, level - group_level)
        for i in span:
            report()
            blurred = _blurred(seen, i, bins.radii[i], group_level, kernels, size)
            if blurred is not None:
                rows, cols, layer = blurred
                _add_behind(group_light[:, rows, cols], group_gap[:, rows, cols], layer[:3], layer[3:])
        if beyond:
            _add_behind(light, gap, _enlarge(group_light, group_level), 1 - _enlarge(group_gap, group_level))
        else:
            light, gap, level = group_light, group_gap, group_level
        hidden_level = max(1, group_level)
        group_behind = behind.new_zeros(4, *_shrink(size, hidden_level))
        for i in span:
            report()
            blurred = _blurred(hidden, i, bins.radii[i], hidden_level, kernels, size)
            if blurred is not None:
                rows, cols, layer = blurred
                group_behind[:, rows, cols] += layer
        behind += _enlarge(group_behind, hidden_level)
    # Where nothing is known to lie behind, what is seen fills the rest.
    behind += 1e-3 * torch.cat([light, 1 - gap])
    light = light + gap * behind[:3] / behind[3:].clamp(min=1e-6)
    inner = slice(tile.margin, tile.margin + tile.rows.stop - tile.rows.start)
    return light[:, inner, tile.margin : tile.margin + tile.cols.stop - tile.cols.start]


def _blurred(
    fragments: _Fragments, i: int, radius: float, level: int, kernels: _Kernels, size: Sequence[int]
) -> tuple[slice, slice, Tensor] | None:
    """One bin blurred: its rows and columns in the tile at `level`, and its planes (4, h, w); None if it is empty."""
    content = fragments.bin(i, level)
    if content is None:
        return None
    planes, top, left = content
    if abs(radius) >= 0.1:
        kernel = kernels.get(radius, level)
        planes = _convolve(planes, kernel)
        top, left = top - len(kernel) // 2, left - len(kernel) // 2
    height, width = _shrink(size, level)
    rows = slice(max(top, 0), min(top + planes.shape[1], height))
    cols = slice(max(left, 0), min(left + planes.shape[2], width))
    return rows, cols, planes[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]


def _add_behind(light: Tensor, gap: Tensor, color: Tensor, coverage: Tensor) -> None:
    """Add a premultiplied layer to what lies in front of it, in place: it fills the gap that is left and no more.

    Neighbouring surfaces of one photo are complementary (where one ends the next begins), so their coverages add;
    multiplying transmittances instead would let the background leak through every surface that spans two bins.
    """
    share = coverage.clamp(min=0).minimum(gap)
    light.addcmul_(color, share / coverage.clamp(min=1e-6))
    gap -= share


def _shrink(size: Sequence[int], level: int) -> tuple[int, int]:
    return size[0] >> level, size[1] >> level


def _enlarge(planes: Tensor, level: int) -> Tensor:
    if level == 0:
        return planes
    return F.interpolate(planes[None], scale_factor=2**level, mode="bilinear")[0]
