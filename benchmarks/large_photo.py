"""Memory of the lens on photos of 12, 50 and 200 megapixels beyond photo, disparity and result, each in a process of its own.

    python -m benchmarks.large_photo [--megapixels 50] [--cat-eye 1] [--block 2]

A photo is noise of all sizes before its disparity, four surfaces with steps and slopes. K is 1/100 of the longer side. --block: megapixels
that are worked on at once. Seconds are those of a shared machine.
"""

import argparse
import multiprocessing
import time

import torch
import torch.nn.functional as F

from magicbokeh_ops import lens
from magicbokeh_ops.aperture import Aperture
from tests.support.memory_peak import memory

SIZES = {12: (3000, 4000), 50: (6144, 8192), 200: (12288, 16384)}


def photo(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    image = torch.empty(1, 3, height, width)
    for plane in image[0]:
        plane.uniform_(0, 0.5)
        for side in (7, 61, 523):
            coarse = torch.rand(1, 1, height // side + 2, width // side + 2) / 6
            plane += F.interpolate(coarse, (height, width), mode="bilinear")[0, 0]
    disparity = torch.linspace(0, 0.2, height)[:, None].expand(1, 1, height, width).clone()
    for i, near in enumerate((0.4, 0.6, 0.9)):
        disparity[..., height * (i + 2) // 6 :, width * (2 * i + 1) // 8 : width * (2 * i + 2) // 8] += near - 0.2
    return image, disparity


def measure(megapixels: int, cat_eye: float, block: int) -> None:
    size = SIZES[megapixels]
    image, disparity = photo(*size)
    k = max(size) / 100
    lens.render(image[..., :256, :256], disparity[..., :256, :256], 0.5, 8)  # what torch keeps once and for all
    before, start = memory("cpu"), time.perf_counter()
    out = lens.render(image, disparity, 0.6, k, aperture=Aperture(cat_eye=cat_eye), block=block)
    taken = memory("cpu", peak=True) - before - out.nbytes
    bound = lens.memory_needed(size, 0.6 * k, cat_eye, block)
    print(
        f"| {megapixels} | {k:.0f} | {taken / 2**30:.2f} | {bound / 2**30:.2f} | {time.perf_counter() - start:.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=int, choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--cat-eye", type=float, default=0.0)
    parser.add_argument("--block", type=int, default=lens.BLOCK // 2**20)
    args = parser.parse_args()
    print("| megapixels | K | peak, GiB | lens.memory_needed, GiB | s |\n| --- | --- | --- | --- | --- |", flush=True)
    for megapixels in args.megapixels:
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(megapixels, args.cat_eye, 2**20 * args.block)
        )
        process.start()
        process.join()


if __name__ == "__main__":
    main()
