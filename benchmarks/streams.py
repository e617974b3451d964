"""Memory and time of clips on the command line: what a process holds at most beyond what it held before the command.

The clip is drawn: 10 bits with sound, its depth another clip of the same size. Every length runs in a process of its own.

python -m benchmarks.streams                                  # 24 and 240 frames of 1920 x 1080, to HEVC
python -m benchmarks.streams --frames 24 --ending mkv         # to FFV1
python -m benchmarks.streams --depth-model DAdepth.pth        # the disparity by a network
python -m benchmarks.streams --track                          # the focus follows a point
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from magicbokeh_ops.cli.lens import lens_command
from tests.support.memory_peak import memory
from tests.support.video_files import draw, write_clip

K, BLOCK = 20, 16
POINT = "0.7,0.15"  # on what goes to the left through the whole clip


def draw_clips(folder: Path, size: tuple[int, int], count: int) -> None:
    height, width = size
    coarse = draw(0, (-(-height // BLOCK), -(-2 * width // BLOCK)), 10, 64, 940)  # as fine as what can be followed
    texture = coarse.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, : 2 * width]
    chroma = [np.full((height // 2, width // 2), 512)] * 2
    slope = np.linspace(64, 600, width).astype(np.uint16) * np.ones((height, 1), np.uint16)

    def photo(index: int):
        return [texture[:, 4 * index % width :][:, :width], *chroma]

    def depth(index: int):
        near = slope.copy()
        near[height // 4 :, (4 * index) % width :][:, : width // 4] = 900
        return [near, *chroma]

    fast = {"preset": "ultrafast", "x265-params": "log-level=error"}
    write_clip(folder / "clip.mp4", photo, count, "libx265", size=size, sound="aac", **fast)
    write_clip(folder / "depth.mp4", depth, count, "libx265", size=size, **fast)


def measure(folder: Path, ending: str, model: str | None, track: bool) -> dict[str, float]:
    """Bytes held beyond those before the command, and seconds."""
    depth = ["--depth-model", model] if model else ["-d", str(folder / "depth.mp4")]
    focus = ["--track", POINT] if track else ["--focus", "0.9"]
    asked = [str(folder / "clip.mp4"), *depth, *focus, "--k", str(K), "-o", str(folder / f"out.{ending}")]
    before, start = memory("cpu"), time.perf_counter()
    lens_command.main(asked, standalone_mode=False)
    return {"beyond": memory("cpu", peak=True) - before, "seconds": time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, nargs="+", default=[24, 240])
    parser.add_argument("--ending", default="mp4", choices=["mp4", "mov", "mkv"])
    parser.add_argument("--depth-model")
    parser.add_argument("--track", action="store_true")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        print(json.dumps(measure(args.alone, args.ending, args.depth_model, args.track)))
        return
    width, height = map(int, args.size.split("x"))
    print("| frames | beyond start, GiB | s |")
    print("| --- " * 3 + "|")
    for count in args.frames:
        with tempfile.TemporaryDirectory() as folder:
            draw_clips(Path(folder), (height, width), count)
            rest = ["--ending", args.ending, *(["--depth-model", args.depth_model] if args.depth_model else [])]
            rest += ["--track"] * args.track
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.streams", "--alone", folder, *rest],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            row = json.loads(done.stdout.splitlines()[-1])
            print(f"| {count} | {row['beyond'] / 2**30:.2f} | {row['seconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
