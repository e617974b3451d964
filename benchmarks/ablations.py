"""The paper's ablations at a size that trains in minutes: without masked attention, and without alternation.

python -m benchmarks.ablations runs/ablations                # nine runs, about an hour on two cores
python -m benchmarks.ablations runs/ablations --seeds 1      # some of them; the table is of all that are there
"""

import argparse
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch

from magicbokeh_ops.evaluation.metrics import psnr, ssim
from magicbokeh_ops.synthesis.dataset import Batches
from magicbokeh_ops.synthesis.degradation import Degradation
from magicbokeh_ops.synthesis.sources import Procedural
from magicbokeh_ops.training import run
from magicbokeh_ops.training.settings import Settings, read_settings
from magicbokeh_ops.training.train import picture_of, train
from magicbokeh_ops.training.trainee import Trainee, build

SCENES, SIZE, SEED = 70, 96, 77777  # drawn to measure on; no training draws from this seed
PICTURES = ("pool.pt", "held-out.pt")
COLUMNS = ("bokeh PSNR", "bokeh SSIM", "in-focus PSNR", "restored PSNR")


def joint(settings: Settings) -> Settings:
    """The same number of steps, everything at once in each."""
    at_once = {"kind": "joint", "turns": (2, 1)}
    stages = (stage.model_copy(update=at_once) if stage.kind == "alternate" else stage for stage in settings.stages)
    return settings.model_copy(update={"stages": tuple(stages)})


VARIANTS = {
    "full": lambda settings: settings,
    "without masked attention": lambda settings: settings.model_copy(update={"masks": False}),
    "without alternation": joint,
}


def held_out(folder: Path, settings: Settings) -> list:
    """Scenes that all runs are measured on, with something in focus and something to restore in each."""
    file = folder / "held-out.pt"
    if not file.exists():
        run.save_whole(vars(Procedural.build(SEED, 32)), file)
    source = Procedural(**torch.load(file, weights_only=True))
    data = settings.data
    batches = Batches(source, SIZE, 1, SEED, data.k_limit, Degradation(data.scale, data.strength))
    samples = map(batches.make, range(SCENES))
    return [sample for sample in samples if sample.focus_mask.any() and not torch.equal(sample.lq, sample.sharp)]


@torch.inference_mode()
def measure(model: Trainee, scenes: list, masks: bool) -> list[float]:
    rows = []
    for sample in scenes:
        bokeh, sharp = (picture_of(model, sample, kind, masks).clamp(0, 1) for kind in (True, False))
        inside = sample.focus_mask > 0.5
        scores = (psnr(bokeh, sample.bokeh), ssim(bokeh, sample.bokeh), psnr(bokeh, sample.bokeh, inside))
        rows.append((*scores, psnr(sharp, sample.sharp)))
    return [statistics.fmean(column) for column in zip(*rows)]


def copy(source: Path, target: Path, names: Sequence[str]) -> None:
    """What the target doesn't have yet."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).exists() and not (target / name).exists():
            shutil.copyfile(source / name, target / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    settings = read_settings(Path(__file__).with_suffix(".yaml"))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scenes = held_out(arguments.folder, settings)
    for seed in arguments.seeds:
        for name, variant in VARIANTS.items():
            folder = arguments.folder / str(seed) / name.replace(" ", "-")
            chosen = variant(settings.model_copy(update={"seed": seed}))
            made_with, file = chosen.identity(len(chosen.stages)), folder / "scores.json"
            if file.exists():
                run.refuse_changes(file, json.loads(file.read_text(encoding="utf-8"))["settings"], made_with)
                continue
            # Up to the last stage alternation makes no difference.
            start = arguments.folder / str(seed) / f"start-{'with' if chosen.masks else 'without'}-masks"
            copy(arguments.folder / str(seed) / "start-with-masks", start, PICTURES)
            train(chosen.model_copy(update={"stages": chosen.stages[:-1]}), start, build)
            copy(start, folder, (*PICTURES, "state.pt", "log.jsonl"))
            model = train(chosen, folder, build)
            content = {"settings": made_with, "scores": measure(model, scenes, chosen.masks)}
            file.write_text(json.dumps(content), encoding="utf-8")

    photo = [
        [psnr(s.lq, s.bokeh), ssim(s.lq, s.bokeh), psnr(s.lq, s.bokeh, s.focus_mask > 0.5), psnr(s.lq, s.sharp)] for s in scenes
    ]
    print(f"{len(scenes)} scenes, mean and spread (standard deviation) over seeds")
    print("| |", " | ".join(COLUMNS), "|\n|", "--- |" * (len(COLUMNS) + 1))
    print("| photo |", " | ".join(f"{statistics.fmean(column):.3f}" for column in zip(*photo)), "|")
    for name in VARIANTS:
        files = sorted(arguments.folder.glob(f"*/{name.replace(' ', '-')}/scores.json"))
        scores = list(zip(*(json.loads(file.read_text(encoding="utf-8"))["scores"] for file in files)))
        cells = (f"{statistics.fmean(of):.3f} ± {statistics.pstdev(of):.3f}" for of in scores)
        print(f"| {name} ({len(files)}) |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
