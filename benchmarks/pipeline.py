"""The one step on the full-size networks with random weights, stage by stage: ours beside the released procedure.

Time and peak memory, each procedure in a process of its own, beside what this machine can do at best; and floating-point operations,
counted without computing.

python -m benchmarks.pipeline                  # 512, 1024 and 1536 x 1024; half an hour on two cores
python -m benchmarks.pipeline --quick          # 512
python -m benchmarks.pipeline --json FILE --plot FILE
python -m benchmarks.pipeline --count          # operations alone, a minute
python -m benchmarks.pipeline --as-released    # one procedure alone (also --fast, --reference), at the first of --sizes
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from tests.support.full_size import PROCEDURES, run

STAGES = ("text", "encode", "controlnet", "unet", "decode", "rest")
SIZES = ["512x512", "1024x1024", "1536x1024"]
COUNTED = {"512x512": (512, 512), "1536x1024": (1024, 1536), "2048x1536": (1536, 2048), "4032x3024": (3024, 4032)}


def work(procedure: str, size: tuple[int, int]) -> dict[str, float]:
    """Operations of one picture by stage, attention over everything."""
    return run(procedure, size, "meta")["flops"]


def count() -> dict[str, dict[str, dict[str, float]]]:
    """Operations by picture, procedure and stage, with a table of them."""
    procedures = (*PROCEDURES, "nodes")
    print("\n| TFLOP |", " | ".join(procedures), "| fast / reference |\n" + "| --- " * 6 + "|")
    found = {}
    for name, size in COUNTED.items():
        found[name] = {procedure: work(procedure, size) for procedure in procedures}
        totals = {procedure: sum(stages.values()) / 1e12 for procedure, stages in found[name].items()}
        row = " | ".join(f"{total:.1f}" for total in totals.values())
        print(f"| {name.replace('x', ' x ')} | {row} | {totals['fast'] / totals['reference']:.3f} |")
    return found


def ceilings(device: str, dtype: torch.dtype) -> dict[str, float]:
    """Operations per second of a large product of matrices, and bytes per second of a copy."""
    a, b = torch.randn(2, 2048, 2048, device=device, dtype=dtype)
    source = torch.empty(2**27, device=device)
    best = {}
    for name, work, amount in (("flops", lambda: a @ b, 2 * 2048**3), ("bytes", source.clone, 2 * 4 * 2**27)):
        times = []
        for _ in range(8):
            start = time.perf_counter()
            work()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        best[name] = amount / min(times)
    return best


def in_own_process(procedure: str, size: str, arguments) -> dict:
    """`run` in a process of its own, so that its peak of memory is its own too."""
    command = [sys.executable, "-m", "benchmarks.pipeline", f"--{procedure}", "--sizes", size, "--device", arguments.device]
    command += ["--dtype", arguments.dtype, "--threads", str(arguments.threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def with_flops(row: dict, counted: dict, ceiling: float) -> dict:
    share = {stage: counted[stage] / row["seconds"][stage] / ceiling for stage in counted if row["seconds"].get(stage)}
    return {**row, "flops": counted, "share of ceiling": share}


def report(rows: list[dict], best: dict[str, float]) -> None:
    print(f"ceilings: {best['flops'] / 1e9:.0f} GFLOP/s (matrix product), {best['bytes'] / 1e9:.1f} GB/s (copy)\n")
    stages = [stage for stage in STAGES if stage != "rest"]
    print(
        "| picture | procedure |",
        " | ".join(f"{stage}, s (share of ceiling)" for stage in stages),
        "| rest, s | all, s | peak, GiB |",
    )
    print("|", "--- | " * (len(stages) + 5))
    for row in rows:
        cells = []
        for stage in stages:
            seconds, share = row["seconds"].get(stage), row["share of ceiling"].get(stage)
            cells.append("" if seconds is None else f"{seconds:.2f} ({share:.0%})")
        height, width = row["size"]
        print(
            f"| {width} x {height} | {row['procedure']} |",
            " | ".join(cells),
            f"| {row['seconds']['rest']:.2f} | {row['total']:.1f} |",
            f"{row['peak'] / 2**30:.2f} ({row['activations'] / 2**30:.2f} beyond weights) |",
        )


def plot(rows: list[dict], file: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.4 * len(rows)), layout="constrained")
    names = [f"{row['size'][1]} x {row['size'][0]} {row['procedure']}" for row in rows]
    left = [0.0] * len(rows)
    for stage in STAGES:
        widths = [row["seconds"].get(stage, 0) for row in rows]
        axes.barh(names, widths, left=left, label=stage)
        left = [start + width for start, width in zip(left, widths)]
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.legend()
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for procedure in PROCEDURES:
        parser.add_argument(f"--{procedure}", dest="procedure", action="store_const", const=procedure)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WIDTHxHEIGHT")
    parser.add_argument("--quick", action="store_true", help="512 pixels only")
    parser.add_argument("--count", action="store_true", help="operations only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="on a CPU the peak of memory is that of fp32 in any case")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype)
    sizes = {name: tuple(int(side) for side in name.split("x"))[::-1] for name in arguments.sizes}
    if arguments.procedure:
        size = next(iter(sizes.values()))
        print(json.dumps(run(arguments.procedure, size, arguments.device, dtype)))
        return

    if arguments.count:
        count()
        return
    if arguments.quick:
        sizes = {SIZES[0]: (512, 512)}
    best = ceilings(arguments.device, dtype)
    rows = []
    for name, size in sizes.items():
        for procedure in PROCEDURES:
            row = in_own_process(procedure, name, arguments)
            rows.append(with_flops(row, work(procedure, size), best["flops"]))
    report(rows, best)
    flops = count()
    huge = flops["4032x3024"]
    for row in rows[-len(PROCEDURES) :]:
        seconds = sum(amount * row["seconds"][stage] / row["flops"][stage] for stage, amount in huge[row["procedure"]].items())
        print(f"4032 x 3024, {row['procedure']}, as fast by stage as {name}: {seconds / 60:.0f} minutes")
    if arguments.json:
        content = {"threads": arguments.threads, "ceilings": best, "rows": rows, "flops": flops}
        arguments.json.write_text(json.dumps(content, indent=1), encoding="utf-8")
    if arguments.plot:
        plot(rows, arguments.plot)

    found = {(row["procedure"], tuple(row["size"])): row for row in rows}
    ratios = {}
    for name, size in sizes.items():
        ours, theirs = found["fast", size], found["as-released", size]
        ratios[f"time_ratio_{name if size[0] != size[1] else size[0]}"] = ours["total"] / theirs["total"]
        if name == SIZES[0]:
            ratios["memory_ratio_512"] = ours["peak"] / theirs["peak"]
            ratios["activations_ratio_512"] = ours["activations"] / theirs["activations"]
    ratios["flops_ratio_12mp"] = sum(huge["fast"].values()) / sum(huge["as-released"].values())
    print(" ".join(f"{name}={ratio:.3f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
