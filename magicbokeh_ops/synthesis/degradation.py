"""Second-order degradation of Real-ESRGAN (arXiv 2107.10833), which the paper trains on, for batches of photos.

Kernels, noise and JPEG quality differ from photo to photo. Sizes in between, the order of the last two steps, and which of several
strengths it is, are drawn once for a batch, so that it stays one tensor.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from kornia.enhance import jpeg_codec_differentiable
from torch import Tensor

from .convolution import convolve
from .sources import integer, uniform

KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
KIND_PROBABILITIES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
SINC_PROBABILITY = 0.1  # of a sinc filter instead of one of the kinds
GRAY_PROBABILITY = 0.4  # of noise that is the same in all channels
REACH = 10  # of all kernels: 21 x 21 pixels
MODES = ("area", "bilinear", "bicubic")

Range = tuple[float, float]


@dataclass(frozen=True)
class Round:
    """One round of blur, resize, noise and JPEG. Ranges are uniform.

    blur: probability. largest: largest kernel, from 7 pixels. sigma: in pixels. beta_generalized, beta_plateau: shape.
    up, down: probabilities of enlarging and shrinking. factor: of resizing.
    gaussian: spread, of 255. poisson: factor on shot noise. quality: of JPEG.
    """

    blur: float
    largest: int
    sigma: Range
    beta_generalized: Range
    beta_plateau: Range
    up: float
    down: float
    factor: Range
    gaussian: Range
    poisson: Range
    quality: Range


# "full": Real-ESRGAN's options for x4, which OSEDiff and SeeSR share. "mild": S3Diff's. "light": our own, for networks of a few
# million values: more noise than blur, since noise can be taken away without knowing what things look like. "camera": what photos have
# that were enlarged and compressed once; what is finest in them is often detail, where in "light" it is nearly always noise.
STRENGTHS = {
    "full": (
        Round(1, 21, (0.2, 3), (0.5, 4), (1, 2), 0.2, 0.7, (0.15, 1.5), (1, 30), (0.05, 3), (30, 95)),
        Round(0.8, 21, (0.2, 1.5), (0.5, 4), (1, 2), 0.3, 0.4, (0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95)),
    ),
    "mild": (
        Round(1, 21, (0.2, 1.5), (0.5, 2), (1, 1.5), 0.2, 0.7, (0.3, 1.5), (1, 15), (0.05, 2), (60, 95)),
        Round(0.5, 11, (0.2, 1), (0.5, 2), (1, 1.5), 0.3, 0.4, (0.6, 1.2), (1, 12), (0.05, 1), (60, 100)),
    ),
    "light": (
        Round(1, 11, (0.2, 1), (0.5, 2), (1, 1.5), 0.1, 0.4, (0.7, 1.2), (2, 30), (0.1, 3.5), (70, 95)),
        Round(0.3, 7, (0.2, 0.6), (0.5, 2), (1, 1.5), 0.2, 0.3, (0.85, 1.1), (1, 8), (0.05, 0.7), (75, 100)),
    ),
    "camera": (
        Round(0.4, 9, (0.2, 1), (0.5, 2), (1, 1.5), 0.05, 0.2, (0.85, 1.1), (0.3, 22), (0.02, 1), (50, 98)),
        Round(0.1, 7, (0.2, 0.5), (0.5, 2), (1, 1.5), 0.1, 0.1, (0.95, 1.05), (0, 2), (0.01, 0.1), (80, 100)),
    ),
}
UNTOUCHED = {"full": 0.0, "mild": 0.01, "light": 0.02, "camera": 0.03}  # probability that a photo stays as it is
FINAL_SINC = {"full": 0.8, "mild": 0.8, "light": 0.1, "camera": 0.03}  # probability of a sinc filter at the end
SMOOTHLY = ("camera",)  # resize as good software does, with smoothing before shrinking


@dataclass(frozen=True)
class Degradation:
    """Makes low-quality photos of good ones.

    scale: how many times smaller the low-quality photo is before it is brought back to full size; 4 in the paper. Or the
    lowest and highest, between which each batch has its own.
    strength: "full", "mild" for half the noise and blur, "light" for little blur and as much noise as "full", or "camera" for less of
    both. Of several, each batch has one.
    Raises ValueError for values that don't exist.
    """

    scale: float | tuple[float, float] = 4.0
    strength: str | tuple[str, ...] = "full"

    def __post_init__(self):
        if not 1 <= self._range[0] <= self._range[1] <= 8:
            raise ValueError(f"scale is {self.scale}; it goes from 1 to 8, by which the low-quality photo is smaller.")
        for strength in self._strengths or ("",):
            if strength not in STRENGTHS:
                raise ValueError(f"strength is {strength!r}; choose one of: {', '.join(STRENGTHS)}.")

    @property
    def _range(self) -> tuple[float, float]:
        return self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale)

    @property
    def _strengths(self) -> tuple[str, ...]:
        return (self.strength,) if isinstance(self.strength, str) else self.strength

    def __call__(self, photos: Tensor, generator: torch.Generator) -> Tensor:
        """Low-quality versions of `photos`, (B, 3, H, W) sRGB in [0, 1], of the same size.

        The generator is a CPU one. Raises ValueError if photos get too small for the kernels on the way.
        """
        size = photos.shape[-2:]
        lowest, highest = self._range
        smallest = min(STRENGTHS[strength][0].factor[0] for strength in self._strengths)
        least = math.ceil((REACH + 1) * max(highest, 1 / smallest))
        if min(size) < least:
            raise ValueError(f"photos are {size[0]} x {size[1]}; at scale {highest:g} they need {least} pixels and more.")
        strength = self._strengths[0]
        if len(self._strengths) > 1:
            strength = self._strengths[integer(generator, len(self._strengths))]
        first, second = STRENGTHS[strength]
        resize = partial(_resize, smoothly=strength in SMOOTHLY, generator=generator)
        scale = lowest * (highest / lowest) ** uniform(generator)
        small = [round(n / scale) for n in size]
        noise = torch.Generator(photos.device).manual_seed(integer(generator, 2**31))
        x = resize(_blur(photos, _random_kernels(len(photos), first, generator)), _random_size(size, first, generator))
        x = _jpeg(_add_noise(x, first, generator, noise), first.quality, generator)
        x = resize(_blur(x, _random_kernels(len(photos), second, generator)), _random_size(small, second, generator))
        x = _add_noise(x, second, generator, noise)
        if uniform(generator) < 0.5:
            x = _jpeg(_final(x, small, strength, resize, generator), second.quality, generator)
        else:
            x = _final(_jpeg(x, second.quality, generator), small, strength, resize, generator)
        x = (x.clamp(0, 1) * 255).round() / 255
        x = resize(x, size).clamp(0, 1)
        untouched = torch.rand(len(photos), 1, 1, 1, generator=generator) < UNTOUCHED[strength]
        return torch.where(untouched.to(photos.device), photos, x)


def _final(photos: Tensor, size, strength: str, resize: Callable, generator: torch.Generator) -> Tensor:
    """To the low-quality size, and through a sinc filter."""
    batch = len(photos)
    width = 7 + 2 * torch.randint((2 * REACH + 1 - 7) // 2 + 1, (batch,), generator=generator)
    sinc = sinc_kernels(_draw(batch, math.pi / 3, math.pi, generator), width)
    used = torch.rand(batch, generator=generator) < FINAL_SINC[strength]
    return _blur(resize(photos, size), torch.where(used[:, None, None], sinc, _identity()))


def bell_kernels(sigma: Tensor, rotation: Tensor, beta: Tensor, plateau: Tensor, size: Tensor) -> Tensor:
    """Gaussian (beta 1), generalized Gaussian and plateau-shaped kernels with sum 1, (B, 21, 21).

    exp(-q^beta / 2), or 1 / (1 + q^beta) where `plateau`, with q the squared Mahalanobis distance.
    sigma: (B, 2) pixels along the kernel's axes. rotation: (B,) radians. beta: (B,). plateau: (B,) bool.
    size: (B,) width in pixels, odd, at most 21; zero outside.
    """
    y, x = _offsets()
    cos, sin = rotation.cos()[:, None, None], rotation.sin()[:, None, None]
    along, across = (x * cos + y * sin) / sigma[:, :1, None], (y * cos - x * sin) / sigma[:, 1:, None]
    q = (along**2 + across**2) ** beta[:, None, None]
    return _cut(torch.where(plateau[:, None, None], 1 / (1 + q), torch.exp(-q / 2)), size)


def sinc_kernels(cutoff: Tensor, size: Tensor) -> Tensor:
    """Ideal circular low-pass with sum 1, (B, 21, 21): omega J1(omega rho) / (2 pi rho), which rings like bad sharpening.

    cutoff: (B,) omega in radians per pixel, up to pi. size: (B,) width in pixels, odd, at most 21; zero outside.
    """
    y, x = _offsets()
    rho, omega = torch.hypot(x, y), cutoff[:, None, None]
    values = omega * torch.special.bessel_j1(omega * rho) / (math.tau * rho)
    return _cut(torch.where(rho == 0, omega**2 / (4 * math.pi), values), size)


def _offsets() -> tuple[Tensor, Tensor]:
    offset = torch.arange(-REACH, REACH + 1).float()
    return offset[:, None], offset[None]


def _cut(kernels: Tensor, size: Tensor) -> Tensor:
    y, x = _offsets()
    kernels = kernels * (torch.maximum(y.abs(), x.abs()) <= size[:, None, None] // 2)
    return kernels / kernels.sum((1, 2), keepdim=True)


def _draw(batch: int, low: float | Tensor, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(batch, generator=generator)


def _random_kernels(batch: int, settings: Round, generator: torch.Generator) -> Tensor:
    """Kernels of all kinds, (B, 21, 21); those that do not blur are a single 1."""

    def chance(probability: float) -> Tensor:
        return torch.rand(batch, generator=generator) < probability

    size = 7 + 2 * torch.randint((settings.largest - 7) // 2 + 1, (batch,), generator=generator)
    kind = torch.multinomial(torch.tensor(KIND_PROBABILITIES), batch, replacement=True, generator=generator)
    sigma = torch.stack([_draw(batch, *settings.sigma, generator) for _ in range(2)], 1)
    sigma[kind % 2 == 0, 1] = sigma[kind % 2 == 0, 0]
    beta = torch.ones(batch)
    for shape, (low, high) in ((1, settings.beta_generalized), (2, settings.beta_plateau)):
        drawn = torch.where(chance(0.5), _draw(batch, low, 1, generator), _draw(batch, 1, high, generator))
        beta = torch.where(kind // 2 == shape, drawn, beta)
    kernels = bell_kernels(sigma, _draw(batch, -math.pi, math.pi, generator), beta, kind // 2 == 2, size)
    lowest = torch.where(size < 13, math.pi / 3, math.pi / 5)
    sinc = sinc_kernels(_draw(batch, lowest, math.pi, generator), size)
    kernels = torch.where(chance(SINC_PROBABILITY)[:, None, None], sinc, kernels)
    return torch.where(chance(settings.blur)[:, None, None], kernels, _identity())


def _identity() -> Tensor:
    y, x = _offsets()
    return ((x == 0) & (y == 0)).float()


def _blur(photos: Tensor, kernels: Tensor) -> Tensor:
    return convolve(F.pad(photos, (REACH,) * 4, mode="reflect"), kernels.to(photos.device))


def _random_size(size, settings: Round, generator: torch.Generator) -> list[int]:
    chance, factor = uniform(generator), 1.0
    if chance < settings.up:
        factor = uniform(generator, 1, settings.factor[1])
    elif chance < settings.up + settings.down:
        factor = uniform(generator, settings.factor[0], 1)
    return [round(n * factor) for n in size]


def _resize(photos: Tensor, size, smoothly: bool, generator: torch.Generator) -> Tensor:
    """Resize, with or without smoothing before shrinking, which `area` always does."""
    mode = MODES[integer(generator, len(MODES))]
    return F.interpolate(photos, size=tuple(size), mode=mode, antialias=smoothly and mode != "area")


def _add_noise(photos: Tensor, settings: Round, generator: torch.Generator, noise: torch.Generator) -> Tensor:
    """Gaussian noise for half of the photos, shot noise for the others; each photo has its own, also if it is gray."""
    batch = len(photos)
    photos = photos.clamp(0, 1)
    gaussian, gray = torch.rand(2, batch, generator=generator).unbind()
    spread = _draw(batch, *settings.gaussian, generator) / 255
    factor = _draw(batch, *settings.poisson, generator)
    out = photos.clone()
    for is_gaussian in (True, False):
        for is_gray in (True, False):
            rows = (((gaussian < 0.5) == is_gaussian) & ((gray < GRAY_PROBABILITY) == is_gray)).nonzero()[:, 0]
            if not len(rows):
                continue
            own, strength = photos[rows.to(photos.device)], (spread if is_gaussian else factor)[rows].to(photos)
            if is_gray:
                own = (own * own.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
            if is_gaussian:
                drawn = torch.randn(own.shape, generator=noise, device=own.device)
            else:
                drawn = _shot_noise(own, noise)
            out[rows.to(photos.device)] += drawn * strength.view(-1, 1, 1, 1)
    return out.clamp(0, 1)


def _shot_noise(photos: Tensor, noise: torch.Generator) -> Tensor:
    """Poisson noise whose photon count at white is the number of a photo's 8-bit levels, to the next power of two."""
    levels = (photos * 255).round()
    index = levels.long().flatten(1) + 256 * torch.arange(len(photos), device=photos.device)[:, None]
    used = (torch.bincount(index.flatten(), minlength=256 * len(photos)).view(-1, 256) > 0).sum(1)
    photons = torch.exp2(used.float().log2().ceil()).view(-1, 1, 1, 1)
    return torch.poisson(levels / 255 * photons, generator=noise) / photons - levels / 255


def _jpeg(photos: Tensor, quality: Range, generator: torch.Generator) -> Tensor:
    drawn = _draw(len(photos), *quality, generator)
    return jpeg_codec_differentiable(photos.clamp(0, 1), drawn.to(photos.device))
