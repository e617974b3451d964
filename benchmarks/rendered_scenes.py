"""The lens renderer against Mitsuba 3, beside three other ways of rendering: scenes whose lamps are far above white, in linear light.

Each scene is taken with a pinhole, and with thin lenses of three apertures at two distances of focus. All methods see the pinhole's photo
and its exact disparity. A lens of radius R that is focused on S blurs what is at z by f R |1/S - 1/z| pixels, f the focal length in pixels;
so disparity 1/z, stretched to 0..1, has k = f R (1/nearest - 1/farthest), and nothing is fitted. Then the disc of a single lamp is measured.

Needs `pip install mitsuba`, and LLVM (15 is too old, 22 works), which DRJIT_LIBLLVM_PATH names if need be.

python -m benchmarks.rendered_scenes                        # 14 minutes of processor time
python -m benchmarks.rendered_scenes --quick                # one scene
python -m benchmarks.rendered_scenes --pictures FOLDER      # with each photo, the lens's picture and the truth side by side
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import mitsuba
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from benchmarks.light_fields import METHODS
from benchmarks.mitsuba_scenes import FOCAL, HEIGHT, LAMP_AT, SCENES, WIDTH, Camera, single_lamp
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.files import write_photo

KS = (8, 16, 32)
RADII = (3, 5, 8, 12, 20, 35, 60)  # pixels, of the disc of a lamp
NOISE = "(noise of the truth)"


def clipped(light: Tensor) -> Tensor:
    return light.clamp(max=1)


def toned(light: Tensor) -> Tensor:
    """Reinhard's operator, then sRGB."""
    return linear_to_srgb(light / (1 + light))


class View:
    """What the methods see of a scene, and what a lens does."""

    def __init__(self, camera: Camera):
        self.camera = camera
        self.light = sum(camera.photo({"type": "perspective"})) / 2
        inverse = 1 / camera.distance()
        self.farthest, nearest = float(inverse.min()), float(inverse.max())
        self.span = nearest - self.farthest
        self.disparity = ((inverse - self.farthest) / self.span).clamp(0, 1)

    def focus(self, distance: float) -> float:
        return (1 / distance - self.farthest) / self.span

    def through_lens(self, distance: float, k: float) -> tuple[Tensor, Tensor]:
        """The truth, twice with noise of its own each."""
        radius = k / (FOCAL * self.span)
        return self.camera.photo({"type": "thinlens", "aperture_radius": radius, "focus_distance": distance})


def compare(names: list[str], pictures: Path | None) -> None:
    # Of each measure and method: (scene, focus, k, PSNR).
    scores = {measure: defaultdict(list) for measure in (clipped, toned)}
    for name in tqdm(names):
        scene = SCENES[name]()
        view = View(Camera(scene))
        for k in KS:
            for place, distance in enumerate(scene.focus):
                halves = view.through_lens(distance, k)
                truth = sum(halves) / 2
                focus = view.focus(distance)
                outs = {method: work(view.light, view.disparity, focus, k) for method, work in METHODS.items()}
                outs = {"no blur": view.light, **outs}
                inner = slice(k, -k)
                for measure, rows in scores.items():
                    key = names.index(name), place, k
                    for method, out in outs.items():
                        rows[method].append((*key, psnr(*(measure(x[:, inner, inner]) for x in (out, truth)))))
                    # The mean of two has half the noise of their difference.
                    noise = psnr(*(measure(x[:, inner, inner]) for x in halves)) + 20 * math.log10(2)
                    rows[NOISE].append((*key, noise))
                if pictures:
                    sheet = torch.cat([toned(x) for x in (view.light, outs["lens"], truth)], 2)
                    write_photo(pictures / f"{name}_{'near' if place == 0 else 'far'}_k{k}.png", sheet[None])
    for measure, title in ((clipped, "linear light up to white"), (toned, "tone-mapped sRGB")):
        print(f"\nPSNR in dB of {title}:\n")
        print(
            "| method | mean |", " | ".join(names), "| focus near | focus far |", " | ".join(f"k {k}" for k in KS), "| worst |"
        )
        print("| --- " * (5 + len(names) + len(KS)) + "|")
        for method, rows in scores[measure].items():
            table = torch.tensor(rows)
            cells = [table[:, 3].mean()]
            cells += [table[table[:, 0] == i, 3].mean() for i in range(len(names))]
            cells += [table[table[:, 1] == i, 3].mean() for i in range(2)]
            cells += [table[table[:, 2] == k, 3].mean() for k in KS]
            print("|", " | ".join([method, *(f"{cell:.2f}" for cell in (*cells, table[:, 3].min()))]), "|")


def half_height(picture: Tensor, radius: float) -> float:
    """Distance from the lamp's centre at which the light (3, H, W), averaged around it, falls to half of what it is within half the radius."""
    height, width = picture.shape[1:]
    distance = torch.arange(0, 1.3 * radius + 3, 0.02)
    angle = torch.arange(360) * torch.pi / 180
    x = (LAMP_AT[0] + distance[:, None] * angle.cos()) * 2 / width - 1
    y = (LAMP_AT[1] + distance[:, None] * angle.sin()) * 2 / height - 1
    profile = F.grid_sample(picture[None, :1], torch.stack([x, y], -1)[None], align_corners=False)[0, 0].mean(1)
    inside = distance < radius / 2
    plateau = (profile * distance)[inside].sum() / distance[inside].sum()
    return float(distance[profile > plateau / 2].max())


def distances() -> Tensor:
    """From the lamp's centre, in pixels, (HEIGHT, WIDTH)."""
    return torch.hypot(torch.arange(HEIGHT)[:, None] + 0.5 - LAMP_AT[1], torch.arange(WIDTH) + 0.5 - LAMP_AT[0])


def measure_discs(pictures: Path | None) -> None:
    print(
        "\nDisc of one lamp, 3 px wide and 500 times white, in front of black. Radius at half height in pixels; light of the disc, and"
    )
    print("what of it lies 2 px and more outside the disc, as shares of the lamp's light in the pinhole's photo:\n")
    columns = ("radius", "light", "outside")
    print("| lamp | radius |", " | ".join(f"{who}: {what}" for what in columns for who in ("Mitsuba", "lens")), "|")
    print("| --- " * 8 + "|")
    for place, distance in (("in the air", 4.0), ("on the wall", 11.99)):
        scene = single_lamp(distance)
        view = View(Camera(scene))
        total = float(view.light.double().sum())
        for side, sharp in zip(("behind", "in front of"), scene.focus):
            if side == "in front of" and place == "on the wall":
                continue  # which is in focus
            focus, sheet = view.focus(sharp), []
            for radius in RADII:
                k = radius / abs(view.focus(distance) - focus)
                truth = sum(view.through_lens(sharp, k)) / 2
                out = METHODS["lens"](view.light, view.disparity, focus, k)
                outside = distances() > radius + 2
                cells = [f"{half_height(x, radius):.2f}" for x in (truth, out)]
                cells += [f"{float(x.double().sum()) / total:.3f}" for x in (truth, out)]
                cells += [f"{float(x[:, outside].double().sum()) / total:.3f}" for x in (truth, out)]
                print(f"| {place}, {side} the focus | {radius} |", " | ".join(cells), "|", flush=True)
                sheet.append(torch.cat([toned(x / truth.max()) for x in (out, truth)], 2))
            if pictures:
                name = f"lamp_{place.split()[-1]}_{side.split()[0]}.png"
                write_photo(pictures / name, torch.cat(sheet, 1)[None])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    mitsuba.set_variant("llvm_ad_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    compare(["night"] if args.quick else list(SCENES), args.pictures)
    measure_discs(args.pictures)


if __name__ == "__main__":
    main()
