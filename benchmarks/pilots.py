"""Short runs of nano's encoder, which restores: what limits it.

python -m benchmarks.pilots PHOTOS SCENES... -o FOLDER      # all of `PILOTS`, about eight minutes each on two cores
python -m benchmarks.pilots PHOTOS SCENES... -o FOLDER --only "less capacity"

PHOTOS: to train with, as `data.photos` has it. SCENES: folders of `magicbokeh synth` or `benchmarks.photo_scenes`, with `sharp/`. A pilot
that is done is not run again. Gain is the mean over the scenes' photos of their PSNR at K 0 less that of the photos as they came.
"""

import argparse
import json
import shutil
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.ablations import PICTURES
from benchmarks.photo_scenes import HELD_OUT
from magicbokeh_ops import files
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.model import patch_codec
from magicbokeh_ops.training import trainee
from magicbokeh_ops.training.settings import Settings
from magicbokeh_ops.training.train import train

ENCODER = {"kind": "encoder", "steps": 1500, "size": 128, "batch": 8, "rate": 1e-3, "by_picture": True}
DATA = {"photo_share": 0.7, "held_out": HELD_OUT, "pool": 128, "scale": (1, 1.5), "strength": ("light", "camera"), "workers": 1}
NETWORK = {"channels": (32,), "heads": (4,), "groups": 16, "hint_channels": (4, 4, 4)}  # which the encoder does not use

# What differs from the two above, and the encoder's network.
PILOTS: dict[str, tuple[dict, dict, str]] = {
    "as nano": ({}, {}, "U-Net"),
    "plain network": ({}, {}, "plain"),
    "twice as wide": ({}, {}, "wide"),
    "strong noise only": ({}, {"strength": "light"}, "U-Net"),
    "weak noise only": ({}, {"strength": "camera"}, "U-Net"),
    "drawn pictures only": ({}, {"photo_share": 0.0}, "U-Net"),
    "photographs only": ({}, {"photo_share": 1.0}, "U-Net"),
    "squared error": ({"by_picture": False}, {}, "U-Net"),
    "four times the steps": ({"steps": 6000}, {}, "U-Net"),
}


def network(kind: str) -> nn.Module:
    if kind == "plain":
        return patch_codec.plain_restorer()
    return patch_codec.Restorer(tuple(width * (1 + (kind == "wide")) for width in patch_codec.LEVELS))


def build(settings: Settings, kind: str) -> trainee.Trainee:
    model = trainee.build(settings)
    torch.manual_seed(settings.seed)
    model.codec.restore = network(kind)
    return model


@torch.inference_mode()
def gain(model: trainee.Trainee, scenes: Path) -> float:
    """Mean gain over the photos that are not as they were."""
    gains = []
    for path in files.list_files(scenes / "input", files.PHOTOS).values():
        photo, sharp = files.read_photo(path)[0], files.read_photo(scenes / "sharp" / path.name)[0]
        if not torch.equal(photo, sharp):
            restored = (255 * model(photo).clamp(0, 1)).round() / 255
            gains.append(psnr(restored, sharp) - psnr(photo, sharp))
    return sum(gains) / len(gains)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--output", "-o", type=Path, required=True)
    parser.add_argument("--only", choices=PILOTS)
    args = parser.parse_args()
    print("| pilot | values |", " | ".join(scenes.name for scenes in args.scenes), "| minutes |")
    print("| --- " * (3 + len(args.scenes)) + "|")
    for name in [args.only] if args.only else PILOTS:
        stage, data, kind = PILOTS[name]
        file = args.output / name / "result.json"
        if not file.exists():
            settings = Settings.model_validate(
                {
                    "stages": [ENCODER | stage],
                    "data": DATA | {"photos": args.photos} | data,
                    "network": NETWORK,
                    "precision": "bf16",
                    "ema": 0.995,
                    "sheet_steps": 100_000,
                }
            )
            folder = args.output / name
            folder.mkdir(parents=True, exist_ok=True)
            for pool in PICTURES:  # the same for all
                if (args.output / pool).exists():
                    shutil.copy(args.output / pool, folder)
            start = time.perf_counter()
            model = train(settings, folder, partial(build, kind=kind))
            minutes = (time.perf_counter() - start) / 60
            for pool in PICTURES:
                shutil.move(folder / pool, args.output / pool)
            values = sum(value.numel() for value in model.codec.restore.parameters())
            found = {"values": values, "gains": [gain(model, scenes) for scenes in args.scenes], "minutes": minutes}
            file.write_text(json.dumps(found), encoding="utf-8")
        found = json.loads(file.read_text(encoding="utf-8"))
        gains = " | ".join(f"{value:+.2f}" for value in found["gains"])
        print(f"| {name} | {found['values'] / 1e6:.2f} M | {gains} | {found['minutes']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
