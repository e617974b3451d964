"""The one diffusion step: encode, condition, predict the clean latent, decode.

The image is enlarged if asked for, and mirrored up to 512 pixels and to multiples of a latent's side, its defocus map and focus mask
with it. *fast* encodes and decodes it in tiles of 2048 pixels at most, and predicts in latent tiles of at most 72, overlapping by 6,
that are blended as latents with smooth weights (72 instead of the 64 of training makes fewer tiles). *reference* does all three for
each tile of 512 pixels by itself, every 256 pixels, and blends pixels, as the released code does. Nothing that a tile needs (focus,
normalisation, colour statistics) comes from the tile. How the clean latent follows from a prediction is the `method`'s.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..color import match_low_frequencies, match_mean_and_spread
from ..defocus import K_TRAINED, check_image, check_map, check_same_shape, resize
from ..planes import OVERSHOOT
from .budget import Budget
from .method import method_of
from .tiling import blend, even_tiles, mirrored, released_positions, smooth_ramp

TRAINED = 64  # latents per side of the pictures that the networks were trained on
RELEASED_STRIDE = 32  # latents
SMALLEST = 64
UPSCALE_LIMIT = 4

CODEC_OVERLAP = 16  # of tiles in the VAE, in latents

PRESETS = ["fast", "reference"]
# How colours are kept: fix(picture, photo).
COLOR_FIXES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "adain": match_mean_and_spread,
    "wavelet": match_low_frequencies,
    "none": lambda image, _: image.clamp(0, 1),
}

# predict(latent, defocus, regions): clean latent of tiles, see `method.predict`.
Predict = Callable[[Tensor, Tensor, Tensor | None], Tensor]
Progress = Callable[[int, int], None]
# Gets the latent as it is so far: predicted in tiles that are done, encoded in the others.
Show = Callable[[Tensor], None]


class Codec(Protocol):
    """Images (B, 3, H, W) in [-1, 1] to and from unscaled latents (B, C, h, w).

    cell: pixels per latent, 8 for Stable Diffusion's VAE. One that goes with another method than Stable Diffusion's names it as
    `prediction` (`method.method_of`).
    """

    cell: int

    def encode(self, image: Tensor, noise: Tensor | None) -> Tensor:
        """The posterior's mean, or with noise of the latent's shape the sample mean + deviation * noise."""
        ...

    def decode(self, latent: Tensor) -> Tensor: ...


class _Steps:
    """Tells `progress` of every step before it is taken, and of the end."""

    def __init__(self, progress: Progress | None, total: int):
        self.progress, self.done, self.total = progress, 0, total

    def __call__(self) -> None:
        if self.progress is not None:
            self.progress(self.done, self.total)
        self.done += 1


def _crop(x: Tensor, position: tuple[int, int], size: Sequence[int], cell: int = 1) -> Tensor:
    (top, left), (height, width) = position, size
    return x[..., cell * top : cell * (top + height), cell * left : cell * (left + width)]


def encode_whole(
    codec: Codec,
    image: Tensor,
    noise: Tensor | None = None,
    budget: Budget = Budget(),
    step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Unscaled latent (1, C, h, w) of an image (1, 3, H, W) in [0, 1], whose sides are multiples of the codec's cell.

    noise: of the posterior, at the latent's size.
    """
    size = [length // codec.cell for length in image.shape[-2:]]
    positions, tile_size = even_tiles(size, budget.codec_tile, CODEC_OVERLAP)

    def tiles() -> Iterator[Tensor]:
        for position in positions:
            step()
            pixels = 2 * _crop(image, position, tile_size, codec.cell) - 1
            yield codec.encode(pixels, None if noise is None else _crop(noise, position, tile_size))

    return blend(tiles(), positions, size, CODEC_OVERLAP, smooth_ramp)


def decode_whole(codec: Codec, latent: Tensor, budget: Budget = Budget(), step: Callable[[], None] = lambda: None) -> Tensor:
    """Image (1, 3, H, W) in [-1, 1] of an unscaled latent (1, C, h, w)."""
    size, cell = latent.shape[-2:], codec.cell
    positions, tile_size = even_tiles(size, budget.codec_tile, CODEC_OVERLAP)

    def tiles() -> Iterator[Tensor]:
        for position in positions:
            step()
            yield codec.decode(_crop(latent, position, tile_size)).clamp(-1, 1)

    corners = [(cell * top, cell * left) for top, left in positions]
    return blend(tiles(), corners, [cell * length for length in size], cell * CODEC_OVERLAP, smooth_ramp)


def sample_fast(
    codec: Codec,
    predict: Predict,
    image: Tensor,
    defocus: Tensor,
    regions: Tensor | None,
    noise: Tensor | None = None,
    budget: Budget = Budget(),
    progress: Progress | None = None,
    show: Show | None = None,
) -> tuple[Tensor, Tensor]:
    """Encode and decode the whole image; predict in tiles that are blended as latents.

    image: (1, 3, H, W) in [0, 1], sides multiples of the codec's cell. defocus, regions: (1, 1, H, W). noise: (1, C, h, w).
    Returns the picture in [0, 1], before any colour transfer, and its unscaled latent.
    """
    cell = codec.cell
    tile, overlap, batch = method_of(codec).tiles(budget.tile, budget.batch, cell)
    size = [length // cell for length in image.shape[-2:]]
    positions, tile_size = even_tiles(size, tile, overlap)
    coded, _ = even_tiles(size, budget.codec_tile, CODEC_OVERLAP)
    step = _Steps(progress, 2 * len(coded) + -(-len(positions) // batch))
    latent = encode_whole(codec, image, noise, budget, step)
    seen = latent.clone()

    def predicted() -> Iterator[Tensor]:
        for i in range(0, len(positions), batch):
            step()
            some = positions[i : i + batch]
            x = torch.cat([_crop(latent, position, tile_size) for position in some])
            hints = torch.cat([_crop(defocus, position, tile_size, cell) for position in some])
            masks = None if regions is None else torch.cat([_crop(regions, position, tile_size, cell) for position in some])
            tiles = predict(x, hints, masks).split(1)
            if show is not None:
                for position, tile in zip(some, tiles):
                    _crop(seen, position, tile_size).copy_(tile)
                show(seen)
            yield from tiles

    latent = blend(predicted(), positions, size, overlap, smooth_ramp)
    picture = (decode_whole(codec, latent, budget, step) + 1) / 2
    step()
    return picture, latent


def sample_as_released(
    codec: Codec,
    predict: Predict,
    image: Tensor,
    defocus: Tensor,
    regions: Tensor | None,
    noise: Tensor | None = None,
    progress: Progress | None = None,
    show: Show | None = None,
) -> Tensor:
    """The released procedure: each tile of 64 latents a side (512 pixels) is encoded, predicted and decoded by itself; pixels are blended.

    image: (1, 3, H, W) in [0, 1], sides of a tile or more. defocus, regions: (1, 1, H, W).
    noise: (tiles, C, 64, 64), of the posterior, in the order of the tiles.
    Returns the picture in [0, 1], before the colour transfer, cut to 8 bit as released.
    """
    size, side, stride = image.shape[-2:], TRAINED * codec.cell, RELEASED_STRIDE * codec.cell
    positions, tile = released_positions(size, side, stride), (side, side)
    wanted = (len(positions), 4, TRAINED, TRAINED)
    if noise is not None and noise.shape != wanted:
        raise ValueError(f"noise has shape {tuple(noise.shape)}; for this image's tiles it must be {wanted}.")
    step = _Steps(progress, 3 * len(positions))
    latents = []
    for i, position in enumerate(positions):
        step()
        pixels = 2 * _crop(image, position, tile) - 1
        latents.append(codec.encode(pixels, None if noise is None else noise[i : i + 1]))
    corners = [(top // codec.cell, left // codec.cell) for top, left in positions]
    seen = latents[0].new_zeros(*latents[0].shape[:2], *(length // codec.cell for length in size))
    for latent, corner in zip(latents, corners):
        _crop(seen, corner, (TRAINED, TRAINED)).copy_(latent)
    for i, position in enumerate(positions):
        step()
        masks = None if regions is None else _crop(regions, position, tile)
        latents[i] = predict(latents[i], _crop(defocus, position, tile), masks)
        if show is not None:
            _crop(seen, corners[i], (TRAINED, TRAINED)).copy_(latents[i])
            show(seen)

    def decoded() -> Iterator[Tensor]:
        for latent in latents:
            step()
            yield codec.decode(latent).clamp(-1, 1)

    picture = (blend(decoded(), positions, size, stride) + 1) / 2
    step()
    return _eight_bit(picture)


def _eight_bit(picture: Tensor) -> Tensor:
    return (picture.clamp(0, 1) * 255).floor() / 255


def grow(x: Tensor, least: int, cell: int) -> Tensor:
    """Mirror the right and lower ends of a picture until its sides are multiples of `cell` and `least` or more."""
    size = [-(-max(least, length) // cell) * cell for length in x.shape[-2:]]
    rows, cols = (mirrored(length, wanted).to(x.device) for length, wanted in zip(x.shape[-2:], size))
    return x[..., rows, :][..., cols]


def target_size(size: Sequence[int], upscale: float) -> tuple[int, int]:
    """Height and width of the result. Raises ValueError if the image is too small or `upscale` is out of range."""
    if not 1 <= upscale <= UPSCALE_LIMIT:
        raise ValueError(f"upscale is {upscale:g}; it goes from 1 to {UPSCALE_LIMIT}.")
    height, width = (round(length * upscale) for length in size)
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"image is {width} x {height} pixels; MagicBokeh needs {SMALLEST} on each side, so enlarge it or raise upscale."
        )
    return height, width


def render(
    codec: Codec,
    predict: Predict,
    image: Tensor,
    defocus: Tensor,
    focus_mask: Tensor | None = None,
    preset: str = "fast",
    upscale: float = 1.0,
    color_fix: str = "adain",
    seed: int | None = None,
    noise: Tensor | None = None,
    budget: Budget = Budget(),
    progress: Progress | None = None,
    show: Show | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Restore a photo and blur it as its defocus map says, in one step.

    image: (1, 3, H, W) sRGB in [0, 1], cut off beyond. defocus (radius / 32, 0 or more) and focus_mask: (1, 1, h, w), scaled to the
    result's size; defocus 0 everywhere is plain super-resolution, focus_mask None = attention over everything.
    A radius goes up to half the longer side of the result.
    preset: "fast" or "reference" (the released tiles; for nano the same as fast, cut to 8 bit). upscale: factor before the step,
    1 to 4, bicubic.
    color_fix: "adain", "wavelet" or "none"; takes colours from the whole input. nano keeps colours by itself, so that "adain" does
    nothing there.
    seed: samples the VAE's posterior; None takes its mean. noise: the sample itself, one per released tile.
    progress: called with (steps done, steps in all). show: called with the unscaled latent so far, after every few tiles.
    Computed in fp32. Returns the picture (1, 3, H * upscale, W * upscale) in [0, 1] in the photo's dtype, and its unscaled
    latent, sides rounded up; None of released tiles, which have none together.
    Raises ValueError for a bad option, another number of pictures than one, a picture below 64 pixels, maps of another shape than
    the picture, a negative radius and NaN.
    """
    check_image(image)
    maps = {"defocus": defocus} if focus_mask is None else {"defocus": defocus, "focus_mask": focus_mask}
    for name, values in maps.items():
        check_map(values, name)
        check_same_shape(values, image.shape[-2:], name)
    for name, values in {"image": image, **maps}.items():
        if len(values) != 1:
            raise ValueError(f"{name} has {len(values)} frames; render one picture at a time.")
    lowest = float(defocus.amin())
    if lowest < -OVERSHOOT:
        raise ValueError(f"defocus goes down to {lowest:.4g}; a blur radius is 0 or more.")
    for name, value, choices in (("preset", preset, PRESETS), ("color_fix", color_fix, list(COLOR_FIXES))):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; choose one of: {', '.join(choices)}.")
    if seed is not None and noise is not None:
        raise ValueError("seed and noise are both given; one of them says what the sample is.")
    size, dtype = target_size(image.shape[-2:], upscale), image.dtype
    image = image.float().clamp(0, 1)
    if size != tuple(image.shape[-2:]):
        image = F.interpolate(image, size=size, mode="bicubic").clamp(0, 1)
    method = method_of(codec)
    in_tiles = preset == "reference" and not method.lossless
    cell, least = 1 if in_tiles else codec.cell, TRAINED * codec.cell
    blur = resize(defocus, size).float().clamp(0, max(size) / 2 / K_TRAINED)
    padded, blur = grow(image, least, cell), grow(blur, least, cell)
    regions = None if focus_mask is None else grow((resize(focus_mask, size) > 0.5).float(), least, cell)
    transfer = COLOR_FIXES["none" if color_fix == "adain" and method.lossless else color_fix]
    if in_tiles:
        if seed is not None:
            tiles = len(released_positions(padded.shape[-2:], least, RELEASED_STRIDE * codec.cell))
            noise = _noise(seed, tiles, TRAINED, TRAINED)
        picture = sample_as_released(codec, predict, padded, blur, regions, noise, progress, show)
        return _eight_bit(transfer(picture[..., : size[0], : size[1]], image)).to(dtype), None
    if noise is not None and preset == "fast":
        raise ValueError(
            "noise is for the tiles of the reference preset, but preset is 'fast'; leave it out or choose reference."
        )
    if seed is not None:
        noise = _noise(seed, 1, *(length // cell for length in padded.shape[-2:]))
    picture, latent = sample_fast(codec, predict, padded, blur, regions, noise, budget, progress, show)
    picture = transfer(picture[..., : size[0], : size[1]], image)
    if preset == "reference":
        picture = _eight_bit(picture)
    # A part of a larger tensor would keep that, for every frame of a batch.
    return picture.to(dtype), latent[..., : -(-size[0] // cell), : -(-size[1] // cell)].contiguous()


def _noise(seed: int, count: int, height: int, width: int) -> Tensor:
    return torch.randn(count, 4, height, width, generator=torch.Generator().manual_seed(seed))
