"""What nano does on drawn scenes that it has not seen: the figures of docs/nano.md.

magicbokeh synth --output held-out --count 64 --size 256 --seed 5000 --ray-traced --scale 1.25 --strength light
python -m benchmarks.nano held-out
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
from magicbokeh_ops.evaluation.metrics import psnr, ssim
from magicbokeh_ops.model.nano import lens_blur
from magicbokeh_ops.model.vae import make_codec
from magicbokeh_ops.renderer import load_renderer
from magicbokeh_ops.weights import checkpoint

K_OF_SWEEP = (0, 4, 8, 16, 24, 32)


def row(picture: Tensor, truth: Tensor, sharp: Tensor) -> tuple[float, ...]:
    picture = (255 * picture.clamp(0, 1)).round() / 255
    return psnr(picture, truth), ssim(picture, truth), psnr(picture, truth, sharp), psnr(picture, truth, ~sharp)


def detail(picture: Tensor, where: Tensor) -> float:
    """Mean squared step from pixel to pixel, where both are inside."""
    steps = [(picture.diff(dim=axis) ** 2).mean(1, keepdim=True) for axis in (-1, -2)]
    inside = [where[..., 1:] & where[..., :-1], where[..., 1:, :] & where[..., :-1, :]]
    return statistics.fmean(float(step[both].mean()) for step, both in zip(steps, inside))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=NANO)
    arguments = parser.parse_args()
    weights = checkpoint.load(arguments.model)
    render = load_renderer(weights, torch.device("cpu"), torch.float32)
    codec = make_codec(weights.vae)
    scenes = find_scenes(arguments.folder, 0)
    maps = find_disparity(arguments.folder / "disparity", scenes)

    rows: dict[str, list[tuple[float, ...]]] = {}
    restored: list[tuple[float, float]] = []
    sweeps: list[list[float]] = []
    for scene in tqdm(scenes):
        assert scene.focus is not None
        read = [files.read_photo(path)[0] for path in (scene.photo, scene.truth, arguments.folder / "sharp" / scene.truth.name)]
        photo, truth, all_sharp = read
        disparity, inside = files.read_map(maps[scene.name]), files.read_map(scene.mask) > 0.5
        blur_at = partial(defocus.defocus_map, disparity, scene.focus)
        blur = blur_at(scene.k)
        masks = defocus.focus_mask(blur)
        by_k = {k: render(photo, blur_at(k), defocus.focus_mask(blur_at(k)))[0] for k in K_OF_SWEEP}
        starts = ((codec.decode(start) + 1) / 2 for start in lens_blur(codec.encode(2 * photo - 1), blur))
        pictures = {
            "photo": photo,
            "photo, then lens": lens.render(photo, disparity, scene.focus, scene.k),
            **dict(zip(("nano's start, blur behind", "nano's start, blur in front"), starts)),
            "nano at K 0, then lens": lens.render(by_k[0], disparity, scene.focus, scene.k),
            "nano without masked attention": render(photo, blur, None)[0],
            "nano": render(photo, blur, masks)[0],
        }
        for name, picture in pictures.items():
            rows.setdefault(name, []).append(row(picture, truth, inside))
        if not torch.equal(photo, all_sharp):  # some photos are left as they were
            restored.append((psnr(photo, all_sharp), psnr(by_k[0], all_sharp)))
        far = blur_at(32) > 0.1
        sweeps.append([detail(by_k[k], far) for k in K_OF_SWEEP])

    print(f"{len(scenes)} scenes, means\n| | PSNR | SSIM | in focus | out of focus |\n| --- | --- | --- | --- | --- |")
    for name, scores in rows.items():
        whole, likeness, near, far = map(statistics.fmean, zip(*scores))
        print(f"| {name} | {whole:.2f} | {likeness:.4f} | {near:.2f} | {far:.2f} |")
    before, after = map(statistics.fmean, zip(*restored))
    print(f"\nK 0, {len(restored)} degraded photos: {before:.2f} -> {after:.2f} dB, {after - before:+.2f}")
    falling = sum(scores == sorted(scores, reverse=True) for scores in sweeps)
    means = ", ".join(f"K {k} {statistics.fmean(of):.2e}" for k, of in zip(K_OF_SWEEP, zip(*sweeps)))
    print(f"Detail out of focus: {means}; falls with every step in {falling} of {len(sweeps)} scenes")


if __name__ == "__main__":
    main()
