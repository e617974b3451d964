"""What refined edges of a disparity map do for the lens: scenes of known truth, the map spoiled as a depth network spoils it.

python -m benchmarks.refine            # 6 scenes, focus on each layer, 256 px, K 16 (about 5 minutes)
python -m benchmarks.refine --scenes 1
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.defocus import widen
from magicbokeh_ops.lens import render
from magicbokeh_ops.refine import refine_edges
from magicbokeh_ops.synthesis.raytrace import flatten, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers

SIZE, K = 256, 16
MARGIN = K + 8
NEAR_EDGES = 8  # pixels


def spoil(disparity: Tensor, blur: int, right: float, down: float) -> Tensor:
    """A map (1, 1, H, W) averaged over `blur` pixels and moved."""
    reach = blur // 2
    disparity = F.avg_pool2d(F.pad(disparity, (reach,) * 4, mode="replicate"), blur, 1)
    height, width = disparity.shape[-2:]
    y = (torch.arange(height) + 0.5 - down) / height * 2 - 1
    x = (torch.arange(width) + 0.5 - right) / width * 2 - 1
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)[None]
    return F.grid_sample(disparity, grid, padding_mode="border", align_corners=False)


def psnr(error: Tensor) -> float:
    return float(-10 * error.mean().log10())


def compare(seed: int, maps: dict) -> list[dict[str, tuple[float, float]]]:
    """PSNR near edges and of the whole picture for each of the maps, with the focus on each of a scene's layers."""
    layers = three_layers(SIZE, MARGIN, seed)
    light, exact = flatten(layers)
    photo, exact = linear_to_srgb(light)[None], exact[None]
    tried = {name: make(photo.clamp(max=1), exact) for name, make in maps.items()}
    inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    edges = widen(exact, 2) + widen(-exact, 2) > 0.05
    edges = widen(edges.float(), NEAR_EDGES)[inner].expand(1, 3, -1, -1) > 0
    middle = SIZE // 2 + MARGIN
    depths = [float(layer.disparity()[0, middle, middle]) for layer in layers]
    results = []
    for focus in depths:
        truth = linear_to_srgb(trace(layers, focus, K, rays_for(K * max(abs(d - focus) for d in depths)))).clamp(max=1)
        scores = {}
        for name, disparity in tried.items():
            error = (render(photo, disparity, focus, K).clamp(max=1) - truth)[inner].square()
            scores[name] = psnr(error[edges]), psnr(error)
        results.append(scores)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6)
    args = parser.parse_args()
    maps = {"exact": lambda photo, exact: exact, "exact, refined": lambda photo, exact: refine_edges(photo, exact)}
    for blur, right, down, reach in ((3, 0.7, -0.4, 1), (7, 1.5, -1.0, 3), (15, 3.0, -2.0, 6)):
        name = f"{blur} px soft, moved ({right}, {down})"
        maps[name] = lambda photo, exact, spoiled=(blur, right, down): spoil(exact, *spoiled)
        maps[f"{name}, refined with reach {reach}"] = lambda photo, exact, spoiled=(blur, right, down), reach=reach: (
            refine_edges(photo, spoil(exact, *spoiled), reach)
        )
    results = [scores for seed in tqdm(range(1, args.scenes + 1)) for scores in compare(seed, maps)]
    print("| disparity | PSNR near edges | PSNR | worst near edges |")
    print("| --- " * 4 + "|")
    for name in maps:
        near, whole = zip(*(scores[name] for scores in results))
        print(f"| {name} | {sum(near) / len(near):.2f} | {sum(whole) / len(whole):.2f} | {min(near):.2f} |")


if __name__ == "__main__":
    main()
