"""Photographs to make scenes of: squares of photos, 2 to 4 times smaller than these are, so that noise and compression are gone."""

from collections.abc import Callable, Collection
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files import read_photo
from .sources import pictures_in, uniform

SMALLER = (2.0, 4.0)
SIDE = 512


def squares(
    folder: Path,
    seed: int,
    held_out: Collection[str] = (),
    side: int = SIDE,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Squares (N, 3, side, side) of all photos of a folder, uint8 sRGB; of those that become too small there are none.

    Each photo is made smaller by a factor that follows from the seed and its place in the folder, and gives as many squares as lie beside
    one another in it. held_out: names, with or without their endings, of photos that are left out. progress: called with (photos done,
    photos). Raises ValueError for a folder without pictures or with too small ones, and for a name that is not there.
    """
    paths = pictures_in(folder)
    missing = set(held_out) - {path.name for path in paths} - {path.stem for path in paths}
    if missing:
        raise ValueError(f"held_out has {sorted(missing)[0]}, which is not in {folder}.")
    generator, found = torch.Generator().manual_seed(seed), []
    for done, path in enumerate(paths, 1):
        factor = uniform(generator, *SMALLER)
        if path.name not in held_out and path.stem not in held_out:
            found.extend(_cut(_smaller(read_photo(path)[0], factor, side), side))
        if progress is not None:
            progress(done, len(paths))
    if not found:
        raise ValueError(
            f"{folder} has no photo whose shorter side is {round(SMALLER[0] * side)} pixels or more; give larger ones."
        )
    return torch.stack(found)


def _smaller(photo: Tensor, factor: float, side: int) -> Tensor:
    """A photo (1, 3, H, W) made smaller by a factor, or by less if it would not hold a square, but by 2 at least; it may be too small then."""
    factor = max(SMALLER[0], min(factor, min(photo.shape[-2:]) / side))
    size = [round(length / factor) for length in photo.shape[-2:]]
    return F.interpolate(photo, size=size, mode="bilinear", antialias=True)


def _cut(photo: Tensor, side: int) -> list[Tensor]:
    """Squares of a photo (1, 3, H, W), spread evenly over it."""
    rows, cols = (
        [round(i * (length - side) / max(length // side - 1, 1)) for i in range(length // side)] for length in photo.shape[-2:]
    )
    levels = (photo[0] * 255).round().clamp(0, 255).byte()
    return [levels[:, top : top + side, left : left + side].clone() for top in rows for left in cols]
