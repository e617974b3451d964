from pathlib import Path

import click

from .. import defocus
from ..renderer import load_renderer
from ..weights import checkpoint
from .inputs import compute_device, load_depth
from .models import compute_dtype, dtype_option, model_options, read_weights
from .options import EXISTING_FOLDER_TOO, FOLDER, device_option, input_size_option, k_option, many_options, named_paths


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--depth-model", type=EXISTING_FOLDER_TOO, help="Finds the disparity in the inputs, instead of disparity/.")
@click.option("--plain-depth-model", type=EXISTING_FOLDER_TOO, help="Another one, for the method other-depth.")
@input_size_option
@k_option
@model_options
@click.option(
    "--also", multiple=True, callback=named_paths, metavar="NAME=FILE", help="Another merged file, as a row; repeatable."
)
@click.option(
    "--outputs",
    multiple=True,
    callback=named_paths,
    metavar="NAME=DIR",
    help="Finished pictures of another method; repeatable.",
)
@click.option(
    "--methods",
    help="Some of input, lens, two-stage, no-mask, other-depth, ours and upscale:FILE+lens, with commas. FILE: any upscaler that "
    "spandrel opens. [default: all for which there are weights, but upscale]",
)
@click.option("--sheet", type=click.IntRange(1), default=4, show_default=True, help="Pictures in sheet.png.")
@dtype_option
@device_option
@many_options("Make the pictures of the methods")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="A new folder for tables and pictures.")
def evaluate_command(
    folder, depth_model, plain_depth_model, input_size, k, base, adapter, model, preset, also, outputs, methods, sheet, dtype, device,
    workers, ray, output,
):  # fmt: skip
    """Compare methods on FOLDER with input/, gt/, mask/ and disparity/, as in the paper's tables. See docs/evaluation.md."""
    from ..evaluation import benchmark

    device = compute_device(device)
    dtype = compute_dtype(dtype, device)
    if output.exists() or not output.parent.is_dir():
        raise click.UsageError(f"{output} can't be made: give a new folder in one that exists.")
    has_weights = any((base, adapter, model))
    if methods is None:
        kept = {"other-depth": plain_depth_model, "input": True, "lens": True}
        methods = [name for name in benchmark.METHODS if kept.get(name, has_weights)]
    else:
        methods = [name.strip() for name in methods.split(",")]
    upscalers = {name: Path(found[1]) for name in methods if (found := benchmark.UPSCALE.fullmatch(name))}
    unknown = [name for name in methods if name not in benchmark.METHODS and name not in upscalers]
    if unknown:
        known = ", ".join([*benchmark.METHODS, "upscale:FILE+lens"])
        raise click.UsageError(f"There is no method {unknown[0]!r}; choose among {known}.")
    absent = [path for path in upscalers.values() if not path.is_file()]
    if absent:
        raise click.UsageError(f"There is no upscaler {absent[0]}; give a file in upscale:FILE+lens.")
    if ("other-depth" in methods) != (plain_depth_model is not None):
        raise click.UsageError("Method other-depth and --plain-depth-model go together.")
    rows = [f"{upscalers[name].name}, then lens" if name in upscalers else name for name in methods]
    methods = [f"upscale:{upscalers[name].absolute()}+lens" if name in upscalers else name for name in methods]
    names = [*rows, *also, *outputs]
    taken = [name for name in names if names.count(name) > 1 or (name in benchmark.METHODS and name not in methods)]
    if taken:
        raise click.UsageError(f"The name {taken[0]} is given twice or that of a method; choose another.")

    scenes = benchmark.find_scenes(folder, k)
    finished = {name: benchmark.find_outputs(path, scenes) for name, path in outputs.items()}
    maps = None
    if depth_model is None and (also or methods != ["input"]):
        maps = benchmark.find_disparity(folder / "disparity", scenes)

    existing = {"input": {scene.name: scene.photo for scene in scenes}} if "input" in methods else {}
    existing |= finished
    if workers is not None or ray is not None:
        from .evaluate_many import evaluate_many

        click.echo(f"{evaluate_many(scenes, dict(zip(rows, methods, strict=True)), existing, maps)}\n{output.resolve()}")
        return

    def renderer(weights):
        return load_renderer(weights, device, dtype)

    def estimator(model):
        estimate = load_depth(model, input_size, device)
        return lambda photo: defocus.normalize(estimate(photo), "none" if preset == "reference" else "percentile")

    ours = renderer(read_weights(base, adapter, model, dtype)) if any(map(benchmark.needs_model, methods)) else None
    runs = dict(existing)
    for row, name in zip(rows, methods, strict=True):
        if name != "input":
            runs[row] = benchmark.find_method(name, ours, preset, device)
    runs |= {name: benchmark.find_method(name, renderer(checkpoint.load(path)), preset, device) for name, path in also.items()}
    text = benchmark.evaluate(
        scenes,
        output,
        runs,
        maps if depth_model is None else estimator(depth_model),
        None if plain_depth_model is None else estimator(plain_depth_model),
        preset,
        device,
        sheet,
    )
    click.echo(f"{text}\n{output.resolve()}")
