"""The lens renderer against the ray tracer, and two ways of rendering that others use, on scenes whose truth is known.

Scenes are drawn and traced three times finer than the camera's pixels, each of which is the mean of 3 x 3. The tracer looks between pixels
by linear interpolation, and at the camera's own resolution that would blur the truth: at 0.4 cycles per pixel it leaves 0.4 of the contrast.

python -m benchmarks.lens_quality                                       # 3 scenes of 192 px, focus on each layer, K 8 and 16
python -m benchmarks.lens_quality --quick                               # one scene, K 8
python -m benchmarks.lens_quality --finer 1 --size 384 --k 8 16 32      # with the blurred truth
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.lens import render
from magicbokeh_ops.synthesis.raytrace import flatten, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers


def shifted(planes: Tensor, reach: int):
    """Planes (C, H, W) moved by every offset up to `reach`, and the length of the offset."""
    height, width = planes.shape[-2:]
    padded = F.pad(planes[None], (reach,) * 4, mode="replicate")[0]
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            yield padded[:, dy : dy + height, dx : dx + width], math.hypot(dy - reach, dx - reach)


def gather(light: Tensor, radius: Tensor) -> Tensor:
    """Each pixel averages a disc of its own radius: what depth-scaled blur nodes do."""
    total, weights = torch.zeros_like(light), torch.zeros_like(radius)
    for source, distance in shifted(light, int(radius.max()) + 1):
        weight = (radius - distance + 0.5).clamp(0, 1)
        total += weight * source
        weights += weight
    return total / weights


def scatter(light: Tensor, radius: Tensor) -> Tensor:
    """Each pixel spreads over a soft disc of its own radius, whatever its depth: BokehMe's classical renderer."""
    total, weights = torch.zeros_like(light), torch.zeros_like(radius)
    for source, distance in shifted(torch.cat([light, radius]), int(radius.max()) + 1):
        weight = (0.5 + 0.5 * torch.tanh(4 * (source[3:] - distance))) / (source[3:] ** 2 + 0.2)
        total += weight * source[:3]
        weights += weight
    return total / weights


@dataclass(frozen=True)
class Picture:
    """Linear light and disparity (C, H, W) through a pinhole, and the truth (3, H, W) of a lens focused on a layer, `index`."""

    light: Tensor
    disparity: Tensor
    focus: float
    k: float
    index: int
    truth: Tensor
    margin: int

    def inside(self, picture: Tensor) -> Tensor:
        return picture[..., self.margin : -self.margin, self.margin : -self.margin]


def pictures(scenes: int, size: int, ks: list[int], finer: int, brightest: float = float("inf")) -> Iterator[Picture]:
    """Scenes with the focus on each layer. brightest: light is cut there."""
    for seed, k, index in tqdm([(s, k, i) for s in range(1, scenes + 1) for k in ks for i in range(3)]):
        margin = k + 8
        layers = [replace(layer, color=layer.color.clamp(max=brightest)) for layer in three_layers(size, margin, seed, finer)]
        middle = finer * (size // 2 + margin)
        depths = [float(layer.disparity()[0, middle, middle]) for layer in layers]
        focus = depths[index]
        truth = trace(layers, focus, finer * k, rays_for(k * max(abs(d - focus) for d in depths)))
        light, disparity = flatten(layers)
        truth, light = (F.avg_pool2d(picture, finer) for picture in (truth, light))
        yield Picture(light, disparity[:, finer // 2 :: finer, finer // 2 :: finer], focus, k, index, truth, margin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--k", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--finer", type=int, default=3)
    args = parser.parse_args()
    scenes, ks, finer = (1, [8], args.finer) if args.quick else (args.scenes, args.k, args.finer)

    def ours(light, disparity, focus, k):
        return srgb_to_linear(render(linear_to_srgb(light)[None], disparity[None], focus, k)[0])

    methods = {
        "no blur": lambda light, disparity, focus, k: light,
        "depth-scaled gather": lambda light, disparity, focus, k: gather(light, (k * (disparity - focus)).abs()),
        "scatter (BokehMe)": lambda light, disparity, focus, k: scatter(light, (k * (disparity - focus)).abs()),
        "lens": ours,
    }
    scores, times = defaultdict(list), defaultdict(list)
    for scene in pictures(scenes, args.size, ks, finer):
        for name, method in methods.items():
            start = time.perf_counter()
            out = method(scene.light, scene.disparity, scene.focus, scene.k)
            times[name].append(time.perf_counter() - start)
            encoded = [linear_to_srgb(scene.inside(x)).clamp(max=1) for x in (out, scene.truth)]
            scores[name].append((scene.k, scene.index, psnr(*encoded)))
    places = ("front", "middle", "back")
    print("| method | PSNR |", " | ".join(f"focus {p}" for p in places), "|", " | ".join(f"K {k}" for k in ks), "| worst | s |")
    print("| --- " * (4 + len(places) + len(ks)) + "|")
    for name, rows in scores.items():
        table = torch.tensor(rows)
        cells = [table[:, 2].mean()]
        cells += [table[table[:, 1] == place][:, 2].mean() for place in range(3)]
        cells += [table[table[:, 0] == k][:, 2].mean() for k in ks]
        cells += [table[:, 2].min(), sum(times[name]) / len(rows)]
        print("|", " | ".join([name, *(f"{cell:.2f}" for cell in cells)]), "|")


if __name__ == "__main__":
    main()
