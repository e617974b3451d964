"""What refined edges of a disparity map do for the lens: scenes of known truth, the map spoiled as a depth network spoils it.

python -m benchmarks.refine            # 6 scenes, focus on each layer, 256 px, K 16 (about 5 minutes)
python -m benchmarks.refine --scenes 1
"""

import argparse

from tqdm import tqdm

from magicbokeh_ops.depth import refine_edges
from tests.support.spoiled import compare, spoil


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
