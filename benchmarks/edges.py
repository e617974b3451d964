"""What a matte, a clean plate and a matte from disparity do for the lens, near pixels that show two surfaces.

Two families of scenes whose coverage, colours, plate and disparity are known: drawn layers, ray traced, and hair, fur and grass of real
geometry, by Mitsuba. All methods see the same photo; disparity is exact or as a network gives it, soft and moved (`tests.support.spoiled`).
Today's lens is that of a commit, run beside the others. Counted are the pixels that light from a mixed one may reach: within 8 px of one
that shows two surfaces by 2 % or more, or within its blur radius; for a wrong matte also those around what that one calls mixed. Gains are
dB over today's lens at the same pixels with the same disparity; the mean square of the noise of Mitsuba's pictures is taken off all errors
there. Time is the processor's, relative to the lens without a matte.

python -m benchmarks.edges                                          # both families (hair needs Mitsuba, as rendered_scenes does)
python -m benchmarks.edges --family drawn --quick
python -m benchmarks.edges --tuning --cache FOLDER                  # other scenes, to tune with; rendered and traced only once
python -m benchmarks.edges --base COMMIT --pictures FOLDER          # photo, each method and truth side by side
"""

import argparse
import importlib
import io
import math
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.edge_views import WRONG, View, cached, drawn
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.files import write_photo
from magicbokeh_ops.lens import render
from magicbokeh_ops.matting import from_disparity
from tests.support.spoiled import spoil

BASE = "fcd4a53"  # before the lens took mattes
TODAY, NO_MATTE, FOUND = "today's lens", "no matte", "matte from disparity"
MAPS = {"exact": (1, 0.0, 0.0), "3 px soft": (3, 0.7, -0.4), "7 px soft": (7, 1.5, -1.0), "15 px soft": (15, 3.0, -2.0)}
ALL_METHODS = ("exact", "7 px soft")  # maps that what is not the question is tried with too
DRAWN = {"drawn hairs": {}, "drawn lamps": {"lamps": True}, "drawn soft": {"soft": 7}}
HAIR = {"fur": ["ball"], "head": ["head"], "grass": ["grass", "ball"]}  # and the subjects of each
PLACES = ("near", "middle", "far")


def lens_at(commit: str, folder: str) -> Callable[..., Tensor]:
    """`render` of the library at a commit, which is put into a folder and imported under a name of its own."""
    command = ["git", "archive", commit, "magicbokeh_ops"]
    archive = subprocess.run(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    Path(folder, "magicbokeh_ops").rename(Path(folder, "base_ops"))
    sys.path.insert(0, folder)
    return importlib.import_module("base_ops.lens").render


def views(family: str | None, tuning: bool, quick: bool, cache: Path | None) -> Iterator[tuple[str, View]]:
    """Each subject of each scene, and what to call it."""
    kind = "tuning" if tuning else "quick" if quick else "default"
    if family != "hair":
        for i, (name, options) in enumerate(list(DRAWN.items())[: 1 if quick else None]):
            seed = (31 if tuning else 21) + i
            make = partial(drawn, seed, 96 if quick else 160, (12,) if quick else (8, 16), **options)
            for subject, view in zip(("front", "middle"), cached(cache, f"{kind}_{name.replace(' ', '_')}", make)):
                yield f"{name}, {subject}", view
    if family != "drawn":
        for name, subjects in list(HAIR.items())[: 1 if quick else None]:
            for subject, view in zip(subjects, cached(cache, f"{kind}_{name}", partial(hair, name, tuning, quick))):
                yield f"{name}, {subject}", view


def hair(name: str, tuning: bool, quick: bool) -> list[View]:
    from benchmarks import hair_scenes  # what is drawn or cached needs no Mitsuba

    seed = 2 if tuning else 1
    return hair_scenes.views(name, seed, (16,), 64) if quick else hair_scenes.views(name, seed, (8, 16, 32))


def helped(view: View, name: str) -> dict[str, dict[str, Tensor]]:
    """What the lens is given beside photo and disparity, by method."""
    spoiled = MAPS[name]
    full = {"matte": view.matte, "background": view.plate, "background_disparity": spoil(view.plate_disparity, *spoiled)}
    found = from_disparity(view.photo.clamp(max=1), spoil(view.disparity, *spoiled))
    methods = {"matte": {"matte": view.matte}, "matte, plate and its disparity": full, FOUND: {"matte": found}}
    if name in ALL_METHODS:
        methods["matte and plate"] = {"matte": view.matte, "background": view.plate}
        hard = {"matte": (view.matte > 0.5).float()}  # as segmenters give it
        methods |= {"hard mask": hard, "hard mask, plate and its disparity": full | hard}
        methods |= {f"matte {wrong}": {"matte": make(view)} for wrong, make in WRONG.items()}
    return methods


class Scores:
    """Of each disparity and method: subject, place of the focus, PSNR near mixed pixels, gain there, gain of the whole picture, seconds."""

    def __init__(self):
        self.rows = defaultdict(list)
        self.subjects, self.noise, self.changed = [], [], 0.0

    def add(self, name: str, view: View, today: Callable[..., Tensor], maps: list[str], pictures: Path | None) -> None:
        self.subjects.append(name)
        self.noise += view.noise.tolist()
        for lens in (today, render):
            lens(view.photo, view.disparity, float(view.focus[0]), float(view.k[0]))  # the first run takes longer
        for map_name in maps:
            disparity = spoil(view.disparity, *MAPS[map_name])
            ways = {TODAY: (today, {}), NO_MATTE: (render, {})}
            ways |= {method: (render, given) for method, given in helped(view, map_name).items()}
            if pictures:
                columns = "\n".join(["photo", *ways, "truth"])
                (pictures / f"columns_{map_name.replace(' ', '_')}.txt").write_text(columns, encoding="utf-8")
            for shot in tqdm(range(len(view.truth)), f"{name}, {map_name}"):
                outs, seconds = {}, {}
                for method, (lens, given) in ways.items():
                    start = time.process_time()
                    outs[method] = lens(view.photo, disparity, float(view.focus[shot]), float(view.k[shot]), **given)
                    seconds[method] = time.process_time() - start
                self.changed = max(self.changed, float((outs[TODAY] - outs[NO_MATTE]).abs().max()))
                truth = view.truth[shot : shot + 1]
                own = view.near_mixed(view.matte, shot)
                for method, (_, given) in ways.items():
                    matte = given.get("matte", view.matte)
                    near = own if matte is view.matte or method == FOUND else own | view.near_mixed(matte, shot)
                    noise = 10 ** (-float(view.noise[shot]) / 10)
                    errors = [10 ** (-psnr(*self._compared(view, outs[key], truth, near)) / 10) for key in (method, TODAY)]
                    cells = [-10 * math.log10(error - noise) for error in errors]
                    whole = [psnr(*self._compared(view, outs[key], truth)) for key in (method, TODAY)]
                    row = [len(self.subjects) - 1, int(view.place[shot]), cells[0], cells[0] - cells[1], whole[0] - whole[1]]
                    self.rows[map_name, method].append([*row, seconds[method]])
                if pictures:
                    sheet = torch.cat([view.inner(x.clamp(0, 1)) for x in (view.photo, *outs.values(), truth)], 3)
                    words = f"{name} {map_name} {PLACES[int(view.place[shot])]} k{int(view.k[shot])}"
                    write_photo(pictures / f"{words.replace(',', '').replace(' ', '_')}.png", sheet)

    @staticmethod
    def _compared(view: View, out: Tensor, truth: Tensor, where: Tensor | None = None) -> list[Tensor]:
        planes = [view.inner(x.clamp(max=1)) for x in (out, truth)]
        return planes if where is None else [*planes, view.inner(where)]

    def print(self) -> None:
        print(f"\nLargest change of the picture where no matte is given: {self.changed:.1e}.")
        print(f"Noise of the truth near mixed pixels: {min(self.noise):.1f} dB at worst.\n")
        places = " | ".join(f"focus {place}" for place in PLACES)
        print("| disparity | method | PSNR, dB | gain | worst scene | worst picture |", places, "| whole picture | time |")
        print("| --- " * (8 + len(PLACES)) + "|")
        tables = {key: torch.tensor(rows) for key, rows in self.rows.items()}
        for (name, method), table in tables.items():
            scenes = torch.stack([table[table[:, 0] == i].mean(0) for i in range(len(self.subjects))])
            mean = scenes.mean(0)
            cells = [mean[2], mean[3], scenes[:, 3].min(), table[:, 3].min()]
            cells += [table[table[:, 1] == i, 3].mean() for i in range(len(PLACES))]
            cells += [mean[4], table[:, 5].sum() / tables[name, NO_MATTE][:, 5].sum()]
            print("|", " | ".join([name, method, *(f"{cell:.2f}" for cell in cells)]), "|")
        print("\nGain by subject; of today's lens its PSNR:\n")
        print("| disparity | method |", " | ".join(self.subjects), "|")
        print("| --- " * (2 + len(self.subjects)) + "|")
        for (name, method), table in tables.items():
            column = 2 if method == TODAY else 3
            cells = [table[table[:, 0] == i, column].mean() for i in range(len(self.subjects))]
            print("|", " | ".join([name, method, *(f"{cell:.2f}" for cell in cells)]), "|")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=("drawn", "hair"))
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    scores = Scores()
    with tempfile.TemporaryDirectory() as folder:
        today = lens_at(args.base, folder)
        for name, view in views(args.family, args.tuning, args.quick, args.cache):
            scores.add(name, view, today, list(MAPS)[: 1 if args.quick else None], args.pictures)
    scores.print()


if __name__ == "__main__":
    main()
