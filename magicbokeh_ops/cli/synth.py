import itertools
import json

import click
import torch
import torch.nn.functional as F
from tqdm import tqdm

from .. import files
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
def synth_command(preview, output, count, size, seed, ray_traced, images, cutouts, k_limit, scale, strength):
    """Make scenes whose true bokeh is known: what training uses, to look at or to evaluate on."""
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
