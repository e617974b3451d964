"""The paper's table of methods and metrics (Table 1, and the ablations) over a folder of pictures; see docs/evaluation.md."""

import csv
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor
from tqdm import tqdm

from .. import defocus, files, lens
from ..focus import choose_focus
from .learned import Learned
from .metrics import luma, psnr, ssim
from .upscaler import load_upscaler

# Name in --methods and of the folder, to the row's label.
METHODS = {
    "input": "input (LQ)",
    "lens": "lens, no restoration",
    "two-stage": "restoration, then lens",
    "no-mask": "ours without masked attention",
    "other-depth": "ours with the plain depth model",
    "ours": "ours",
}
UPSCALE = re.compile(r"upscale:(.+)\+lens")  # a name in --methods too

# Column to which way is better, and digits.
COLUMNS = {
    "PSNR RGB": ("↑", 2),
    "PSNR Y": ("↑", 2),
    "SSIM RGB": ("↑", 4),
    "SSIM Y": ("↑", 4),
    "in-focus PSNR": ("↑", 2),
    "out-of-focus PSNR": ("↑", 2),
    "SSIMULACRA2": ("↑", 2),
    "FLIP": ("↓", 4),
    "ColorVideoVDP": ("↑", 3),
    "ST-LPIPS": ("↓", 4),
    "LPIPS": ("↓", 4),
    "DISTS": ("↓", 4),
    "FID": ("↓", 2),
    "NIQE": ("↓", 3),
    "MANIQA": ("↑", 4),
    "MUSIQ": ("↑", 2),
    "CLIP-IQA": ("↑", 4),
    "BRISQUE": ("↓", 2),
    "seconds": ("↓", 3),
}
THUMBNAIL, LABEL = 256, 20

# method(photo, disparity, focus, k): picture (1, 3, H, W) in [0, 1].
Method = Callable[[Tensor, Tensor, float, float], Tensor]
Scores = dict[str, float]  # by column


@dataclass(frozen=True)
class Scene:
    """Files of one picture. k: in pixels. focus: disparity in focus, None = the median under the mask."""

    name: str
    photo: Path
    truth: Path
    mask: Path
    k: float
    focus: float | None = None


def find_scenes(folder: Path, k: float) -> list[Scene]:
    """Pictures of a folder with input/, gt/, mask/ and perhaps settings.json, all read once to check them.

    k: of the pictures whose settings give none. Raises ValueError for a missing partner, a size other than the ground
    truth's, a mask that is white or black everywhere and bad settings, naming the file.
    """
    photos = files.list_files(folder / "input", files.PHOTOS)
    truths, masks = (files.pair(folder / kind, photos, files.PHOTOS) for kind in ("gt", "mask"))
    settings = read_settings(folder / "settings.json", photos)
    scenes = []
    for name, photo in tqdm(photos.items(), desc="check", unit="picture"):
        size = files.read_photo(truths[name])[0].shape[-2:]
        check_size(photo, files.read_photo(photo)[0], size)
        mask = files.read_map(masks[name])
        check_size(masks[name], mask, size)
        if (mask > 0.5).all() or not (mask > 0.5).any():
            raise ValueError(f"{masks[name]} is of one kind everywhere; it must be white in focus and black elsewhere.")
        scenes.append(Scene(name, photo, truths[name], masks[name], **{"k": k, **settings.get(name, {})}))
    return scenes


def find_disparity(folder: Path, scenes: Sequence[Scene]) -> dict[str, Path]:
    """Maps in [0, 1], 1 = nearest, by stem.

    Raises ValueError for a missing partner, for values that are no disparity, and for another shape than the picture's.
    """
    found = files.pair(folder, [scene.name for scene in scenes], files.MAPS)
    for scene in scenes:
        path, size = found[scene.name], files.read_photo(scene.photo)[0].shape[-2:]
        try:
            disparity = files.read_map(path)
            defocus.check_disparity(disparity)
            defocus.check_same_shape(disparity, size, "disparity")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return found


def read_settings(path: Path, names: Container[str]) -> dict[str, dict[str, float]]:
    """{"NAME": {"k": pixels, "focus": disparity}}, either may be left out; empty without a file."""
    if not path.exists():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); see docs/evaluation.md.") from None
    if not isinstance(settings, dict) or not all(isinstance(given, dict) for given in settings.values()):
        raise ValueError(f'{path} must be like {{"NAME": {{"k": 24, "focus": 0.5}}}}.')
    for name, given in settings.items():
        if name not in names:
            raise ValueError(f"{path} has settings for {name}, which input/ has not; remove them.")
        if not given.keys() <= {"k", "focus"} or not all(isinstance(v, int | float) and v >= 0 for v in given.values()):
            raise ValueError(f"{path} has {json.dumps(given)} for {name}; it takes k and focus, numbers of 0 or more.")
    return settings


def check_size(path: Path, picture: Tensor, size: Sequence[int]) -> None:
    if tuple(picture.shape[-2:]) != tuple(size):
        height, width = picture.shape[-2:]
        raise ValueError(f"{path} is {width} x {height} pixels, its ground truth {size[1]} x {size[0]}; bring it to that size.")


def find_outputs(folder: Path, scenes: Sequence[Scene]) -> dict[str, Path]:
    """Finished pictures of another method, by stem. Raises ValueError for a missing partner or another size."""
    found = files.pair(folder, [scene.name for scene in scenes], files.PHOTOS)
    for scene in scenes:
        check_size(found[scene.name], files.read_photo(found[scene.name])[0], files.read_photo(scene.truth)[0].shape[-2:])
    return found


@torch.inference_mode()
def estimate_disparity(scenes: Sequence[Scene], estimate: Callable[[Tensor], Tensor], folder: Path) -> dict[str, Path]:
    """Disparity that `estimate` finds in the inputs, written to `folder`, by stem."""
    folder.mkdir(parents=True)
    found = {scene.name: folder / f"{scene.name}.npy" for scene in scenes}
    for scene in tqdm(scenes, desc=folder.name, unit="picture"):
        files.write_map(found[scene.name], estimate(files.read_photo(scene.photo)[0]))
    return found


def needs_model(name: str) -> bool:
    return name not in ("input", "lens") and not UPSCALE.fullmatch(name)


def find_method(name: str, render: Any, preset: str, device: torch.device) -> Method:
    """One of `METHODS` but input, or by `UPSCALE`. render: `sampler.render` of a model, without its photo and what follows, if
    `needs_model`.
    """

    def through_lens(photo: Tensor, disparity: Tensor, focus: float, k: float) -> Tensor:
        return lens.render(photo.to(device), disparity.to(device), focus, k)

    def by_model(photo: Tensor, disparity: Tensor, focus: float, k: float) -> Tensor:
        blur = defocus.defocus_map(disparity, focus, k)
        return render(photo, blur, None if name == "no-mask" else defocus.focus_mask(blur), preset=preset)[0]

    def in_two_stages(photo: Tensor, disparity: Tensor, focus: float, k: float) -> Tensor:
        return through_lens(by_model(photo, disparity, focus, 0), disparity, focus, k)

    if upscaler := UPSCALE.fullmatch(name):
        restore = load_upscaler(Path(upscaler[1]), device)
        return lambda photo, disparity, focus, k: through_lens(restore(photo), disparity, focus, k)
    return {"lens": through_lens, "two-stage": in_two_stages}.get(name, by_model)


def read_shot(scene: Scene, disparity: Path, released: bool) -> tuple[Tensor, Tensor, float, float]:
    """What a method is called with. released: disparity is cut to 8 bit and the focus found as by the released front end."""
    photo, mask = files.read_photo(scene.photo)[0], files.read_map(scene.mask)
    near = defocus.resize(files.read_map(disparity), photo.shape[-2:])
    if released:
        near = defocus.cut_to_8_bit(near)
    focus = scene.focus
    if focus is None:
        focus = choose_focus(near, "mask", mask=mask, released=released)
    return photo, near, focus, scene.k


@torch.inference_mode()
def take(method: Method, shot: tuple[Tensor, Tensor, float, float], path: Path) -> float:
    """Write a method's picture; returns the seconds of the method alone."""
    start = time.perf_counter()
    picture = method(*shot).cpu()  # the copy waits for the device
    seconds = time.perf_counter() - start
    files.write_photo(path, picture)
    return seconds


@torch.inference_mode()
def produce(
    method: Method, scenes: Sequence[Scene], maps: Mapping[str, Path], folder: Path, released: bool
) -> dict[str, float]:
    """Write the method's pictures as folder/NAME.png; returns the seconds of each.

    maps: disparity, by stem. released: as for `read_shot`.
    The time is that of the method alone: disparity is at hand, and reading and writing files does not count.
    """
    folder.mkdir(parents=True)
    seconds: dict[str, float] = {}
    for scene in tqdm(scenes, desc=folder.name, unit="picture"):
        shot = read_shot(scene, maps[scene.name], released)
        if not seconds:
            method(*shot).cpu()  # warm-up
        seconds[scene.name] = take(method, shot, folder / f"{scene.name}.png")
    return seconds


def score(path: Path, scene: Scene, learned: Learned) -> Scores:
    """All metrics of one picture but FID and time."""
    picture, truth = files.read_photo(path)[0], files.read_photo(scene.truth)[0]
    sharp = files.read_map(scene.mask) > 0.5
    return {
        "PSNR RGB": psnr(picture, truth),
        "PSNR Y": psnr(luma(picture), luma(truth)),
        "SSIM RGB": ssim(picture, truth),
        "SSIM Y": ssim(luma(picture), luma(truth)),
        "in-focus PSNR": psnr(picture, truth, sharp),
        "out-of-focus PSNR": psnr(picture, truth, ~sharp),
        **learned.score(picture, truth),
    }


def evaluate(
    scenes: Sequence[Scene],
    output: Path,
    runs: Mapping[str, Method | Mapping[str, Path]],
    maps: Mapping[str, Path] | Callable[[Tensor], Tensor],
    plain_depth: Callable[[Tensor], Tensor] | None,
    preset: str,
    device: torch.device,
    sheet_rows: int,
) -> str:
    """Run and score methods, and write pictures, table.md, table.csv, pictures.csv and sheet.png to the new folder `output`.

    runs: by name, a method that makes the pictures or finished pictures by stem; "other-depth" gets its disparity from
    plain_depth, and its focus from the mask. maps: disparity by stem, or what finds it in a photo.
    Returns the table. The folder comes into being whole or not at all.
    """
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as place:
        work = Path(place) / output.name
        work.mkdir()
        if callable(maps):
            maps = estimate_disparity(scenes, maps, work / "disparity")
        pictures: dict[str, Mapping[str, Path]] = {}
        seconds: dict[str, dict[str, float]] = {}
        for name, run in runs.items():
            if not callable(run):
                pictures[name] = run
                continue
            made, used, seen = work / "pictures" / name, maps, scenes
            if name == "other-depth" and plain_depth is not None:
                used = estimate_disparity(scenes, plain_depth, work / "plain_disparity")
                seen = [replace(scene, focus=None) for scene in scenes]
            seconds[name] = produce(run, seen, used, made, preset == "reference")
            pictures[name] = {scene.name: made / f"{scene.name}.png" for scene in scenes}
        timing = (
            f"seconds: median per picture of what ran here (device {device.type}, preset {preset}), after one warm-up, "
            "without depth estimation and files."
        )
        text = tabulate(scenes, work, pictures, seconds, timing, device, sheet_rows)
        work.rename(output)
    return text


def tabulate(
    scenes: Sequence[Scene],
    work: Path,
    pictures: Mapping[str, Mapping[str, Path]],
    seconds: Mapping[str, Mapping[str, float]],
    timing: str,
    device: torch.device,
    sheet_rows: int,
) -> str:
    """Score pictures, by method and stem, and write the tables and the sheet into `work`. timing: what the seconds are. Returns the table."""
    learned = Learned(device)
    scores: dict[str, dict[str, Scores]] = {}
    means: dict[str, Scores] = {}
    for name, found in pictures.items():
        rows = {scene.name: score(found[scene.name], scene, learned) for scene in tqdm(scenes, desc=f"score {name}")}
        for stem, value in seconds.get(name, {}).items():
            rows[stem]["seconds"] = value
        scores[name] = rows
        means[name] = average(list(rows.values()))
        fid = learned.fid(next(iter(found.values())).parent, scenes[0].truth.parent)
        if fid is not None:
            means[name]["FID"] = float(fid)
    # A metric that failed once has no comparable mean.
    for some in (*means.values(), *(row for rows in scores.values() for row in rows.values())):
        for column in learned.absent:
            some.pop(column, None)
    notes = [
        f"{len(scenes)} pictures. PSNR in dB for a peak of 1; Y of BT.601; in-focus and out-of-focus PSNR by mask/, in RGB.",
        timing,
        *learned.notes(len(scenes)),
    ]
    text = table(means, notes)
    draw_sheet(work / "sheet.png", scenes[:sheet_rows], pictures)
    (work / "table.md").write_text(text, encoding="utf-8")
    write_csv(work / "table.csv", ["method"], {(name,): row for name, row in means.items()})
    write_csv(
        work / "pictures.csv",
        ["method", "picture"],
        {(name, stem): row for name, rows in scores.items() for stem, row in rows.items()},
    )
    return text


def average(rows: Sequence[Scores]) -> Scores:
    """Mean over the pictures, of time the median."""
    return {
        column: (statistics.median if column == "seconds" else statistics.fmean)([row[column] for row in rows if column in row])
        for column in COLUMNS
        if any(column in row for row in rows)
    }


def table(means: Mapping[str, Scores], notes: Sequence[str]) -> str:
    """Markdown, methods down and metrics across, "-" for what was not measured."""
    header = ["method", *(f"{column} {better}" for column, (better, _) in COLUMNS.items())]
    lines = [header, ["---"] * len(header)]
    for name, row in means.items():
        cells = (f"{row[column]:.{digits}f}" if column in row else "-" for column, (_, digits) in COLUMNS.items())
        lines.append([METHODS.get(name, name), *cells])
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", "\n\n".join(notes), ""])


def write_csv(path: Path, keys: Sequence[str], rows: Mapping[tuple[str, ...], Scores]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*keys, *COLUMNS])
        for key, row in rows.items():
            writer.writerow([*key, *(f"{row[column]:.6g}" if column in row else "" for column in COLUMNS)])


def draw_sheet(path: Path, scenes: Sequence[Scene], pictures: Mapping[str, Mapping[str, Path]]) -> None:
    """The first pictures, methods and at last the ground truth side by side under their labels."""
    columns = [(METHODS.get(name, name), found) for name, found in pictures.items()]
    columns.append(("ground truth", {scene.name: scene.truth for scene in scenes}))
    sheet = Image.new("RGB", (len(columns) * THUMBNAIL, LABEL + len(scenes) * THUMBNAIL), "white")
    draw = ImageDraw.Draw(sheet)
    for x, (label, found) in enumerate(columns):
        draw.text((x * THUMBNAIL + 4, 2), label, "black", ImageFont.load_default(14))
        for y, scene in enumerate(scenes):
            with Image.open(found[scene.name]) as picture:
                small = ImageOps.contain(picture.convert("RGB"), (THUMBNAIL - 4, THUMBNAIL - 4))
            sheet.paste(small, (x * THUMBNAIL + 2, LABEL + y * THUMBNAIL + 2))
    sheet.save(path)
