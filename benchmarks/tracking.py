"""How well the focus track follows: clips of two subjects that cross, whose disparity is known in every frame.

Each of both subjects is followed by masks, by boxes of what is seen of it, and by its middle in the first frame. A path is counted by the
frames within 0.02 of the true disparity (those in which the subject is hidden too), and by its largest step against the true path's.

python -m benchmarks.tracking                        # 12 clips of 48 frames, 192 pixels
python -m benchmarks.tracking --noise 0.01           # with noise in the disparity, and a scale and shift that change by 1 % per frame
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from magicbokeh_ops import tracking
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.synthesis.moving import Clip, crossing

WAYS = ("masks", "boxes", "point")
SMOOTHING, SPEED, WITHIN = 6.0, 0.04, 0.02  # the first two as the node has them at first


@dataclass(frozen=True)
class Result:
    """A path against the true one: errors of all frames, how much larger its largest step is, and frames in which nothing was seen."""

    errors: np.ndarray
    excess: float
    unseen: int


def planes_of(clip: Clip, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Photos (N, 3, S, S) in sRGB, disparity (N, 1, S, S) and masks (N, 2, S, S) of a clip."""
    light, disparity = (torch.stack(planes) for planes in zip(*(clip.photo(i) for i in range(clip.frames))))
    generator = torch.Generator().manual_seed(seed)
    scale, shift = (noise * torch.randn(clip.frames, 1, 1, 1, generator=generator) for _ in range(2))
    disparity = disparity * (1 + scale) + shift + noise * torch.randn(disparity.shape, generator=generator)
    masks = torch.stack([clip.masks(i) for i in range(clip.frames)])
    return linear_to_srgb(light).clamp(0, 1), disparity.clamp(0, 1), masks


def results(clip: Clip, subject: int, planes: tuple[Tensor, Tensor, Tensor]) -> Iterator[tuple[str, Result]]:
    """What each way to follow makes of a subject."""
    photo, disparity, masks = planes
    frames, truth = clip.frames, np.array(clip.path(subject))

    def near(i: int) -> Tensor:
        return disparity[i : i + 1]

    cuts = tracking.find_cuts(photo.split(1))
    boxes = [clip.box(subject, i) for i in range(frames)]
    seen = tracking.by_point(lambda i: photo[i : i + 1], near, frames, cuts, 0, *clip.point(subject, 0))
    measured = {
        "masks": tracking.by_masks(near, lambda i: masks[i : i + 1, subject : subject + 1], frames, cuts),
        "boxes": tracking.by_boxes(near, boxes, cuts),
        "point": [place and place.disparity for place in seen],
    }
    for way, values in measured.items():
        path = np.array(tracking.pull(values, cuts, SMOOTHING, SPEED))
        excess = np.abs(np.diff(path)).max() - np.abs(np.diff(truth)).max()
        yield way, Result(np.abs(path - truth), float(excess), sum(value is None for value in values))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--noise", type=float, default=0.0)
    args = parser.parse_args()
    print("| clip | subject | " + " | ".join(f"{way}: within, largest error, step beyond, unseen" for way in WAYS) + " |")
    print("| --- " * (2 + len(WAYS)) + "|")
    found: dict[str, list[Result]] = {way: [] for way in WAYS}
    for seed in range(args.clips):
        clip = crossing(args.size, args.frames, seed, margin=2)
        planes = planes_of(clip, args.noise, seed)
        for subject, name in enumerate(("near", "far")):
            cells = []
            for way, one in results(clip, subject, planes):
                found[way].append(one)
                share = 100 * (one.errors <= WITHIN).mean()
                cells.append(f"{share:.0f} %, {one.errors.max():.4f}, {one.excess:+.4f}, {one.unseen}")
            print(f"| {seed} | {name} | {' | '.join(cells)} |", flush=True)
    print(
        "\n| followed by | frames within 0.02 | largest error | paths without a larger step | largest step beyond the true one |"
    )
    print("| --- " * 5 + "|")
    for way, ones in found.items():
        errors = np.concatenate([one.errors for one in ones])
        within, calm = 100 * (errors <= WITHIN).mean(), sum(one.excess <= 0 for one in ones)
        worst = max(one.excess for one in ones)
        print(f"| {way} | {within:.1f} % | {errors.max():.4f} | {calm} of {len(ones)} | {worst:+.5f} |")


if __name__ == "__main__":
    main()
