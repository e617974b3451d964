"""The lens beside what else blurs by a map of depth: quality against the ray tracer and time, with a plot.

    python -m benchmarks.others [--plot FILE]           # needs the commands gegl and gmic, and pip install blurgenerator matplotlib

All get the same photo of 8 bits and the map that suits them best: the radius of blur at every pixel, up to the largest one. None
knows the focus, so that what is in front of it and what is behind it look the same to them. Their amount of blur is the one, of
several, at which they come closest to the truth. Seconds are the median of five for 1024 x 768, for commands beyond those of reading
and writing, which an amount of 0 is.

- blurgenerator: discs of complex Gaussians in 64 layers of depth, gamma 2. It makes the smallest value of a map black: that is a
  corner's, which is cut off.
- gegl: variable-blur, which focus-blur is made of, with high quality and a map of 16 bits.
- gmic: fx_blur_dof with a map, 64 steps.
- gather: a mean over a disc of the pixel's own radius, in torch.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from blurgenerator import lens_blur_with_depth_map
from torch import Tensor

from benchmarks.against import scene
from benchmarks.lens_quality import gather, pictures
from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.lens import render

AMOUNTS = (0.35, 0.5, 0.7, 1.0, 1.4)  # beside the radius
Tool = Callable[[Tensor, Tensor, float, Path], tuple[Tensor, float]]


def pixels(picture: Tensor, depth: int = 8) -> np.ndarray:
    top = 2**depth - 1
    return np.ascontiguousarray((picture.movedim(0, -1) * top).round().numpy().astype(f"uint{depth}")[..., ::-1])


def picture_of(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels[..., ::-1].astype(np.float32) / np.iinfo(pixels.dtype).max).movedim(-1, 0)


def run(*command) -> float:
    start = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return time.perf_counter() - start


def blurgenerator(photo: Tensor, radius: Tensor, amount: float, folder: Path) -> tuple[Tensor, float]:
    most = float(radius.max())
    levels = pixels(radius / most).clip(1).repeat(3, 2)
    levels[0, 0] = 0
    start = time.perf_counter()
    blurred = lens_blur_with_depth_map(
        pixels(photo), levels, components=5, exposure_gamma=2, num_layers=64, min_blur=1, max_blur=max(2, amount * most)
    )
    return picture_of(blurred.clip(0, 255).astype(np.uint8)), time.perf_counter() - start


def gegl(photo: Tensor, radius: Tensor, amount: float, folder: Path) -> tuple[Tensor, float]:
    given, mask, out = (folder / name for name in ("photo.png", "mask.png", "out.png"))
    most = float(radius.max())
    cv2.imwrite(str(given), pixels(photo))
    cv2.imwrite(str(mask), pixels(radius / most, 16))
    blur = ("variable-blur", f"radius={amount * most}", "high-quality=true", "aux=[", "load", f"path={mask}", "]")
    seconds = run("gegl", given, "-o", out, *(("--", *blur) if amount else ()))
    return picture_of(cv2.imread(str(out), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)), seconds


def gmic(photo: Tensor, radius: Tensor, amount: float, folder: Path) -> tuple[Tensor, float]:
    given, mask, out = (folder / name for name in ("photo.png", "mask.png", "out.png"))
    most = float(radius.max())
    cv2.imwrite(str(given), pixels(photo))
    cv2.imwrite(str(mask), pixels(radius / most))
    blur = ("fx_blur_dof", f"{amount * most},64,1,0,50,50,30,30,0,1,0,0")
    seconds = run("gmic", given, mask, *(blur if amount else ()), "keep[0]", "cut", "0,255", "round", "output", out)
    return picture_of(cv2.imread(str(out))), seconds


def plain_gather(photo: Tensor, radius: Tensor, amount: float, folder: Path) -> tuple[Tensor, float]:
    start = time.perf_counter()
    blurred = linear_to_srgb(gather(srgb_to_linear(photo), amount * radius))
    return blurred, time.perf_counter() - start


TOOLS: dict[str, Tool] = {
    "blurgenerator": blurgenerator,
    "gegl variable-blur": gegl,
    "gmic fx_blur_dof": gmic,
    "gather": plain_gather,
}
COMMANDS = ("gegl variable-blur", "gmic fx_blur_dof")


def lens(photo: Tensor, disparity: Tensor, focus: float, k: float) -> tuple[Tensor, float]:
    start = time.perf_counter()
    return render(photo[None], disparity[None], focus, k)[0], time.perf_counter() - start


def plot(rows: list[tuple[str, float, float]], file: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, decibels, seconds in rows:
        axes.plot(seconds, decibels, "o")
        axes.annotate(name, (seconds, decibels), (5, 5), textcoords="offset points")
    axes.set(xscale="log", xlabel="seconds for 1024 x 768", ylabel="PSNR against the ray tracer, dB")
    axes.margins(0.2)
    figure.savefig(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found: dict[str, list[list[float]]] = {name: [] for name in ("photo", *TOOLS, "lens")}
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        for one in pictures(args.scenes, args.size, [args.k], 3, brightest=1):
            photo = (linear_to_srgb(one.light) * 255).round() / 255
            truth, radius = one.inside(linear_to_srgb(one.truth)), (args.k * (one.disparity - one.focus)).abs()
            found["photo"].append([psnr(one.inside(photo), truth)])
            found["lens"].append([psnr(one.inside(lens(photo, one.disparity, one.focus, args.k)[0]), truth)])
            for name, tool in TOOLS.items():
                found[name].append([psnr(one.inside(tool(photo, radius, amount, folder)[0]), truth) for amount in AMOUNTS])
        photo, disparity = (x[0] for x in scene(768, 1024, "layers"))
        radius = (args.k * (disparity - 0.5)).abs()
        seconds = {"photo": 0.0, "lens": statistics.median(lens(photo, disparity, 0.5, args.k)[1] for _ in range(5))}
        amounts = {}
        for name, tool in TOOLS.items():
            amounts[name] = amount = AMOUNTS[int(torch.tensor(found[name]).mean(0).argmax())]
            idle = statistics.median(tool(photo, radius, 0, folder)[1] for _ in range(5)) if name in COMMANDS else 0
            seconds[name] = statistics.median(tool(photo, radius, amount, folder)[1] for _ in range(5)) - idle
    rows = [(name, float(torch.tensor(of).mean(0).max()), seconds[name]) for name, of in found.items()]
    print(f"{args.threads} threads\n\n| | amount beside the radius | PSNR, dB | s |\n| --- | --- | --- | --- |")
    for name, decibels, took in rows:
        print(f"| {name} | {amounts.get(name, '')} | {decibels:.2f} | {took:.2f} |")
    if args.plot:
        plot([row for row in rows if row[0] != "photo"], args.plot)


if __name__ == "__main__":
    main()
