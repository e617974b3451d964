"""Time and memory of the lens renderer: growth from K 8 to K 64 at 1024 x 768, a sweep, and a photo of 12 megapixels.

    python -m benchmarks.lens_speed [--device cuda] [--quick]

--quick leaves out the 12 megapixels. Times are the best of three; memory is the process's peak (CPU) or the
allocator's (CUDA). Timings on shared machines are noisy: the ratio is what counts.
"""

import argparse
import time

import torch
import torch.nn.functional as F

from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.lens import memory_needed, render
from magicbokeh_ops.sweep import sweep
from magicbokeh_ops.synthesis.raytrace import flatten
from magicbokeh_ops.synthesis.scenes import three_layers
from tests.support.memory_peak import memory


def seconds(image, disparity, k, repeats):
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        render(image, disparity, 0.5, k).cpu()
        best = min(best, time.perf_counter() - start)
    return best


def report_sweep(image, disparity, device):
    start, held = time.perf_counter(), []
    for focus in sweep(0, 1, 48):
        render(image, disparity, focus, 16).cpu()
        held.append(memory(device))
    print(f"\n{len(held)} frames from back to front, 1024 x 768, K 16: {time.perf_counter() - start:.1f} s;", end=" ")
    print(f"{(max(held[24:]) - max(held[:24])) / 2**20:.0f} MiB more are held at most in the second half than in the first")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    light, near = flatten(three_layers(512, 0, seed=1))
    photo, disparity = linear_to_srgb(light)[None].clamp(max=1), near[None]

    def scene(height, width):
        size = (max(height, width),) * 2
        scaled = F.interpolate(photo, size, mode="bicubic").clamp(0, 1), F.interpolate(disparity, size, mode="nearest")
        return [x[..., :height, :width].to(args.device) for x in scaled]

    ramp = torch.linspace(0, 1, 1024, device=args.device).expand(1, 1, 768, 1024)
    image, layers = scene(768, 1024)
    render(image, layers, 0.5, 16)
    print(f"{torch.get_num_threads()} threads, {args.device}\n\n| 1024 x 768, s | K 8 | K 16 | K 32 | K 64 | K 64 / K 8 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, near in (("three layers", layers), ("ramp", ramp), ("noise", torch.rand_like(layers))):
        times = [seconds(image, near, k, 3) for k in (8, 16, 32, 64)]
        print(f"| {name} |", " | ".join(f"{t:.2f}" for t in times), f"| {times[-1] / times[0]:.2f} |")
    report_sweep(image, layers, args.device)
    if args.quick:
        return
    image, layers = scene(3000, 4000)
    before = memory(args.device, peak=True)
    print("\n| 4000 x 3000 | K 32 | K 128 |\n| --- | --- | --- |")
    print("| s |", " | ".join(f"{seconds(image, layers, k, 1):.1f}" for k in (32, 128)), "|")
    peak, gib = memory(args.device, peak=True), 2**30
    print(
        f"\npeak memory {peak / gib:.2f} GiB, {before / gib:.2f} GiB of it before; bound {memory_needed((3000, 4000), 64) / gib:.2f} GiB"
    )


if __name__ == "__main__":
    main()
