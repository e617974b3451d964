"""The lens of this checkout beside that of an older commit, in turns, so that what else the machine does meets both.

    python -m benchmarks.against BASE [--threads 2] [--rounds 5] [--quick]

BASE is a commit, of which a work tree is made. Each side runs in a process of its own; a time is the median of its rounds. The
difference is the largest between both pictures, in sRGB. --quick leaves out 12 megapixels.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F

from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.lens import render
from magicbokeh_ops.sweep import sweep
from magicbokeh_ops.synthesis.raytrace import flatten
from magicbokeh_ops.synthesis.scenes import three_layers

PACK = Path(__file__).parents[1]
FRAMES = 48


@cache
def scene(height: int, width: int, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    light, near = flatten(three_layers(512, 0, seed=1))
    size = (max(height, width),) * 2
    photo = F.interpolate(linear_to_srgb(light)[None].clamp(max=1), size, mode="bicubic").clamp(0, 1)
    disparity = F.interpolate(near[None], size, mode="nearest")
    if kind == "ramp":
        disparity = torch.linspace(0, 1, size[1]).expand(1, 1, *size)
    if kind == "noise":
        disparity = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    return photo[..., :height, :width], disparity[..., :height, :width]


# (height, width), disparity, k, pictures of a sweep
CASES = {
    "1024 x 768, three layers, K 16": ((768, 1024), "layers", 16, 1),
    "1024 x 768, three layers, K 64": ((768, 1024), "layers", 64, 1),
    "1024 x 768, ramp, K 16": ((768, 1024), "ramp", 16, 1),
    "1024 x 768, noise, K 16": ((768, 1024), "noise", 16, 1),
    f"1024 x 768, sweep of {FRAMES}, K 16": ((768, 1024), "layers", 16, FRAMES),
    "4000 x 3000, three layers, K 32": ((3000, 4000), "layers", 32, 1),
}


def work(threads: int) -> None:
    """Answer names of cases on standard input with seconds for each picture and the last picture."""
    torch.set_num_threads(threads)
    for line in sys.stdin:
        size, kind, k, frames = CASES[line.strip()]
        photo, disparity = scene(*size, kind)
        start = time.perf_counter()
        for focus in sweep(0, 1, frames) if frames > 1 else [0.5]:
            picture = render(photo, disparity, focus, k)
        seconds = (time.perf_counter() - start) / frames
        data = io.BytesIO()
        torch.save((seconds, picture), data)
        sys.stdout.buffer.write(len(data.getvalue()).to_bytes(8, "little") + data.getvalue())
        sys.stdout.buffer.flush()


class Side:
    def __init__(self, tree: Path, threads: int):
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        command = [sys.executable, __file__, "--work", "--threads", str(threads)]
        self.process = subprocess.Popen(command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, case: str) -> tuple[float, torch.Tensor]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{case}\n".encode())
        self.process.stdin.flush()
        length = int.from_bytes(self.process.stdout.read(8), "little")
        return torch.load(io.BytesIO(self.process.stdout.read(length)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "base"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", tree, args.base], cwd=PACK, check=True)
        try:
            sides = [Side(tree, args.threads), Side(PACK, args.threads)]
            print(f"{args.threads} threads, median of {args.rounds}\n")
            print(f"| seconds for a picture | {args.base} | this | ratio | difference |\n| --- | --- | --- | --- | --- |")
            for case in CASES:
                if args.quick and ("4000" in case or "sweep" in case):
                    continue
                rounds = [[side.run(case) for side in sides] for _ in range(1 if "sweep" in case else args.rounds)]
                before, after = (statistics.median(seconds) for seconds in zip(*[[one[0] for one in pair] for pair in rounds]))
                difference = float((rounds[0][0][1] - rounds[0][1][1]).abs().max())
                print(f"| {case} | {before:.2f} | {after:.2f} | {after / before:.2f} | {difference:.0e} |", flush=True)
        finally:
            for side in sides:
                side.process.kill()
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=PACK, check=True)


if __name__ == "__main__":
    main()
