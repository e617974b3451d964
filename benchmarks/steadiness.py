"""How still steadied disparity stands, and what the lens makes of it, on moving scenes of known truth.

The maps have the errors of a network that sees each frame alone: scale and shift that change by 5 % from frame to frame, blotches, soft
edges that swim.

python -m benchmarks.steadiness                 # 6 scenes of 24 frames, 160 px; 2 of them through the lens, K 16 (about 15 minutes)
python -m benchmarks.steadiness --lens 0        # the maps alone
"""

import argparse
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.lens import render
from magicbokeh_ops.steady import steady
from magicbokeh_ops.synthesis.raytrace import rays_for, trace
from tests.support.moving import Moment, flicker, moving_scene, steepness
from tests.support.spoiled import spoil, spoil_clip

SIZE, K = 160, 16
MARGIN = K + 8
INNER = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
FIRST_SEED = 101  # tests have those below
ERRORS = {
    "none (exact)": None,
    "none (soft edges)": lambda maps, seed: [spoil(near, 5, 0, 0) for near in maps],
    "all of them": spoil_clip,
    "scale and shift": partial(spoil_clip, noise=0, swim=0),
    "blotches": partial(spoil_clip, change=0, swim=0),
    "edges that swim": partial(spoil_clip, change=0, noise=0),
}


def compare_maps(moments: list[Moment], seed: int, errors) -> list[float]:
    truth = [moment.disparity for moment in moments]
    given = truth if errors is None else errors(truth, seed)
    stood = steadied(given, moments)
    off = [[float((near - true)[INNER].mean()) for near, true in zip(maps, truth)] for maps in (given, stood)]
    return [
        flicker(truth, moments, MARGIN),
        flicker(given, moments, MARGIN),
        flicker(stood, moments, MARGIN),
        steepness(stood, moments, MARGIN) / steepness(given, moments, MARGIN),
        error(given, truth),
        error(stood, truth),
        abs(sum(off[1])) / len(moments),
        max(map(abs, off[0])),
        max(map(abs, off[1])),
        sum(torch.equal(one, other) for one, other in zip(given, stood)) / len(moments),
    ]


def steadied(maps: list[Tensor], moments: list[Moment]) -> list[Tensor]:
    return list(steady(torch.cat(maps), torch.cat([moment.photo for moment in moments])).split(1))


def error(maps: Iterable[Tensor], truth: list[Tensor]) -> float:
    return sum(float((near - true)[INNER].abs().mean()) for near, true in zip(maps, truth)) / len(truth)


def compare_pictures(moments: list[Moment], seed: int) -> dict[str, tuple[float, float]]:
    """PSNR against the true clip and flicker over that of the true clip, with the focus on the second cut-out."""
    truth = [moment.disparity for moment in moments]
    middle = moments[0].layers[1].disparity()[0]
    focus = float(middle[middle.shape[0] // 2, middle.shape[1] // 2])
    true = [
        linear_to_srgb(trace(moment.layers, focus, K, rays_for(K * 0.8)))[None].clamp(max=1)
        for moment in tqdm(moments, "trace")
    ]
    given = spoil_clip(truth, seed)
    own = flicker(true, moments, MARGIN)
    results = {"true clip": (float("inf"), 1.0)}
    tried = {"lens, exact": truth, "lens, spoiled": given, "lens, steadied": steadied(given, moments)}
    for name, maps in tried.items():
        pictures = [render(moment.photo, near, focus, K).clamp(max=1) for moment, near in zip(moments, maps)]
        scores = [psnr(picture[INNER], one[INNER]) for picture, one in zip(pictures, true)]
        results[name] = sum(scores) / len(scores), flicker(pictures, moments, MARGIN) / own
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--lens", type=int, default=2, help="scenes of them that go through the lens")
    args = parser.parse_args()
    scenes = {
        seed: moving_scene(seed, args.frames, SIZE, MARGIN)
        for seed in tqdm(range(FIRST_SEED, FIRST_SEED + args.scenes), "scenes")
    }
    print(
        "| errors | flicker of the truth | given | steadied | ratio, worst | steepness | error | steadied | off in the clip's mean | "
        "in a frame's, given | steadied | untouched |"
    )
    print("| --- " * 12 + "|")
    for name, errors in ERRORS.items():
        rows = torch.tensor([compare_maps(moments, seed, errors) for seed, moments in scenes.items()])
        true, given, stood, steep, before, after, off, frame, frame_after, kept = rows.mean(0).tolist()
        worst = float((rows[:, 2] / rows[:, 1]).amax())
        print(
            f"| {name} | {true:.4f} | {given:.4f} | {stood:.4f} | {stood / given:.2f}, {worst:.2f} | {steep:.2f} | {before:.4f} | "
            f"{after:.4f} | {off:.4f} | {frame:.4f} | {frame_after:.4f} | {kept:.0%} |"
        )
    chosen = list(scenes.items())[: args.lens]
    if chosen:
        found = [compare_pictures(moments, seed) for seed, moments in chosen]
        print("\n| clip | PSNR | flicker over the true clip's | worst |")
        print("| --- " * 4 + "|")
        for name in found[0]:
            scores, ratios = zip(*(result[name] for result in found))
            print(f"| {name} | {sum(scores) / len(scores):.2f} | {sum(ratios) / len(ratios):.2f} | {max(ratios):.2f} |")


if __name__ == "__main__":
    main()
