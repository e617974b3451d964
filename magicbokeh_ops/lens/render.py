"""The lens renderer: a photo and its disparity to the picture that a fast lens would have taken, frame by frame and block by block.

1. Signed radius: k (d - d_f), times `near_scale` or `far_scale`. Steps smaller than an edge, as 8-bit disparity has them, are smoothed.
2. Linear light, premultiplied by alpha: blurring sRGB values turns highlights grey, and colours under transparent pixels would bleed.
3. Edge matting (`edges`): around a depth edge a pixel is a mix of a near and a far surface.
4. Layer inpainting (`behind`): what a nearer surface could uncover is continued from the closest surface behind it.
5. Bins (`bins`): `fragments` are sorted by radius, and each is a mix of the blurs of two or three radii (`kernels`, `convolve`).
6. Compositing (`compose`): front to back, until every pixel is full.

Blurring runs in tiles, with a margin of the largest radius (at most half the picture), on a grid that all resolutions share (`tiles`):
they agree to rounding, so there is no seam to hide. A large photo is worked on in blocks of tiles, so that memory follows the block
and not the photo: what lies behind is first surveyed for the whole picture in cells of 4 and 16 pixels, then looked at closely in
each block. A block gives what the whole would, to rounding.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..aperture import Aperture
from ..defocus import check_image, check_map, check_same_shape, match_batch, signed_radius
from ..planes import check_range, magnified
from . import behind, edges
from .behind import DEPTHS, Behind, Hidden
from .bins import Bins
from .compose import Composer
from .convolve import Blurs
from .edges import Split
from .photo import Photo
from .settings import Settings
from .tiles import BAND, Block, Tile, bands, blocks, tile_rows

BLOCK = 12 * 2**20  # pixels of a photo that are worked on at once
# Steps of the progress for a tile, about as they share its time, and reports of splitting a band of an ordinary photo.
SPLITTING, FILLING, COMPOSING, SPLITS = 4, 3, 10, 4
COLOR_SPACES = ("srgb", "linear")
STRONGEST_BOOST = 16.0  # stops; by then all that is bright is as bright as can be


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
    alpha: Tensor | None = None,
    device: torch.device | str | None = None,
    block: int = BLOCK,
    color_space: str = "srgb",
    focus_range: float = 0.0,
    falloff: float = 1.0,
    tilt: float = 0.0,
    tilt_direction: float = 0.0,
    grain: float = 0.0,
    grain_seed: int | Sequence[int] = 0,
    matte: Tensor | None = None,
    background: Tensor | None = None,
    background_disparity: Tensor | None = None,
    breathing: float = 0.0,
) -> Tensor:
    """Photograph `image` through a thin lens (paper Eq. 1 gives the radius; the renderer is our own).

    image: (B, 3, H, W) in `color_space`, white = 1; what is brighter is light and stays so.
    disparity: (B or 1, 1, h, w) in [0, 1], 1 = nearest; resized to the image, whose shape it must have.
    focus: disparity in focus. k: blur radius in pixels at |disparity - focus| = 1. One value, or one per image.
    highlight_boost: stops of light added to clipped highlights out of focus, up to 16. Only sRGB is clipped, at 1.
    near_scale, far_scale: factors on the radius in front of and behind the focal plane.
    progress: called with (steps done, steps in all), many times per step; may raise to stop.
    show: called after each tile with the frame (3 or 4, H, W) so far, the photo where it is not done.
    alpha: (B or 1, 1, H, W) in [0, 1], how opaque the photo is. What is transparent sends no light; alpha is blurred with the rest.
    device: where blocks are worked on; that of the image if None. block: pixels of the photo that are worked on at once,
    their surroundings included, or one tile if that is more: less takes less memory, for the same picture to rounding.
    color_space: of the image and of the picture, "srgb" or "linear" (scene-linear light, as EXR holds it).
    focus_range: depth, in disparity, that stays sharp around the focus. falloff: power with which the blur grows from there.
    tilt, tilt_direction: of the focal plane, as for `focal_plane.slopes`; focus is then that of the middle of the picture.
    grain: how much of the photo's noise is put back where the blur takes it away, 0..1. grain_seed: of it, one or one per image.
    matte: (B or 1, 1, H, W) in [0, 1], coverage of the subject. Around its outline, both surfaces are photographed as layers, and the
    disparity of each side comes from its pixels well inside.
    background: (B or 1, 3, H, W), the photo without the subject (a clean plate), which shows what is hidden; needs `matte`.
    background_disparity: (B or 1, 1, h, w) of it, else that of the photo around the subject is continued.
    breathing: share by which the picture is larger with the nearest point in focus than with the farthest, 0..1.

    A radius goes up to half the longer side of the image, beyond which all is one haze.
    Returns (B, 3, H, W), with `alpha` (B, 4, H, W), of at least 0 in sRGB, and up to 1 where the photo holds no more and nothing is
    boosted. Frames are independent: a batch equals its single runs.
    Raises ValueError for wrong shapes, NaN or infinite values, and options below 0.
    """
    for name, value in (("highlight_boost", highlight_boost), ("near_scale", near_scale), ("far_scale", far_scale)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}; it is a number of 0 or more.")
    if highlight_boost > STRONGEST_BOOST:
        raise ValueError(f"highlight_boost is {highlight_boost:g}; it goes from 0 to {STRONGEST_BOOST:g} stops.")
    if not 0 <= breathing <= 1:
        raise ValueError(f"breathing is {breathing}; it goes from 0 (none) to 1 (twice as large).")
    if not 0 <= grain <= 1:
        raise ValueError(f"grain is {grain}; it goes from 0 (none) to 1 (as much as the photo has).")
    if color_space not in COLOR_SPACES:
        raise ValueError(f"color_space is {color_space!r}; it is one of: {', '.join(COLOR_SPACES)}.")
    check_image(image)
    check_map(disparity, "disparity")
    frames, size = len(image), image.shape[-2:]
    if alpha is not None:
        check_range(alpha, "alpha")
        alpha = match_batch(_of_size(alpha, size, "alpha"), frames, "alpha")
    check_same_shape(disparity, size, "disparity")
    disparity = match_batch(disparity, frames, "disparity")
    if matte is not None:
        check_range(matte, "matte")
        matte = match_batch(_of_size(matte, size, "matte"), frames, "matte")
    elif background is not None:
        raise ValueError("background needs a matte, which says where the subject is.")
    if background is None and background_disparity is not None:
        raise ValueError("background_disparity is that of a background; give that too.")
    if background is not None:
        check_image(background, "background")
        background = match_batch(_of_size(background, size, "background"), frames, "background")
    maps = [disparity]
    if background_disparity is not None:
        check_map(background_disparity, "background_disparity")
        check_same_shape(background_disparity, size, "background_disparity")
        background_disparity = match_batch(background_disparity, frames, "background_disparity")
        maps.append(background_disparity)
    ends = torch.stack([end for part in maps for end in (part.amin((1, 2, 3)), part.amax((1, 2, 3)))], 1)[:, None, None].cpu()
    signed_radius(ends, focus, k, focus_range, falloff, tilt, tilt_direction)  # refuses what can't be a focus or an aperture
    seeds = [grain_seed] * frames if isinstance(grain_seed, int) else grain_seed
    focuses, ks = (torch.as_tensor(given, dtype=torch.float32).reshape(-1).expand(frames).tolist() for given in (focus, k))
    if breathing:

        def larger(planes: Tensor) -> Tensor:
            return torch.cat([magnified(one[None], 1 + breathing * at) for one, at in zip(planes, focuses)])

        image, disparity = larger(image), larger(disparity)
        alpha, matte, background, background_disparity = (
            None if planes is None else larger(planes) for planes in (alpha, matte, background, background_disparity)
        )
    photos = [
        Photo(
            image[i],
            None if alpha is None else alpha[i],
            disparity[i : i + 1],
            ends[i : i + 1],
            Settings(
                size,
                focuses[i],
                ks[i],
                focus_range,
                falloff,
                tilt,
                tilt_direction,
                near_scale,
                far_scale,
                highlight_boost,
                color_space,
            ),
            aperture,
            device,
            None if matte is None else matte[i],
            None if background is None else background[i],
            None if background_disparity is None else background_disparity[i : i + 1],
        )
        for i in range(frames)
    ]
    parts = [
        blocks(tile_rows(size, photo.bins.reach, aperture), size, block, photo.context + behind.CONTEXT) for photo in photos
    ]
    report = _Steps(sum(_steps(photo, some) for photo, some in zip(photos, parts)), progress)
    out = image.new_empty(frames, 3 if alpha is None else 4, *size)
    out[:, :3] = image
    if alpha is not None:
        out[:, 3:] = alpha
    for i, photo in enumerate(photos):
        report()
        # Tiles that fade into each other add up as light.
        light = torch.zeros(out[i].shape, device=out.device) if aperture.varies else None
        for tile, content in _tiles(photo, parts[i], aperture, report):
            place = (slice(None), tile.rows, tile.cols)
            content = content.to(out.device)
            if light is not None:
                weight_y, weight_x = (weight.to(content) for weight in tile.weights)
                light[place] += content * weight_y[:, None] * weight_x
                content = light[place]
            out[i][place] = photo.colors(content)
            if show is not None:
                show(out[i])
        if grain:
            photo.put_grain(out[i : i + 1], grain, seeds[i])
            if show is not None:
                show(out[i])
    report.finish()
    return out


def memory_needed(
    size: Sequence[int],
    largest_radius: float,
    aperture: Aperture = Aperture(),
    block: int = BLOCK,
    matte: bool = False,
    background: bool = False,
) -> int:
    """Upper bound in bytes of what `render` takes for one image of `size` (height, width), by measurement.

    matte, background: whether they are given. Besides the image, its disparity at the same size, and the result.
    """
    radius = min(largest_radius, max(size) / 2)
    rows = tile_rows(size, Bins.spanning(-radius, radius, aperture.detailed).reach, aperture)
    pixels = size[0] * size[1]
    largest = max(min(BAND, pixels), *(part.pixels for part in blocks(rows, size, block, CONTEXT)))
    tile = max(len(t.from_rows) * len(t.from_cols) for row in rows for t in row)
    # Either a block is taken apart, or a tile of it put together.
    blurred = (520 + 200 * background) if aperture.colored else 300
    taken_apart, held = 165 + 50 * matte + 70 * background, 70 + 90 * background
    return max(taken_apart * largest, held * largest + blurred * tile) + (5 + 16 * aperture.varies) * pixels + 2**27


def _of_size(planes: Tensor, size: Sequence[int], name: str) -> Tensor:
    if planes.shape[-2:] != size:
        raise ValueError(
            f"{name} is {planes.shape[-1]} x {planes.shape[-2]} pixels, image {size[1]} x {size[0]}; make them one size."
        )
    return planes


CONTEXT = edges.CONTEXT + behind.CONTEXT


class _Steps:
    """Progress in stages that take some of all steps each, and of which is known about how often they report."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None):
        self.total, self.progress = total, progress
        self.done = self.steps = self.reports = 0
        self.expected = 1

    def begin(self, steps: int, expected: int) -> None:
        self.done += self.steps
        self.steps, self.reports, self.expected = steps, 0, expected

    def finish(self) -> None:
        self.begin(0, 1)
        self()

    def __call__(self) -> None:
        if self.progress is not None:
            self.progress(self.done + self.steps * min(self.reports, self.expected) // self.expected, self.total)
        self.reports += 1


def _steps(photo: Photo, parts: list[Block]) -> int:
    """Steps of the stages of `_tiles`."""
    tiles = sum(len(part.tiles) for part in parts)
    pictures = 1 if photo.plate is None else 2
    return tiles * COMPOSING + pictures * (tiles * SPLITTING + photo.uncovers * (tiles * FILLING + _surveying(parts)))


def _surveying(parts: list[Block]) -> int:
    """Steps of the survey, which splits once more what does not stay."""
    return SPLITTING * (1 if len(parts) == 1 else sum(len(part.tiles) for part in parts))


def _tiles(photo: Photo, parts: list[Block], aperture: Aperture, report: _Steps) -> Iterator[tuple[Tile, Tensor]]:
    """All tiles of a photo and their light (C, rows, cols)."""
    photo.prepare(report)
    pictures = _Pictures(photo, parts, aperture.extent, report)
    bins = Bins.behind(photo.lowest, photo.highest) if photo.uncovers else None
    blurs = Blurs(aperture)
    layers = photo.bins.layers + (bins.layers if bins is not None else [])
    for part in parts:
        composer = Composer(blurs, photo.bins, bins, part, pictures.part(part), report)
        for i, tile in enumerate(part.tiles):
            report.begin(COMPOSING, 1 + sum(len(layer.radii) for layer in layers))
            yield tile, composer.tile(i)


class _Pictures:
    """What the photo shows, and the clean plate if there is one, and what is known of the whole of it before parts are worked on."""

    def __init__(self, photo: Photo, parts: list[Block], extent: float, report: _Steps):
        self.photo, self.report, self.behind = photo, report, None
        self.whole = self._splits(parts[0]) if len(parts) == 1 else None
        if not photo.uncovers:
            return
        height, width = photo.size
        report.begin(_surveying(parts), SPLITS * height * width // BAND + DEPTHS)
        counts = [photo.channels] if photo.plate is None else [photo.channels + photo.coverages, photo.channels]
        self.behind = [Behind(photo.size, count, photo.lowest, photo.highest, extent, photo.device) for count in counts]
        for rows, around in bands(height, BAND // width, photo.context):
            report()
            if self.whole is not None:
                splits, inside = self.whole, rows
            else:
                splits = photo.splits(around, slice(0, width), report)
                inside = slice(rows.start - around.start, rows.stop - around.start)
            for one, split in zip(self.behind, splits):
                one.survey(split, rows, inside)
        for one in self.behind:
            one.finish(report)

    def part(self, block: Block) -> list[tuple[Split, Hidden | None]]:
        """What is seen in a block, and what is behind it."""
        splits = self.whole or self._splits(block)
        if self.behind is None:
            return [(split, None) for split in splits]
        self.report.begin(FILLING * len(block.tiles), 2 * DEPTHS * len(splits))
        return [(split, one.hidden(split, block.rows, block.cols, self.report)) for split, one in zip(splits, self.behind)]

    def _splits(self, block: Block) -> list[Split]:
        self.report.begin(SPLITTING * len(block.tiles), SPLITS * (1 + block.pixels // BAND))
        return self.photo.splits(block.rows, block.cols, self.report)
