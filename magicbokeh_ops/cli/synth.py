import itertools
import json
import math
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from .. import files
from ..color import linear_to_srgb
from ..keys import check_frames, focus_of, k_of, read_keys
from .inputs import Bar
from .options import FOLDER, NEW_FOLDER, OUTPUT


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
    "--strength", type=click.Choice(["full", "mild", "light"]), default="full", show_default=True, help="Of the degradation."
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
def synth_command(preview, output, count, size, seed, ray_traced, images, cutouts, k_limit, scale, strength, clip, keys):
    """Make scenes whose true bokeh is known: what training uses, to look at or to evaluate on."""
    if keys is not None and clip is None:
        raise click.UsageError("--keys are those of a clip; give --clip too.")
    if clip is not None:
        if output is None or preview is not None or images is not None or cutouts is not None:
            raise click.UsageError(
                "--clip writes drawn clips to --output; it goes with --count, --size, --seed, --k-limit and --keys."
            )
        _write_clips(output, clip, count, size, seed, k_limit, keys)
        return
    from ..synthesis import dataset, sources
    from ..synthesis.degradation import Degradation

    if preview is None and output is None:
        raise click.UsageError("Say what to write: --preview, --output or both.")
    if (images is None) != (cutouts is None):
        raise click.UsageError("--images and --cutouts go together.")
    if preview is not None:
        files.check_output(preview)
    pool = max(16, min(4 * count, 256))
    source = (
        sources.Procedural.build(seed, pool, progress=Bar("pictures")) if images is None else sources.Folders(images, cutouts)
    )
    batches = dataset.Batches(source, size, 1, seed, k_limit, Degradation(scale, strength), ray_traced=ray_traced)
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
            photos = {"input": sample.lq, "gt": sample.bokeh, "sharp": sample.sharp}
            maps = {"disparity": sample.disparity, "mask": sample.focus_mask}
            for folder in (*photos, *maps):
                (output / folder).mkdir(parents=True, exist_ok=True)
            for folder, planes in photos.items():
                files.write_photo(output / folder / f"{name}.png", planes)
            for folder, planes in maps.items():
                files.write_map(output / folder / f"{name}.png", planes)
            settings[name] = {"k": float(sample.k), "focus": float(sample.focus)}
    if output is not None and len(settings) < count:
        raise ValueError(f"{output} has {len(settings)} samples; in most all is in focus, so raise --k-limit.")
    if preview is not None:
        files.write_photo(preview, torch.cat(rows, -2))
        click.echo(f"{preview}: {count} samples")
    if output is not None:
        (output / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        click.echo(f"{output}: {count} samples")


def _write_clips(output: Path, frames: int, count: int, size: int, seed: int, k_limit: float, text: str | None) -> None:
    """Folders of `count` clips with a file for each frame in photo, bokeh, disparity, flow, hidden, and mask_1, mask_2 of the subjects."""
    from ..synthesis.moving import crossing

    keys = [] if text is None else read_keys(text)
    for number in range(count):
        margin = math.ceil(max(k_limit, *(key.k or 0 for key in keys), 0))
        clip, folder = crossing(size, frames, seed + number, margin), output / f"{number:04}"
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
        (folder / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    click.echo(f"{output}: {count} clip{'s' * (count > 1)} of {frames} frames")
