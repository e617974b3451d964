"""A clean plate: two pictures instead of one, what is in front of the plate, with its coverage, and what the plate shows.

In front are the subject, at its own depth also beyond its outline, and what stands in front of that, which the plate shows too and
which is therefore left out there. Each picture is photographed by itself, and the first is put over the second.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..windows import widen
from .edges import EDGE, EDGE_REACH, Split
from .matte import Sides


def cut_out(light: Tensor, subject: Tensor, sides: Sides, coverages: int) -> Tensor:
    """The subject (C + G, h, w), premultiplied, and its coverage, G times; where the matte does not count, all of the photo.

    light, subject: (C, h, w), linear, of the photo and of the subject.
    """
    opaque = torch.ones_like(sides.alpha).expand(coverages, -1, -1)
    return torch.where(sides.counts, torch.cat([subject, opaque]) * sides.alpha, torch.cat([light, opaque]))


def in_front(photo: Split, sides: Sides, subject: Tensor, beyond: Tensor) -> Split:
    """Of a photo that was cut out, what is in front of the plate; all else is transparent.

    subject, beyond: radius (1, h, w) of the subject and of what is behind it.
    """
    behind_others = (widen(sides.alpha[None], EDGE_REACH)[0] > 0) & (photo.far_radius > (subject + beyond) / 2)
    near = sides.counts | (photo.near_radius > subject + EDGE) | (sides.alpha > 0)
    far = sides.counts | (photo.far_radius > subject + EDGE) | (sides.alpha == 1) | behind_others
    return Split(
        photo.near_color * near,
        photo.near_weight,
        torch.where(near, photo.near_radius, subject),
        photo.far_color * far,
        torch.where(far, photo.far_radius, subject.minimum(photo.near_radius)),
    )


def both(front: Split, plate: Split, subject: Tensor, reach: int) -> list[Split]:
    """The two pictures, each only with what may be seen of it: within a blur of what covers the other, and within one more around.

    subject: radius (1, h, w). reach: of the widest blur, in pixels.
    """
    near, far = front.near_color[-1:], front.far_color[-1:]
    covers = widen((near.maximum(far) > 0).float()[None], reach)
    uncovers = widen((near.minimum(far) < 1).float()[None], reach)
    around, seen = (widen(part, reach)[0] > 0 for part in (covers, uncovers))
    shown = [seen & (radius <= subject + EDGE) for radius in (plate.near_radius, plate.far_radius)]
    return [
        replace(front, shown=(around, around), within=covers[0] > 0),
        replace(plate, shown=(shown[0], shown[1]), within=uncovers[0] > 0),
    ]
