"""Whether a card gives what the CPU gives, in how much time and memory: of the library's functions and of the full-size networks.

Also how often it is asked (`benchmarks.card_counts`), and what becomes of smaller cards (`benchmarks.card_limits`).

python -m benchmarks.card                           # NVIDIA and AMD (cuda); a few minutes, most of them on the CPU
python -m benchmarks.card --device xpu
python -m benchmarks.card --device cpu --quick      # only shows that the script runs

Weights are random but for nano's. Pictures are compared without TF32, which torch takes for convolutions unless told otherwise. Times
are the best of three, with synchronisation; memory is what torch's allocator held at most beyond what it held before, beside what the
library says it takes. Ends with an error if a picture differs by more than its row allows, or if more memory was taken.
"""

import argparse
import copy
import math
import platform
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import card_counts, card_limits, large_photo
from magicbokeh_ops import defocus, demo, depth, lens, sampler
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.defocus import K_TRAINED
from magicbokeh_ops.depth import refine
from magicbokeh_ops.model.network import ControlNet, UNet
from magicbokeh_ops.model.vae import make_codec
from magicbokeh_ops.weights import checkpoint
from tests.support.full_size import build

FOCUS, K = 0.7, 24.0
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# PSNR in dB that a picture has at least to that of the CPU in fp32.
LEAST = {"fp32": 70.0, "fp16": 40.0, "bf16": 25.0}
GIB = 2**30

failed: list[str] = []


class Device:
    """A device's clock and its allocator's record."""

    def __init__(self, name: str):
        self.name, self.module = name, torch.get_device_module(name)
        self.counts_memory = hasattr(self.module, "max_memory_allocated")

    def measure(self, work: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
        """Seconds and bytes of a call, after one that is not counted."""
        work()
        before = 0
        if self.counts_memory:
            self.module.empty_cache()
            self.module.reset_peak_memory_stats()
            before = self.module.memory_allocated()
        best = math.inf
        for _ in range(repeats):
            self.module.synchronize()
            start = time.perf_counter()
            work()
            self.module.synchronize()
            best = min(best, time.perf_counter() - start)
        return best, self.module.max_memory_allocated() - before if self.counts_memory else math.nan


def dtypes(device: Device) -> dict[str, torch.dtype]:
    """Those that a device is fast in: few CPUs are in halves."""
    return {"fp32": torch.float32} if device.name == "cpu" else DTYPES


def table(title: str, *columns: str) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|", flush=True)


def compare(name: str, found: Tensor, exact: Tensor, least: float) -> None:
    """A row of the table of differences."""
    error = (found.cpu().float() - exact.cpu().float()).abs()
    psnr = -10 * math.log10(max(float(error.double().square().mean()), 1e-20))
    print(f"| {name} | {float(error.max()):.1e} | {psnr:.1f} | {least:.0f} |", flush=True)
    if not psnr >= least:
        failed.append(name)


def functions(device: str) -> dict[str, Callable[[str], Tensor]]:
    """What is done with a photo and its disparity, on the device that is given."""
    photo, near = demo.noisy_demo_photo(), demo.demo_photo()[1]
    light = photo * torch.linspace(0.5, 3, photo.shape[-1])
    alpha = (near > 0.3).float()
    iris = Aperture(blades=6, rotation=20, squeeze=1.3, cat_eye=0.7)

    def optics(where: str, image: Tensor = photo, **options) -> Tensor:
        return lens.render(image.to(where), near.to(where), FOCUS, K, **options)

    return {
        "lens.render": optics,
        "lens.render, in blocks": partial(optics, block=2**17),
        "lens.render, blades, squeeze and cat_eye": partial(optics, aperture=iris, highlight_boost=2),
        "lens.render, light above 1 and alpha": partial(optics, image=light, alpha=alpha),
        "lens.render, beside the photo": lambda where: lens.render(photo, near, FOCUS, K, device=where),
        "refine_edges": lambda where: refine.refine_edges(photo.to(where), near.to(where), 3),
        "defocus_map": lambda where: defocus.defocus_map(near.to(where), FOCUS, K),
        "focus_mask": lambda where: defocus.focus_mask(defocus.defocus_map(near.to(where), FOCUS, K), 0.1, 3, 0.01),
        "to_disparity": lambda where: defocus.to_disparity(1 / (near.to(where) + 0.1), "distance") / 1.1,
    }


def networks(weights: checkpoint.Weights) -> tuple[UNet, ControlNet]:
    pair = UNet(weights.config), ControlNet(weights.config)
    for network, tensors in zip(pair, (weights.unet, weights.controlnet)):
        network.load_state_dict(tensors)
    return pair


def step(model: tuple, device: str, dtype: torch.dtype, photo: Tensor, near: Tensor, **options) -> Tensor:
    """The picture of the one step, with the networks and the VAE in `dtype` on the device."""
    unet, controlnet, codec = (part.to(device, dtype) for part in model)
    predict = partial(sampler.predict, unet, controlnet, device=device, dtype=dtype)
    radius = defocus.defocus_map(near, FOCUS, K)
    mask = defocus.focus_mask(radius)
    planes = (plane.to(device) for plane in (photo, radius, mask))
    return sampler.render(codec, predict, *planes, color_fix="none", **options)[0]


def small_depth_network() -> torch.nn.Module:
    """Depth Anything V2 Small with random weights."""
    torch.manual_seed(0)
    sizes = {"mlp_ratio": 4, "patch": 14, "image_size": 518, "neck": (48, 96, 192, 384), "fusion": 64, "head_width": 32}
    return depth.build_untrained(depth.DepthConfig(384, 12, 6, (2, 5, 8, 11), **sizes)).eval().requires_grad_(False)


def parity(device: Device, models: dict[str, tuple], size: int) -> None:
    table(f"Against the CPU in fp32, the demo photo at {size} px:", "", "largest difference", "PSNR, dB", "at least")
    for name, function in functions(device).items():
        compare(name, function(device.name), function("cpu"), LEAST["fp32"])
    photo, near = (F.interpolate(x, (size, size), mode="area") for x in (demo.noisy_demo_photo(), demo.demo_photo()[1]))
    model = small_depth_network()
    exact = depth.disparity(model, photo)
    compare("depth.disparity", depth.disparity(model.to(device.name), photo.to(device.name)), exact, LEAST["fp32"])
    for kind, model in models.items():
        for options in ({}, {"preset": "reference"}):
            exact = step(copy.deepcopy(model), "cpu", torch.float32, photo, near, **options)
            for name, dtype in dtypes(device).items():
                found = step(copy.deepcopy(model), device.name, dtype, photo, near, **options)
                compare(f"{kind}, {options.get('preset', 'fast')}, {name}", found, exact, LEAST[name])


def lens_speed(device: Device, quick: bool) -> None:
    table("Lens and refined edges, focus 0.6:", "photo", "what", "s", "GiB", "said to take, GiB")
    sizes = {"1024 x 768": (768, 1024), "1920 x 1080": (1080, 1920), "4000 x 3000": (3000, 4000), "8192 x 6144": (6144, 8192)}
    for name, size in list(sizes.items())[: 1 if quick else None]:
        image, near = large_photo.photo(*size)
        image, near = (image[..., : size[0], : size[1]].to(device.name) for image in (image, near))
        for k in (16, 64, max(size) / 20):
            seconds, taken = device.measure(partial(lens.render, image, near, 0.6, k))
            bound = lens.memory_needed(size, 0.6 * k) + image.nbytes
            print(f"| {name} | lens, K {k:.0f} | {seconds:.3f} | {taken / GIB:.2f} | {bound / GIB:.2f} |", flush=True)
            check_bound(f"lens {name} K {k:.0f}", taken, bound)
        for reach in (3, 10):
            seconds, taken = device.measure(partial(refine.refine_edges, image, near, reach), 1)
            bound = refine.memory_needed(size, reach) + 5 * near.nbytes
            print(f"| {name} | refine, reach {reach} | {seconds:.3f} | {taken / GIB:.2f} | {bound / GIB:.2f} |", flush=True)
            check_bound(f"refine {name} reach {reach}", taken, bound)


def check_bound(name: str, taken: float, bound: float) -> None:
    if taken > bound:
        failed.append(f"memory of {name}")


def depth_speed(device: Device, quick: bool) -> None:
    table("Depth network (Small), fp32:", "input", "s", "GiB", "said to take, GiB")
    model = small_depth_network().to(device.name)
    photo = torch.rand(1, 3, 1080, 1920, device=device.name)
    for side in (518,) if quick else (518, 1036, 2072):
        seconds, taken = device.measure(partial(depth.estimate, model, photo, side))
        bound = depth.memory_needed(model.config, 1080, 1920, side)
        print(f"| {side} | {seconds:.3f} | {taken / GIB:.2f} | {bound / GIB:.2f} |", flush=True)
        check_bound(f"depth at {side}", taken, bound)


def prediction_speed(device: Device, models: dict[str, tuple], quick: bool) -> None:
    table("Prediction, weights not counted:", "model", "tiles", "dtype", "s", "GiB", "said to take, GiB")
    for kind, model in models.items():
        for name, dtype in dtypes(device).items():
            unet, controlnet, codec = (copy.deepcopy(part).to(device.name, dtype) for part in model)
            channels, cell = unet.config.in_channels, codec.cell
            sides = [(1, 64)] if quick else [(1, 64), (1, 72), (8, 72)] if cell == 8 else [(1, 256), (1, 1008)]
            for batch, side in sides:
                x = torch.rand(batch, channels, side, side, device=device.name)
                hint = torch.rand(batch, 1, cell * side, cell * side, device=device.name)
                mask = torch.zeros_like(hint)
                mask[..., : cell * side // 2] = 1
                work = partial(sampler.predict, unet, controlnet, x, hint / K_TRAINED, mask, device.name, dtype)
                seconds, taken = device.measure(work)
                bound = sampler.memory_needed(x.shape, dtype, unet.config.prediction)
                cells = f"{batch} x {cell * side} px | {name} | {seconds:.3f} | {taken / GIB:.2f} | {bound / GIB:.2f} |"
                print(f"| {kind} | {cells}", flush=True)
                check_bound(f"{kind}, {batch} x {side}, {name}", taken, bound)


def step_speed(device: Device, models: dict[str, tuple], quick: bool) -> None:
    table("The step, `fast`:", "model", "photo", "dtype", "s", "GiB beyond weights")
    sizes = {"512 x 512": (512, 512), "1024 x 1024": (1024, 1024), "4032 x 3024": (3024, 4032)}
    for kind, model in models.items():
        for name, dtype in dtypes(device).items():
            here = tuple(copy.deepcopy(part).to(device.name, dtype) for part in model)
            for title, size in list(sizes.items())[: 1 if quick else None]:
                photo, near = torch.rand(1, 3, *size), torch.linspace(0, 1, size[1]).expand(1, 1, *size)
                seconds, taken = device.measure(partial(step, here, device.name, dtype, photo, near), 1)
                print(f"| {kind} | {title} | {name} | {seconds:.2f} | {taken / GIB:.2f} |", flush=True)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small pictures, nano alone")
    args = parser.parse_args()
    device = Device(args.device)
    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    print(f"{name}, torch {torch.__version__}, Python {platform.python_version()}")

    nano = checkpoint.fold_time(checkpoint.load(demo.NANO))
    models = {"nano": (*networks(nano), make_codec(nano.vae))}
    if not args.quick:
        unet, controlnet, codec, _ = build("fast", "cpu", torch.float32)
        models["full size"] = unet, controlnet, codec
    torch.backends.cudnn.allow_tf32 = False
    parity(device, models, 128 if args.quick else 512)
    torch.backends.cudnn.allow_tf32 = True
    lens_speed(device, args.quick)
    depth_speed(device, args.quick)
    prediction_speed(device, models, args.quick)
    step_speed(device, models, args.quick)
    where = torch.device(args.device)
    card_counts.counts(where, args.quick)
    card_counts.clips(where, args.quick, device.measure)
    failed.extend(card_counts.every_function(where))
    failed.extend(card_limits.report(where, args.quick))
    if failed:
        sys.exit(f"\nNot as they should be: {', '.join(failed)}")


if __name__ == "__main__":
    main()
