import itertools
import json
import math
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from .. import files
from ..atomic import write_whole
from ..color import linear_to_srgb
from ..keys import check_frames, focus_of, k_of, read_keys
from . import many
from .inputs import Bar
from .options import FOLDER, NEW_FOLDER, OUTPUT, many_options

if TYPE_CHECKING:
    from ..synthesis.dataset import Batches, Sample

FEW = "{} has {} samples; in most all is in focus, so raise --k-limit."


@click.command()
@click.option(
    "--preview", type=OUTPUT, help="Write a contact sheet: low quality, sharp, disparity, defocus, focus mask, bokeh."
)
@click.option("--output", "-o", type=NEW_FOLDER, help="Write an evaluation folder.")
@click.option("--count", type=click.IntRange(1), default=8, show_default=True, help="Samples.")
@click.option("--size", type=click.IntRange(96), default=256, show_default=True, help="Side in pixels.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--ray-traced", is_flag=True, help="Ground truth by tracing rays, about a minute per sample.")
@click.option("--images", type=FOLDER, help="Your photos, with --cutouts; made up otherwise.")
@click.option("--cutouts", type=FOLDER, help="Your cut-outs: pictures with an alpha channel.")
@click.option(
    "--k-limit", type=click.FloatRange(0, 1000, min_open=True), default=32, show_default=True, help="Largest blur radius."
)
@click.option("--scale", type=click.FloatRange(1, 8), default=4, show_default=True, help="How much smaller low quality is.")
@click.option(
    "--strength",
    type=click.Choice(["full", "mild", "light", "camera"]),
    default="full",
    show_default=True,
    help="Of the degradation.",
)
@click.option(
    "--clip",
    type=click.IntRange(2),
    metavar="FRAMES",
    help="Clips of two subjects that cross instead, a folder each, ray traced, with flow, hidden pixels and masks.",
)
@click.option(
    "--keys", help="Focus and k of a clip, such as '0: 0.8 k 12, 23: 0.4 ease'; by default it follows the nearer subject."
)
@many_options("Make the samples of --output")
def synth_command(
    preview, output, count, size, seed, ray_traced, images, cutouts, k_limit, scale, strength, clip, keys, workers, ray
):
    """Make scenes whose true bokeh is known: what training uses, to look at or to evaluate on."""
    if keys is not None and clip is None:
        raise click.UsageError("--keys are those of a clip; give --clip too.")
    if clip is not None:
        if output is None or preview is not None or images is not None or cutouts is not None:
            raise click.UsageError(
                "--clip writes drawn clips to --output; it goes with --count, --size, --seed, --k-limit and --keys."
            )
        clips = {"frames": clip, "size": size, "seed": seed, "k_limit": k_limit, "text": keys}
        if workers is None and ray is None:
            for number in range(count):
                write_clip(output / f"{number:04}", number, **clips)
        else:
            many.go_on(output, clips)
            jobs = [
                many.Job(place.name, place / "settings.json", write_clip, {"folder": place, "number": number, **clips})
                for number, place in enumerate(output / f"{number:04}" for number in range(count))
            ]
            many.run(jobs, workers, ray, "cpu", "clips", "clip")
        click.echo(f"{output}: {count} clip{'s' * (count > 1)} of {clip} frames")
        return
    from ..synthesis import dataset, sources
    from ..synthesis.degradation import Degradation

    if preview is None and output is None:
        raise click.UsageError("Say what to write: --preview, --output or both.")
    if (images is None) != (cutouts is None):
        raise click.UsageError("--images and --cutouts go together.")
    if preview is not None:
        files.check_output(preview)
    is_for_many = workers is not None or ray is not None
    if is_for_many and (output is None or preview is not None):
        raise click.UsageError("--workers and --ray are for --output; make the --preview without them.")
    if is_for_many:
        given = click.get_current_context().params
        many.go_on(output, {name: value for name, value in given.items() if name not in ("output", "workers", "ray")})
    pool = max(16, min(4 * count, 256))
    source = (
        sources.Procedural.build(seed, pool, processes=workers or 1, progress=Bar("pictures"))
        if images is None
        else sources.Folders(images, cutouts)
    )
    batches = dataset.Batches(source, size, 1, seed, k_limit, Degradation(scale, strength), ray_traced=ray_traced)
    if is_for_many:
        _write_by_many(output, count, batches, workers, ray)
        return
    rows, settings = [], {}
    # Evaluation needs something in focus and something out of it; K is 0 in one of ten.
    samples = (batches.make(step) for step in range(10 * count))
    mixed = (sample for sample in samples if output is None or sample.focus_mask.unique().numel() == 2)
    for step, sample in enumerate(tqdm(itertools.islice(mixed, count), total=count, desc="scenes")):
        if preview is not None:
            planes = [sample.lq, sample.sharp, sample.disparity, sample.defocus, sample.focus_mask, sample.bokeh]
            rows.append(torch.cat([F.pad(p.clamp(max=1).expand(-1, 3, -1, -1), (4, 4, 4, 4), value=1) for p in planes], -1))
        if output is not None:
            name = f"{step:04}"
            _write_sample(output, name, sample)
            settings[name] = {"k": float(sample.k), "focus": float(sample.focus)}
    if output is not None and len(settings) < count:
        raise ValueError(FEW.format(output, len(settings)))
    if preview is not None:
        files.write_photo(preview, torch.cat(rows, -2))
        click.echo(f"{preview}: {count} samples")
    if output is not None:
        (output / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        click.echo(f"{output}: {count} samples")


def _write_sample(output: Path, name: str, sample: "Sample") -> None:
    photos = {"input": sample.lq, "gt": sample.bokeh, "sharp": sample.sharp}
    maps = {"disparity": sample.disparity, "mask": sample.focus_mask}
    for folder in (*photos, *maps):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for folder, planes in photos.items():
        files.write_photo(output / folder / f"{name}.png", planes)
    for folder, planes in maps.items():
        files.write_map(output / folder / f"{name}.png", planes)


def _write_by_many(output: Path, count: int, batches: "Batches", workers: int | None, ray: str | None) -> None:
    """The samples that one process alone would write, each by a job. Jobs read the batches' source from a file, once per process."""
    given = click.get_current_context().params
    settings: dict[str, dict[str, float]] = {}
    steps: list[int] = []
    for step in tqdm(range(10 * count), desc="drawn"):
        mask, k, focus = batches.outline(step)
        if mask.unique().numel() == 2:
            settings[f"{len(steps):04}"] = {"k": float(k), "focus": float(focus)}
            steps.append(step)
        if len(steps) == count:
            break
    if len(steps) < count:
        raise ValueError(FEW.format(output, len(steps)))
    # First, since without those of all samples a set that is not whole would be evaluated with the K of others.
    (output / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=output, prefix=".drawn-") as place:
        drawn = None
        if given["images"] is None:
            drawn = Path(place) / "pool.pt"
            torch.save(vars(batches.source), drawn)
        of_all = {
            name: given[name] for name in ("size", "seed", "ray_traced", "images", "cutouts", "k_limit", "scale", "strength")
        }
        jobs = []
        for name, step in zip(settings, steps):
            arguments = {"output": output, "name": name, "step": step, "drawn": drawn, **of_all}
            jobs.append(many.Job(name, output / "mask" / f"{name}.png", make_sample, arguments))  # the last one of its files
        many.run(jobs, workers, ray, "cpu", "scenes", "scene")
    click.echo(f"{output}: {count} samples")


def make_sample(output: Path, name: str, step: int, **of_all: Any) -> None:
    """Write batch number `step` as a sample. of_all: as `find_batches` takes them."""
    _write_sample(output, name, find_batches(**of_all).make(step))


@lru_cache(1)
def find_batches(
    drawn: Path | None,
    size: int,
    seed: int,
    ray_traced: bool,
    images: Path,
    cutouts: Path,
    k_limit: float,
    scale: float,
    strength: str,
) -> "Batches":
    """Batches of one. drawn: file of a pool of pictures, None for those of folders."""
    from ..synthesis import dataset, sources
    from ..synthesis.degradation import Degradation

    source = sources.Folders(images, cutouts) if drawn is None else sources.Procedural(**torch.load(drawn, weights_only=True))
    return dataset.Batches(source, size, 1, seed, k_limit, Degradation(scale, strength), ray_traced=ray_traced)


def write_clip(folder: Path, number: int, frames: int, size: int, seed: int, k_limit: float, text: str | None) -> None:
    """Clip number `number` as a folder with a file for each frame in photo, bokeh, disparity, flow, hidden, and mask_1, mask_2 of the subjects."""
    from ..synthesis.moving import crossing

    keys = [] if text is None else read_keys(text)
    margin = math.ceil(max(k_limit, *(key.k or 0 for key in keys), 0))
    clip = crossing(size, frames, seed + number, margin)
    paths = [clip.path(subject) for subject in range(2)]
    if keys:
        check_frames(keys, frames)
    focus = focus_of(keys, frames, clip.disparity_at) or paths[0]
    k = k_of(keys, frames) or [k_limit] * frames
    subjects = [
        {
            "disparity": paths[subject],
            "point": [clip.point(subject, i) for i in range(frames)],
            "box": [clip.box(subject, i) for i in range(frames)],
        }
        for subject in range(2)
    ]
    kinds = {
        "photo": "png",
        "bokeh": "png",
        "disparity": "png",
        "flow": "npy",
        "hidden": "png",
        "mask_1": "png",
        "mask_2": "png",
    }
    for kind in kinds:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for i in tqdm(range(frames), desc=folder.name):
        path = {kind: folder / kind / f"{i:04}.{suffix}" for kind, suffix in kinds.items()}
        light, disparity = clip.photo(i)
        files.write_photo(path["photo"], linear_to_srgb(light)[None].clamp(max=1))
        files.write_photo(path["bokeh"], linear_to_srgb(clip.bokeh(i, focus[i], k[i]))[None].clamp(max=1))
        files.write_map(path["disparity"], disparity[None])
        for subject, mask in enumerate(clip.masks(i), 1):
            files.write_map(path[f"mask_{subject}"], mask[None, None])
        if i + 1 < frames:
            flow, hidden = clip.flow(i)
            np.save(path["flow"], flow.movedim(0, -1).numpy())
            files.write_map(path["hidden"], hidden[None])
    settings = {"focus": focus, "k": k, "subjects": subjects}
    note = json.dumps(settings, indent=1) + "\n"
    # The last of its files, by which a whole clip is known.
    write_whole(folder / "settings.json", lambda unfinished: unfinished.write_text(note, encoding="utf-8"))
