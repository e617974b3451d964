"""The lens renderer against thin-lens pictures made from rendered light fields, beside three other ways of rendering.

A light field is a picture from every point of the aperture, so the mean of its views, moved against each other, is what a lens takes:
real occlusion, and no model in it. The pack contains none (HCI's are not for commercial use): name a folder that has some. Of each light
field NAME it has the centre view `NAME.png` and its exact disparity `NAME_disparity.npy`, 1 = near; `NAME_front.png`, `NAME_middle.png`
and so on, the pictures of the lens; and `NAME.json` with the `focus` and `k` of each of them, from geometry alone.

python -m benchmarks.light_fields FOLDER
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lens_quality import gather, scatter
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.files import read_array, read_photo
from magicbokeh_ops.lens import render
from magicbokeh_ops.lens.kernels import kernel
from magicbokeh_ops.synthesis.convolution import convolve

BORDER = 20  # pixels, which the lens sees past


def composite(light: Tensor, disparity: Tensor, focus: float, k: float, planes: int = 32) -> Tensor:
    """Cuts the photo into planes of equal disparity, blurs each and lays the nearer ones over the farther: multi-plane images."""
    plane = (disparity * (planes - 1)).round()
    out = torch.zeros_like(torch.cat([light, disparity]))
    for i in range(planes):
        disc = kernel(Aperture(), k * (i / (planes - 1) - focus), 0, (0.0, 0.0))[0]
        seen = (plane == i).float()
        padded = F.pad(torch.cat([light * seen, seen])[None], (len(disc) // 2,) * 4, mode="replicate")
        blurred = convolve(padded, disc[None])[0]
        out = out * (1 - blurred[3:].clamp(0, 1)) + blurred
    return out[:3] / out[3:].clamp(min=1e-3)


# Linear light (3, H, W), disparity (1, H, W), focus and k to linear light.
METHODS = {
    "depth-scaled gather": lambda light, disparity, focus, k: gather(light, (k * (disparity - focus)).abs()),
    "scatter (BokehMe)": lambda light, disparity, focus, k: scatter(light, (k * (disparity - focus)).abs()),
    "compositing of 32 planes": composite,
    "lens": lambda light, disparity, focus, k: render(light[None], disparity[None], focus, k, color_space="linear")[0],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    scores = {name: [] for name in METHODS}
    pictures = []
    for description in sorted(folder.glob("*.json")):
        name = description.stem
        photo = read_photo(folder / f"{name}.png", "linear")[0][0]
        disparity = read_array(folder / f"{name}_disparity.npy").view(1, *photo.shape[-2:])
        for place, lens in json.loads(description.read_text(encoding="utf-8"))["pictures"].items():
            truth = read_photo(folder / f"{name}_{place}.png")[0][0]
            pictures.append(f"{name} {place}")
            for method, work in METHODS.items():
                out = linear_to_srgb(work(photo, disparity, lens["focus"], lens["k"]))
                inner = [x[:, BORDER:-BORDER, BORDER:-BORDER].clamp(max=1) for x in (out, truth)]
                scores[method].append(psnr(*inner))
    print("| PSNR, dB |", " | ".join(pictures), "|")
    print("| --- " * (1 + len(pictures)) + "|")
    for method, row in scores.items():
        print("|", " | ".join([method, *(f"{score:.2f}" for score in row)]), "|")


if __name__ == "__main__":
    main()
