"""What a device is asked for: kernels, waits for what it found, and allocations; every public function on it beside the CPU; clips.

    python -m benchmarks.card_counts [--device cuda] [--quick]

Part of `benchmarks.card`.
"""

import argparse
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import large_photo
from magicbokeh_ops import lens, matting, steady
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.depth import refine
from tests.support import network_calls
from tests.support.layouts import values_in
from tests.unit.test_devices import ELSEWHERE
from tests.unit.test_strides import CASES

ACTIVITIES = {"cuda": ProfilerActivity.CUDA, "xpu": ProfilerActivity.XPU}
WAITS = ("aten::_local_scalar_dense", "aten::nonzero")
FRAMES = 24


def counted(work: Callable[[], object], device: torch.device) -> tuple[int, int, int]:
    """Kernels (on a CPU operations), waits and allocations of a call, after one that is not counted."""
    work()
    activities = [ProfilerActivity.CPU, *([ACTIVITIES[device.type]] if device.type in ACTIVITIES else [])]
    with profile(activities=activities, profile_memory=True) as profiler:
        work()
    events = profiler.profiler.kineto_results.events()
    names = [event.name() for event in events if event.device_type() == torch.autograd.DeviceType.CPU]
    on_device = [event.name() for event in events if event.device_type() != torch.autograd.DeviceType.CPU]
    kernels = [name for name in on_device or names if not name.startswith(("Memcpy", "Memset", "[memory]"))]
    copies = sum(name.startswith("Memcpy DtoH") for name in on_device)
    waits = copies if on_device else sum(name in WAITS for name in names)
    grown = sum(event.nbytes() > 0 for event in events if event.name() == "[memory]")
    return len(kernels), waits, grown


def counts(device: torch.device, quick: bool) -> None:
    print(
        "\nKernels (on a CPU operations), waits for the device and allocations:\n\n| photo | what | kernels | waits | allocations |"
    )
    print("| --- | --- | --- | --- | --- |")
    for height, width in [(768, 1024)] if quick else [(768, 1024), (3000, 4000)]:
        image, near = (plane[..., :height, :width].to(device) for plane in large_photo.photo(height, width))
        work: dict[str, Callable[[], object]] = {
            "lens, K 16": lambda image=image, near=near: lens.render(image, near, 0.6, 16),
            "lens, K 64": lambda image=image, near=near: lens.render(image, near, 0.6, 64),
            "lens, K 16, cat_eye": lambda image=image, near=near: lens.render(
                image, near, 0.6, 16, aperture=Aperture(cat_eye=0.7)
            ),
            "refined edges, reach 3": lambda image=image, near=near: refine.refine_edges(image, near, 3),
            "matte from disparity": lambda image=image, near=near: matting.from_disparity(image, near),
        }
        for name, one in work.items():
            print(f"| {width} x {height} | {name} | {' | '.join(map(str, counted(one, device)))} |", flush=True)


def every_function(device: torch.device) -> list[str]:
    """Print how far public functions are from what they give on the CPU, where they are. Returns those that are too far."""
    cases = {name: case for name, case in CASES.items() if not name.startswith(ELSEWHERE)}
    print(f"\n{len(cases)} public functions, of which these are not the CPU's to 1e-6 of the largest value:\n")
    print("| function | difference | allowed |\n| --- | --- | --- |")
    failed = []
    for name, (call, inputs) in cases.items():
        with redirect_stdout(StringIO()):  # commands tell what they find
            expected = values_in(call(*(x.clone() for x in inputs)))
            found = values_in(call(*(x.to(device) for x in inputs)))
        allowed = max(network_calls.ROUNDING.get(name, 0), 1e-4)
        worst = 0.0
        for one, other in zip(found, expected, strict=True):
            one, other = (torch.as_tensor(x).detach().cpu().double() for x in (one, other))
            if other.numel():
                worst = max(worst, float((one - other).abs().max() / other.abs().max().clamp(min=1)))
        if not worst <= 1e-6:
            print(f"| {name} | {worst:.1e} | {allowed:.0e} |", flush=True)
        if not worst <= allowed:
            failed.append(name)
    return failed


def clips(device: torch.device, quick: bool, measure: Callable[..., tuple[float, float]]) -> None:
    """Frames per second of a clip of 1080p whose focus moves."""
    size = (180, 320) if quick else (1080, 1920)
    image, near = (plane[..., : size[0], : size[1]].to(device) for plane in large_photo.photo(*size))
    frames, maps = image.expand(FRAMES, -1, -1, -1), near.expand(FRAMES, -1, -1, -1)
    focus = torch.linspace(0.2, 0.8, FRAMES).tolist()
    print(f"\nA clip of {size[1]} x {size[0]}:\n\n| what | frames a second |\n| --- | --- |")
    work = {
        "lens, K 16": lambda: lens.render(frames, maps, focus, 16),
        "lens, K 32, cat_eye": lambda: lens.render(frames, maps, focus, 32, aperture=Aperture(cat_eye=0.7)),
        "steady disparity": lambda: list(steady.steady(maps[:8], frames[:8])),
    }
    for name, one in work.items():
        count = 8 if name.startswith("steady") else FRAMES
        print(f"| {name} | {count / measure(one, 1)[0]:.1f} |", flush=True)


@torch.inference_mode()
def main() -> None:
    from benchmarks.card import Device

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default="cuda")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    counts(args.device, args.quick)
    clips(args.device, args.quick, Device(str(args.device)).measure)
    if failed := every_function(args.device):
        raise SystemExit(f"differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
