"""Where the pictures and the cut-outs of a scene come from: made up, or the user's own."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..files import read_photo
from . import procedural

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


class Source(Protocol):
    """What a scene is made of. All randomness comes from the generator, a CPU one."""

    def image(self, size: int, generator: torch.Generator) -> Tensor:
        """A picture, (3, size, size) sRGB in [0, 1]."""

    def cutout(self, size: int, generator: torch.Generator) -> Tensor:
        """A subject somewhere near the middle of a square, (4, size, size): sRGB, not premultiplied, and alpha."""


def uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def integer(generator: torch.Generator, count: int) -> int:
    """0 .. count - 1."""
    return int(torch.randint(count, (), generator=generator))


@dataclass(frozen=True)
class Procedural:
    """A pool of drawn pictures and silhouettes, taken in random parts, turns, sizes and colours, and of photographs if there are any.

    images: (N, 3, P, P) uint8 sRGB. silhouettes: (M, 1, Q, Q) uint8 alpha. photographs: (K, 3, P, P) uint8 sRGB, taken in random parts,
    sizes and brightness, mirrored or not, for that share of all pictures and cut-outs.
    """

    images: Tensor
    silhouettes: Tensor
    photographs: Tensor | None = None
    share: float = 0.0

    @classmethod
    def build(
        cls,
        seed: int,
        count: int = 256,
        side: int = 512,
        processes: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> "Procedural":
        """Draw `count` pictures `side` pixels wide and as many silhouettes of half the width; about 1 s each.

        Pools of different seeds have nothing in common, so another seed gives held-out scenes. The result does not
        depend on the number of processes. progress is called with (pictures done, count).
        """
        draw = partial(procedural.picture_and_silhouette, seed, side)
        if processes == 1:
            drawn = _collect(map(draw, range(count)), count, progress)
        else:
            with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                drawn = _collect(pool.map(draw, range(count), chunksize=4), count, progress)
        images, silhouettes = (np.stack(part) for part in zip(*drawn))
        return cls(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(silhouettes)[:, None])

    def to(self, device: torch.device | str) -> "Procedural":
        """The pool on another device, where pictures are then made."""
        photographs = None if self.photographs is None else self.photographs.to(device)
        return Procedural(self.images.to(device), self.silhouettes.to(device), photographs, self.share)

    def image(self, size: int, generator: torch.Generator) -> Tensor:
        if self.photographs is not None and uniform(generator) < self.share:
            part = _resize(_flip_at_random(_part(self.photographs, size, generator), generator) / 255, (size, size))
        else:
            part = _resize(_turn_at_random(_part(self.images, size, generator), generator) / 255, (size, size))
            part = part[torch.randperm(3, generator=generator)]
        return (part * uniform(generator, 0.6, 1.1)).clamp(max=1)

    def cutout(self, size: int, generator: torch.Generator) -> Tensor:
        silhouette = self.silhouettes[integer(generator, len(self.silhouettes))]
        alpha = _subject(_turn_at_random(silhouette, generator) / 255, size, generator)
        height, width = alpha.shape[-2:]
        color = self.image(max(height, width), generator)[:, :height, :width]
        return _place(torch.cat([color, alpha]), size, generator)


def _part(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A square of one of some pictures (N, 3, P, P), of `size` or between 0.7 and 2 times that."""
    side = images.shape[-1]
    crop = size
    if size > side or uniform(generator) < 0.5:
        crop = min(side, round(size * 2 ** uniform(generator, -0.5, 1)))
    top, left = integer(generator, side - crop + 1), integer(generator, side - crop + 1)
    return images[integer(generator, len(images)), :, top : top + crop, left : left + crop]


def _collect(drawn, count: int, progress: Callable[[int, int], None] | None) -> list:
    out = []
    for item in drawn:
        out.append(item)
        if progress is not None:
            progress(len(out), count)
    return out


class Folders:
    """The user's photos, and cut-outs: pictures with an alpha channel.

    Photos are cropped at random, at most down to the size asked for, and mirrored; cut-outs are mirrored and scaled.
    Raises ValueError for a folder without pictures; a file that can't be used is named when its turn comes.
    """

    def __init__(self, images: Path, cutouts: Path):
        self.images, self.cutouts = pictures_in(images), pictures_in(cutouts)

    def image(self, size: int, generator: torch.Generator) -> Tensor:
        photo = read_photo(self.images[integer(generator, len(self.images))])[0][0]
        height, width = photo.shape[-2:]
        shorter = min(height, width)
        crop = round(shorter * min(1, size / shorter) ** uniform(generator))
        top, left = integer(generator, height - crop + 1), integer(generator, width - crop + 1)
        return _resize(_flip_at_random(photo[:, top : top + crop, left : left + crop], generator), (size, size))

    def cutout(self, size: int, generator: torch.Generator) -> Tensor:
        path = self.cutouts[integer(generator, len(self.cutouts))]
        color, alpha = read_photo(path)
        if alpha is None or alpha.max() < 0.5:
            raise ValueError(f"{path} has no subject in an alpha channel; cut it out and save it as PNG or WebP.")
        planes = _subject(_flip_at_random(torch.cat([color * alpha, alpha], 1)[0], generator), size, generator)
        return _place(torch.cat([planes[:3] / planes[3:].clamp(min=1e-3), planes[3:]]), size, generator)


def pictures_in(folder: Path) -> list[Path]:
    """Paths of all pictures in a folder and below, in order. Raises ValueError if there are none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no pictures ({', '.join(sorted(SUFFIXES))}); give another folder.")
    return paths


def _flip_at_random(planes: Tensor, generator: torch.Generator) -> Tensor:
    return planes.flip(-1) if uniform(generator) < 0.5 else planes


def _turn_at_random(planes: Tensor, generator: torch.Generator) -> Tensor:
    return _flip_at_random(planes.rot90(integer(generator, 4), (-2, -1)), generator)


def _resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(planes.shape[-2:]) == size:
        return planes
    return F.interpolate(planes[None], size=size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def _subject(planes: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The subject alone, whose alpha is the last plane, its longer side scaled to 30 to 80 % of `size`."""
    inside = planes[-1] > 0.1
    rows, cols = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    subject = planes[:, int(rows[0]) : int(rows[-1]) + 1, int(cols[0]) : int(cols[-1]) + 1]
    factor = size * uniform(generator, 0.3, 0.8) / max(subject.shape[-2:])
    height, width = (max(1, round(n * factor)) for n in subject.shape[-2:])
    return _resize(subject, (height, width))


def _place(subject: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Put the subject near the middle of an empty square."""
    height, width = subject.shape[-2:]
    top = round(size * uniform(generator, 0.3, 0.7) - height / 2)
    left = round(size * uniform(generator, 0.3, 0.7) - width / 2)
    return F.pad(subject, (left, size - width - left, top, size - height - top))
