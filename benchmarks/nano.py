"""What nano does on scenes that it has not seen: the figures of docs/nano.md.

magicbokeh synth --output drawn --count 64 --size 256 --seed 5000 --ray-traced --scale 1.25 --strength light
python -m benchmarks.photo_scenes PHOTOS photographs
python -m benchmarks.nano drawn photographs

ST-LPIPS is measured where its package is installed (extra `perceptual`).
"""

import argparse
import statistics
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from magicbokeh_ops import defocus, files, lens
from magicbokeh_ops.demo import NANO
from magicbokeh_ops.evaluation.benchmark import find_disparity, find_scenes
from magicbokeh_ops.evaluation.learned import Learned, Measure
from magicbokeh_ops.evaluation.metrics import psnr, ssim
from magicbokeh_ops.model.nano import lens_blur
from magicbokeh_ops.model.vae import make_codec
from magicbokeh_ops.renderer import load_renderer
from magicbokeh_ops.weights import checkpoint

K_OF_SWEEP = (0, 4, 8, 16, 24, 32)
DIGITS = {"SSIM": 4, "ST-LPIPS": 4}


def row(picture: Tensor, truth: Tensor, sharp: Tensor, alike: Measure | None) -> dict[str, float]:
    picture = (255 * picture.clamp(0, 1)).round() / 255
    found = {
        "PSNR": psnr(picture, truth),
        "SSIM": ssim(picture, truth),
        "in focus": psnr(picture, truth, sharp),
        "out of focus": psnr(picture, truth, ~sharp),
    }
    return found | ({"ST-LPIPS": float(alike(picture, truth))} if alike else {})


def detail(picture: Tensor, where: Tensor) -> float:
    """Mean squared step from pixel to pixel, where both are inside."""
    steps = [(picture.diff(dim=axis) ** 2).mean(1, keepdim=True) for axis in (-1, -2)]
    inside = [where[..., 1:] & where[..., :-1], where[..., 1:, :] & where[..., :-1, :]]
    return statistics.fmean(float(step[both].mean()) for step, both in zip(steps, inside))


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {column: statistics.fmean(row[column] for row in rows) for column in rows[0]}


def measure(folder: Path, weights: checkpoint.Weights, alike: Measure | None) -> tuple[dict[str, dict[str, float]], int, int]:
    """Means by kind of picture, at K 0 over the photos that are not as they were; scenes, and in how many detail falls with K."""
    render = load_renderer(weights, torch.device("cpu"), torch.float32)
    codec = make_codec(weights.vae)
    scenes = find_scenes(folder, 0)
    maps = find_disparity(folder / "disparity", scenes)
    rows: dict[str, list[dict[str, float]]] = {}
    sweeps: list[list[float]] = []
    for scene in tqdm(scenes, folder.name):
        assert scene.focus is not None
        paths = (scene.photo, scene.truth, folder / "sharp" / scene.truth.name)
        photo, truth, all_sharp = (files.read_photo(path)[0] for path in paths)
        disparity, inside = files.read_map(maps[scene.name]), files.read_map(scene.mask) > 0.5
        blur_at = partial(defocus.defocus_map, disparity, scene.focus)
        blur = blur_at(scene.k)
        by_k = {k: render(photo, blur_at(k), defocus.focus_mask(blur_at(k)))[0] for k in K_OF_SWEEP}
        starts = ((codec.decode(start) + 1) / 2 for start in lens_blur(codec.encode(2 * photo - 1), blur))
        pictures = {
            "photo": photo,
            "photo, then lens": lens.render(photo, disparity, scene.focus, scene.k),
            **dict(zip(("nano's start, blur behind", "nano's start, blur in front"), starts)),
            "nano at K 0, then lens": lens.render(by_k[0], disparity, scene.focus, scene.k),
            "nano without masked attention": render(photo, blur, None)[0],
            "nano": render(photo, blur, defocus.focus_mask(blur))[0],
        }
        for name, picture in pictures.items():
            rows.setdefault(name, []).append(row(picture, truth, inside, alike))
        if not torch.equal(photo, all_sharp):
            for name, picture in (("photo at K 0", photo), ("nano at K 0", by_k[0])):
                rows.setdefault(name, []).append(row(picture, all_sharp, inside, alike))
        far = blur_at(32) > 0.1
        sweeps.append([detail(by_k[k], far) for k in K_OF_SWEEP])
    falling = sum(scores == sorted(scores, reverse=True) for scores in sweeps)
    return {name: mean(found) for name, found in rows.items()}, len(scenes), falling


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, default=NANO)
    arguments = parser.parse_args()
    weights = checkpoint.load(arguments.model)
    alike = Learned(torch.device("cpu")).measures.get("ST-LPIPS")
    for folder in arguments.folders:
        rows, count, falling = measure(folder, weights, alike)
        print(f"\n{folder.name}: {count} scenes, means; detail out of focus falls with every step of K in {falling}\n")
        columns = list(rows["photo"])
        print("| |", " | ".join(columns), "|")
        print("| --- " * (1 + len(columns)) + "|")
        for kind, scores in rows.items():
            print(f"| {kind} |", " | ".join(f"{scores[column]:.{DIGITS.get(column, 2)}f}" for column in columns), "|")


if __name__ == "__main__":
    main()
