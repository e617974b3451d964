"""The log of a training run as a plot: PSNR on held-out scenes, beside that of the photos as they came.

python -m benchmarks.training_log docs/nano.jsonl docs/images/nano_training.png
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt

# Curve to what the photo has without any model.
CURVES = {"bokeh": "photo to bokeh", "in focus": "photo in focus", "restored": "photo to sharp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("plot", type=Path)
    arguments = parser.parse_args()
    entries = [json.loads(line) for line in arguments.log.read_text(encoding="utf-8").splitlines()]
    looks = [entry for entry in entries if "bokeh" in entry]
    ends = [max(entry["step"] for entry in entries if entry["stage"] == stage) + 1 for stage in range(looks[-1]["stage"] + 1)]
    starts = [sum(ends[:stage]) for stage in range(len(ends))]
    steps = [starts[look["stage"]] + look["step"] for look in looks]
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for i, (name, before) in enumerate(CURVES.items()):
        axes.plot(steps, [look[name] for look in looks], color=f"C{i}", label=name)
        axes.axhline(looks[-1][before], color=f"C{i}", linestyle=":", label=before)
    for start in starts[1:]:
        axes.axvline(start, color="0.8", linewidth=1)
    axes.set(xlabel="steps, stage after stage", ylabel="PSNR, dB")
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(arguments.plot, dpi=110)


if __name__ == "__main__":
    main()
