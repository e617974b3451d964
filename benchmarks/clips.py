"""Memory of the nodes over clips: what a process holds at most beyond a node's outputs, each node in a process of its own.

The nodes run on the tests' stand-in for ComfyUI. Inputs are one frame repeated, which takes no memory, so that a copy of them shows.

python -m benchmarks.clips                          # 24 and 240 frames of 1920 x 1080, 16-bit outputs as by --fp16-intermediates
python -m benchmarks.clips --float32                # twice the outputs
python -m benchmarks.clips --frames 8 --nodes "Lens Blur"
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.support import stand_in_host as host
from tests.support.memory_peak import memory

DEPTH = Path(__file__).parents[1] / "tests" / "parity" / "golden" / "depth" / "DAdepth_tiny.pth"
CONVENTION = "depth (near = black)"
K = 8.0


def frames_of(size: tuple[int, int], channels: tuple[int, ...], count: int) -> torch.Tensor:
    torch.manual_seed(0)
    width, height = size
    return torch.rand(1, height, width, *channels).expand(count, -1, -1, *(-1 for _ in channels))


def asked(name: str, size: tuple[int, int], count: int) -> dict:
    image, near = frames_of(size, (3,), count), frames_of(size, (), count)
    small = frames_of((518, 294), (), count)
    whole = torch.ones(1, 64, 64)
    return {
        "Defocus Map": {"disparity": near, "image": image},
        "Defocus Map, small disparity": {"disparity": small, "image": image},
        "Defocus Map, focus by mask": {"disparity": near, "image": image, "focus_mode": "mask", "focus_mask": whole},
        "Focus Mask": {"defocus": near, "smooth": 3, "min_area": 0.001},
        "Focus Track, point": {"disparity": near, "image": image, "follow": "point"},
        "Focus Track, mask": {"disparity": near, "image": image, "follow": "mask", "subject_mask": near},
        "Steady Disparity": {"disparity": near, "image": image},
        "Disparity From Depth": {"depth": near, "convention": CONVENTION},
        "Disparity From Photo": {"image": image, "input_size": 140},
        "Lens Blur": {"image": image, "disparity": near, "k": K},
        "Focus and Aperture Sweep": {"image": image[:1], "disparity": near[:1], "frames": count, "k_from": K, "k_to": K},
    }[name]


NODES = {
    "Defocus Map": host.nodes.DefocusMap,
    "Defocus Map, small disparity": host.nodes.DefocusMap,
    "Defocus Map, focus by mask": host.nodes.DefocusMap,
    "Focus Mask": host.nodes.FocusMask,
    "Focus Track, point": host.nodes.FocusTrack,
    "Focus Track, mask": host.nodes.FocusTrack,
    "Steady Disparity": host.nodes.SteadyDisparity,
    "Disparity From Depth": host.nodes.DisparityFrom,
    "Disparity From Photo": host.nodes.FindDisparity,
    "Lens Blur": host.nodes.LensBlur,
    "Focus and Aperture Sweep": host.nodes.Sweep,
}


def measure(name: str, size: tuple[int, int], count: int, dtype: torch.dtype) -> dict[str, float]:
    """Bytes of the outputs, bytes that were held beyond them, and seconds."""
    host.model_management.intermediate_dtype = lambda: dtype
    inputs = asked(name, size, count)
    if name == "Disparity From Photo":
        inputs["depth_model"] = host.nodes.depth_model.load_depth_model(DEPTH)
    before, start = memory("cpu"), time.perf_counter()
    outputs = host.run(NODES[name], **inputs)
    held = sum(one.nbytes for one in outputs if isinstance(one, torch.Tensor))
    return {"outputs": held, "beyond": memory("cpu", peak=True) - before - held, "seconds": time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, nargs="+", default=[24, 240])
    parser.add_argument("--nodes", nargs="+", default=list(NODES), choices=list(NODES), metavar="NODE")
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--alone", action="store_true", help="in this process, as JSON")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    if args.alone:
        dtype = torch.float32 if args.float32 else torch.float16
        print(json.dumps(measure(args.nodes[0], (width, height), args.frames[0], dtype)))
        return
    print("| node | frames | outputs, GiB | beyond them, GiB | s |")
    print("| --- " * 5 + "|")
    for name in args.nodes:
        for count in args.frames:
            command = [sys.executable, "-m", "benchmarks.clips", "--alone", "--nodes", name, "--frames", str(count)]
            command += ["--size", args.size, *(["--float32"] if args.float32 else [])]
            row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            gib = (f"{row[key] / 2**30:.2f}" for key in ("outputs", "beyond"))
            print(f"| {name} | {count} | {' | '.join(gib)} | {row['seconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
