"""Grain: the noise that a blur takes away, measured on the photo and put back, so that a blurred background does not look plastic.

Measuring. Noise is what all blocks of a photo have in common; texture comes on top. Blocks of 24 x 24 pixels from all over the photo
(what stays in focus has the same noise as the rest, but more texture) are looked at by frequency. Two things are found from each
other in turn:

* The spectrum is the median over the blocks that have no more power than noise at their brightness has. It makes noise blotchy that
  a camera has smoothed or compressed, and holds what channels share: luma noise is grey, chroma noise is coloured.
* The noise by brightness, channel by channel: blocks are sorted by brightness into groups. A group's noise is that of its flattest
  blocks, and as texture adds more to some frequencies than to others, it is what fits beneath their power in each of four bands.
  A group counts by the share of its blocks that are flat and look like noise, in which each frequency is drawn by itself (edges
  and patterns have peaks, or are the same in every block). Where few do, noise is like that of the neighbours.

Adding. White noise is filtered to the measured spectrum, less what a disc of the blur's radius has let through, and scaled to the
noise at the picture's own brightness. Filters are made for a few radii and fade into each other. The white noise comes in tiles
with a seed each; what the filter spreads beyond a tile is added to its neighbours, so that no tile shows.

Both in sRGB, where noise depends less on brightness than in linear light.
"""

import math
import zlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .color import linear_to_srgb, srgb_to_linear
from .planes import check_image

BLOCK = 24  # pixels, side of a block and of the filters
STEP, MOST, SAMPLE = 8, 8192, 1024  # pixels between blocks at least, how many are looked at, and how many make the spectrum
CLIPPED = 0.02  # share of a block at the photo's darkest or brightest value, above which its noise is cut off
GROUPS, LEAST = 8, 100  # of brightness, and blocks in each
BANDS = (1.5 / BLOCK, 0.15, 0.25, 0.35, 0.71)  # cycles per pixel; shading hides what is below
ROUNDS = 6
FLATTEST = 0.05  # share of the blocks that are looked at even if none is flat
TOLERANCE = 2.5  # standard deviations by which the power of a flat block may exceed that of noise
STEEPEST = 3.0  # times the noise of the levels with little: cameras differ less between dark and bright
UNLIKE = 0.18  # difference from noise in how uneven the power of a block is, from which on it is none
SMOOTH = 0.25  # weight of the neighbouring levels, beside 1 for a group of flat blocks only
EVIDENCE = 0.1  # share of a group that must be flat and like noise, in two channels at least
REPEATED = 0.25  # correlation over 7 pixels and more that a pattern has
FAINTEST = 1e-4  # standard deviation, far below a level of 8 bits
RADII = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # of blur, in pixels, that filters are made for
TILE = 256  # pixels, side of a tile with what the filter spreads


@dataclass(frozen=True)
class Grain:
    """Noise of a photo.

    levels, sigma: (3, n), standard deviation of each channel at ascending levels, in sRGB. spectrum: (3, 3, 24, 24), power between
    channels by frequency in the order of `torch.fft.fft2`; a channel's own is 1 on average.
    color_space: "srgb" or "linear", that of the photo.
    """

    levels: Tensor
    sigma: Tensor
    spectrum: Tensor
    color_space: str = "srgb"

    def at(self, picture: Tensor) -> Tensor:
        """Standard deviation for each value of a picture (3, H, W), both in the photo's colour space."""
        linear = self.color_space == "linear"
        coded = linear_to_srgb(picture) if linear else picture
        levels, sigma = (values[..., None, None].to(picture) for values in (self.levels, self.sigma))
        found = sigma[:, 0].expand_as(picture)
        for i in range(1, levels.shape[1]):
            gap = (levels[:, i] - levels[:, i - 1]).clamp(min=1e-6)
            found = found + (sigma[:, i] - sigma[:, i - 1]) * ((coded - levels[:, i - 1]) / gap).clamp(0, 1)
        if not linear:
            return found
        step = 1 / 1024
        return found * (srgb_to_linear(coded + step) - srgb_to_linear(coded)) / step


def measure(image: Tensor, alpha: Tensor | None = None, color_space: str = "srgb") -> Grain:
    """Noise of a photo, from all over it, whatever the lens will leave in focus.

    image: (1, 3, H, W) in `color_space`, "srgb" or "linear". alpha: (1, 1, H, W) in [0, 1]; only what is opaque counts.
    A picture without noise, or with less than about 100 x 100 pixels to look at, has a `sigma` of 0 everywhere.
    Raises ValueError for what is no finite picture.
    """
    check_image(image)
    blocks, usable = _blocks(image, alpha, color_space)
    if usable.sum(0).amax() < LEAST:
        return _without_noise(color_space)
    spectra = torch.fft.rfft2(_without_slope(blocks) * _window()) / BLOCK
    power = spectra.real**2 + spectra.imag**2
    bands = _bands()
    total = torch.einsum("ncyx,kyx->nc", power, bands)
    level, order = _groups(blocks.mean((2, 3)).T, usable.T)
    ordered = torch.stack([power[:, channel][members] for channel, members in enumerate(order)])
    energies = torch.einsum("cgnyx,kyx->cgnk", ordered, bands)
    energy = energies.sum(3)
    noise = variance = lowest = energy.quantile(FLATTEST, 2)
    tolerance = 1.4
    for _ in range(ROUNDS):
        expected = torch.zeros_like(total.T).scatter(1, order.flatten(1), variance.repeat_interleave(order.shape[2], 1))
        expected = expected.T.clamp(min=FAINTEST**2)
        excess = (total / expected).amax(1)
        chosen = (excess <= max(tolerance, float(excess.quantile(FLATTEST)))).nonzero()[:, 0]
        chosen = chosen[:: math.ceil(len(chosen) / SAMPLE)]
        # The mean of what is spread exponentially, as the power of noise is, from its median, which texture moves less.
        own = (power[chosen] / expected[chosen][..., None, None]).median(0).values / math.log(2)
        shape = torch.einsum("cyx,kyx->ck", own, bands)
        shape = shape / shape.sum(1, keepdim=True).clamp(min=1e-9)
        tolerance = 1 + TOLERANCE * math.sqrt(2 / _freedom(own, bands.sum(0)))

        flat = energy <= torch.maximum(noise * tolerance, lowest)[..., None]
        found = torch.einsum("cgnk,cgn->cgk", energies, flat.float()) / flat.sum(2)[..., None]
        noise = (found / shape[:, None].clamp(min=1e-9)).amin(2)
        noise = noise.minimum(STEEPEST**2 * noise.quantile(0.2, 1, keepdim=True))
        uneven = _unevenness(ordered, flat.float()).masked_fill(~flat, torch.nan).nanmedian(2).values
        likeness = ((UNLIKE - (uneven - 1).abs()) / 0.1).clamp(0, 1)
        trust = (energy <= (noise * tolerance)[..., None]).float().mean(2) * likeness
        variance = _smoothed(noise.sqrt(), trust**2) ** 2
    spectrum = _with_lowest(_between_channels(spectra[chosen], own))
    # From the noise in the bands to all of it.
    mean = _own(spectrum).mean((1, 2))
    variance = variance * (mean / torch.einsum("cyx,kyx->c", own, bands).clamp(min=1e-9))[:, None]
    spectrum = spectrum / (mean[:, None] * mean).sqrt().clamp(min=1e-9)[..., None, None]
    if ((255 * blocks).round() / 255 - blocks).abs().max() < 1e-6:
        variance = variance - 1 / 12 / 255**2  # the rounding's, which comes back when the result is rounded
    if variance.max() < FAINTEST**2 or trust.amax(1).median() < EVIDENCE or _is_pattern(spectrum):
        return _without_noise(color_space)
    return Grain(level, variance.clamp(min=0).sqrt(), spectrum, color_space)


def add(picture: Tensor, grain: Grain, radius: Tensor, amount: float, seed: int, alpha: Tensor | None = None) -> Tensor:
    """Bring the noise of a rendered picture back up to `amount` times that of the photo, where a blur has taken it away.

    picture: (1, 3, H, W), `grain` as measured on the photo, in its colour space. radius: (1, 1, H, W), blur in pixels that has been
    applied, of either sign; where it is 0 the picture stays as it is. amount: 0..1.
    seed: the same gives the same noise, on any device to rounding; frames of a clip need one each, or the grain stands still.
    alpha: (1, 1, H, W); where it is 0 nothing is added.
    Returns (1, 3, H, W), which leaves 0..1 only where the picture does. Raises ValueError for another amount.
    """
    if not 0 <= amount <= 1:
        raise ValueError(f"grain is {amount:g}; it goes from 0 (none) to 1 (as much as the photo has).")
    out = picture.clone()
    if amount == 0 or not grain.sigma.any():
        return out
    low, high = min(0.0, float(picture.min())), 1.0 if picture.max() <= 1 else math.inf
    filters: dict[int, Tensor] = {}
    height, width = picture.shape[-2:]
    side = TILE - BLOCK
    for row in range(math.ceil((height + BLOCK) / side)):
        for col in range(math.ceil((width + BLOCK) / side)):
            top, left = row * side - BLOCK, col * side - BLOCK
            rows, cols = slice(max(top, 0), min(top + TILE, height)), slice(max(left, 0), min(left + TILE, width))
            inside = slice(None), slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
            blurred = _place(radius[0, :, rows, cols].abs().float())
            if alpha is not None:
                blurred = blurred * (alpha[0, :, rows, cols] > 0)
            least, most = (float(end) for end in blurred.aminmax())
            if most == 0:
                continue
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {row} {col}".encode()))
            white = F.pad(torch.randn(3, side, side, generator=generator), (BLOCK // 2,) * 4).to(picture.device)
            spectrum = torch.fft.rfft2(white)
            noise = torch.zeros_like(white[inside])
            for i in range(max(1, math.floor(least)), math.ceil(most) + 1):
                if i not in filters:
                    filters[i] = _filter(grain, amount, RADII[i]).to(picture.device)
                filtered = torch.fft.irfft2((filters[i] * spectrum).sum(1), s=(TILE, TILE))
                noise += filtered[inside] * (1 - (blurred - i).abs()).clamp(min=0)
            content = picture[0, :, rows, cols]
            # No more than black, and white in a photo that ends there, leave room for: what is clipped has no noise.
            room = content.clamp(min=0)
            if high == 1:
                room = room.minimum(1 - content)
            out[0, :, rows, cols] += grain.at(content).minimum(room) * noise
    return out.clamp_(low, high)


def _without_noise(color_space: str) -> Grain:
    return Grain(torch.zeros(3, 1), torch.zeros(3, 1), torch.eye(3)[..., None, None].repeat(1, 1, BLOCK, BLOCK), color_space)


def _blocks(image: Tensor, alpha: Tensor | None, color_space: str) -> tuple[Tensor, Tensor]:
    """Blocks (N, 3, 24, 24) from all over a photo, in sRGB, and in which channels they are not clipped, (N, 3)."""
    height, width = image.shape[-2:]
    step = max(STEP, math.ceil(math.sqrt(height * width / MOST)))
    if min(height, width) < BLOCK:
        return image.new_zeros(0, 3, BLOCK, BLOCK), image.new_zeros(0, 3)

    def cut(planes: Tensor) -> Tensor:
        return planes[0].unfold(1, BLOCK, step).unfold(2, BLOCK, step).movedim(0, 2).flatten(0, 1).cpu()

    blocks = cut(image).float()
    darkest, brightest = (end.cpu().float()[:, None, None] for end in (image[0].amin((1, 2)), image[0].amax((1, 2))))
    usable = ((blocks <= darkest) | (blocks >= brightest)).float().mean((2, 3)) <= CLIPPED
    if alpha is not None:
        opaque = cut(alpha).amin((1, 2, 3)) >= 1
        blocks, usable = blocks[opaque], usable[opaque]
    return linear_to_srgb(blocks) if color_space == "linear" else blocks, usable


def _groups(level: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
    """Of blocks (3, N): mean level (3, groups), and the blocks of each group, (3, groups, count)."""
    order = level.masked_fill(~usable, torch.inf).argsort(1)
    groups = min(GROUPS, order.shape[1] // LEAST)
    count = order.shape[1] // groups
    # A channel without usable blocks takes all; others theirs, some of them more than once.
    found = usable.sum(1, keepdim=True)
    found = found.where(found >= LEAST, order.shape[1])
    order = order.gather(1, torch.arange(groups * count) * found // (groups * count)).view(3, groups, count)
    return level.gather(1, order.flatten(1)).view_as(order).mean(2), order


def _without_slope(blocks: Tensor) -> Tensor:
    along = torch.linspace(-1, 1, BLOCK).expand(BLOCK, BLOCK)
    basis = F.normalize(torch.stack([torch.ones_like(along), along, along.T]).flatten(1))
    flat = blocks.flatten(2)
    return (flat - flat @ basis.T @ basis).view_as(blocks)


def _window() -> Tensor:
    half_wave = math.sqrt(2) * torch.sin(math.pi * (torch.arange(BLOCK) + 0.5) / BLOCK)
    return half_wave[:, None] * half_wave


def _frequency() -> Tensor:
    """Cycles per pixel, (24, 24)."""
    frequency = torch.fft.fftfreq(BLOCK)
    return torch.hypot(frequency[:, None], frequency)


def _bands() -> Tensor:
    """Weights (4, 24, 13) with which the power of half a spectrum, which is all that real values need, sums to the variance in a band."""
    frequency = _frequency()[:, : BLOCK // 2 + 1]
    times = torch.full((BLOCK // 2 + 1,), 2.0)
    times[[0, -1]] = 1
    bands = [((frequency > low) & (frequency <= high)) * times for low, high in zip(BANDS, BANDS[1:])]
    return torch.stack(bands) / BLOCK**2


def _freedom(own: Tensor, weight: Tensor) -> float:
    """Degrees of freedom of a block's power, with the spectrum `own`: few for blotchy noise, and the window leaves 1 in 2.25."""
    share = (own * weight).sum((1, 2)) ** 2 / (own**2 * weight).sum((1, 2)).clamp(min=1e-30)
    return max(8.0, BLOCK**2 * float(share.min()) / 2.25)


def _unevenness(power: Tensor, flat: Tensor) -> Tensor:
    """How unevenly the power of each block is spread about the mean of its group's flat ones, (3, groups, count): 1 for noise.

    power: (3, groups, count, 24, 13). flat: (3, groups, count), 0 or 1.
    """

    def spread(values: Tensor) -> Tensor:
        return (values**2).mean((-2, -1)) / values.mean((-2, -1)).clamp(min=1e-9) ** 2

    mean = torch.einsum("cgnyx,cgn->cgyx", power, flat / flat.sum(2, keepdim=True))[:, :, None]
    # Frequencies with little noise count little.
    weight = _bands().sum(0).sign() / (mean + 0.1 * mean.mean((3, 4), keepdim=True)).clamp(min=1e-12)
    return spread(power * weight) / (2 * spread(mean * weight)).clamp(min=1e-9)


def _is_pattern(spectrum: Tensor) -> bool:
    """Whether a channel repeats itself, as a checkerboard does."""
    correlation = torch.fft.ifft2(_own(spectrum)).real
    distance = torch.fft.fftfreq(BLOCK, 1 / BLOCK).abs()
    far = torch.maximum(distance[:, None], distance) >= 7
    return bool(correlation[:, far].abs().max() > REPEATED)


def _own(spectrum: Tensor) -> Tensor:
    """Power of the channels themselves, (3, ...)."""
    return torch.einsum("cc...->c...", spectrum)


def _between_channels(spectra: Tensor, own: Tensor) -> Tensor:
    """Power between channels, (3, 3, 24, 24), of half spectra (N, 3, 24, 13), where their own power is `own` (3, 24, 13)."""
    cross = torch.einsum("ncyx,ndyx->cdyx", spectra, spectra.conj()).real
    scale = (own / _own(cross).clamp(min=1e-30)).sqrt()
    return torch.fft.fft2(torch.fft.irfft2(cross * scale[:, None] * scale, s=(BLOCK, BLOCK))).real


def _smoothed(sigma: Tensor, weight: Tensor) -> Tensor:
    """Noise of neighbouring groups, (3, groups), made alike by least squares: what lies below counts in full, the rest by its weight."""
    step = torch.eye(sigma.shape[1]).diff(dim=0)
    out = sigma
    for _ in range(4):
        trust = weight.where(sigma >= out, 1.0) + 1e-3
        out = torch.linalg.solve(SMOOTH * step.T @ step + torch.diag_embed(trust), (trust * sigma)[..., None])[..., 0]
    return out


def _with_lowest(spectrum: Tensor) -> Tensor:
    """A spectrum whose lowest frequencies, below all bands, follow from the two rings above them as in a Gaussian."""
    frequency = _frequency()
    hidden = frequency <= BANDS[0]
    rings = [(frequency > low / BLOCK) & (frequency <= high / BLOCK) for low, high in ((1.5, 2.25), (2.5, 3.5))]
    inner, outer = (_own(spectrum)[:, ring].mean(1) for ring in rings)
    square = [(frequency[ring] ** 2).mean() for ring in rings]
    fall = ((inner / outer).log() / (square[1] - square[0])).nan_to_num(0).clamp(min=0)
    gain = torch.exp(fall[:, None] * (square[0] - frequency[hidden] ** 2)).clamp(max=2.5).sqrt()
    whole = spectrum.clone()
    whole[..., hidden] = spectrum[..., rings[0]].mean(-1, keepdim=True) * gain[:, None] * gain
    return whole


def _place(radius: Tensor) -> Tensor:
    """Where a radius lies among `RADII`, as a fractional index."""
    place = torch.zeros_like(radius)
    for low, high in zip(RADII, RADII[1:]):
        place += ((radius - low) / (high - low)).clamp(0, 1)
    return place


def _filter(grain: Grain, amount: float, radius: float) -> Tensor:
    """Transfer function (3, 3, TILE, TILE // 2 + 1), from white noise to what a disc of this radius takes away."""
    angle = (2 * math.pi * radius * _frequency()).clamp(min=1e-6)
    kept = (2 * torch.special.bessel_j1(angle) / angle) ** 2
    power = grain.spectrum * (amount**2 - kept).clamp(min=0)
    values, vectors = torch.linalg.eigh(power.permute(2, 3, 0, 1))
    root = (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mT
    taper = torch.cos(math.pi * torch.fft.fftfreq(BLOCK))
    kernel = torch.fft.ifft2(root.permute(2, 3, 0, 1)).real * taper[:, None] * taper
    # What the taper takes is given back.
    kernel = kernel * (_own(power).mean((1, 2)) / (kernel**2).sum((1, 2, 3)).clamp(min=1e-12)).sqrt()[:, None, None, None]
    place = torch.fft.fftfreq(BLOCK, 1 / BLOCK).long()
    whole = torch.zeros(3, 3, TILE, TILE)
    whole[:, :, place[:, None], place] = kernel
    return torch.fft.rfft2(whole).real
