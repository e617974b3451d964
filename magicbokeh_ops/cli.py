"""The `magicbokeh` command: everything that needs no ComfyUI."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from . import checkpoint, defocus, depth, files, lens, sampler
from .aperture import Aperture
from .demo import NANO, NANO_LABEL, demo_photo, noisy_demo_photo
from .network import ControlNet, UNet
from .overlay import focus_overlay
from .refine import refine_edges

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER_TOO = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Group(click.Group):
    """Commands whose bad input ends in one line and exit code 1."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Depth of field for photos, from their disparity."""


class Bar:
    """A progress bar for callbacks that give (done, steps)."""

    def __init__(self, text: str):
        self.bar = tqdm(desc=text, unit="step")

    def __call__(self, done: int, steps: int) -> None:
        self.bar.total = steps
        self.bar.update(done - self.bar.n)
        if done == steps:
            self.bar.close()


class ModelFile(click.Path):
    """A merged file, or the word nano for the one that comes with the pack."""

    def convert(self, value, param, ctx):
        if value == "nano":
            click.echo(f"{NANO_LABEL}: a small model that shows what the full one does, not how well.", err=True)
            value = NANO
        return super().convert(value, param, ctx)


def point(_ctx, _param, value: str | None) -> tuple[float, float] | None:
    if value is None:
        return None
    try:
        x, y = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not two numbers like 0.5,0.6.") from None
    return x, y


def named_paths(_ctx, _param, values: tuple[str, ...]) -> dict[str, Path]:
    pairs = {}
    for value in values:
        name, _, path = value.partition("=")
        if not re.fullmatch(r"[\w .+-]*\w", name) or not Path(path).exists():
            raise click.BadParameter(f"{value!r} is not NAME=PATH of something that exists.")
        pairs[name] = Path(path)
    return pairs


def find_focus(
    disparity: Tensor,
    value: float | None,
    at: tuple[float, float] | None,
    mask: Path | None,
    from_mask: Callable[[Tensor, Tensor], float] = defocus.focus_from_mask,
) -> float:
    if value is not None and at is None and mask is None:
        return value
    if at is not None and value is None and mask is None:
        return defocus.focus_from_point(disparity, *at)
    if mask is not None and value is None and at is None:
        return from_mask(disparity, files.read_map(mask))
    raise click.UsageError("Say where the focus lies with one of --focus, --focus-point and --focus-mask.")


def read_disparity(path: Path, convention: str, normalize: str, size: Sequence[int]) -> Tensor:
    """What `defocus.normalize` makes of the depth map of a photo of `size` (height, width)."""
    near = defocus.normalize(defocus.to_disparity(files.read_map(path), convention), normalize)
    defocus.check_same_shape(near, size, "disparity")
    return near


def compute_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros((), device=name).device
    except (RuntimeError, AssertionError):
        raise click.UsageError(f"There is no device {name!r} here.") from None


def options(*some):
    """Several options as one decorator, in the order in which help shall list them."""

    def decorate(command):
        for option in reversed(some):
            command = option(command)
        return command

    return decorate


DEPTH_MAP = (
    "Depth map, white = nearest unless --convention says otherwise: picture, EXR, PFM, TIFF or .npy, of the photo's shape."
)
k_option = click.option(
    "--k", type=click.FloatRange(0), default=24, show_default=True, help="Blur radius in pixels from nearest to farthest."
)
scene_options = options(
    click.option("--focus", type=click.FloatRange(0, 1), help="Disparity in focus."),
    click.option("--focus-point", callback=point, metavar="X,Y", help="Focus on what lies here, 0..1 from left and top."),
    click.option("--focus-mask", type=EXISTING, help="Focus on the median disparity under this mask."),
    k_option,
    click.option(
        "--convention",
        type=click.Choice(list(defocus.CONVENTIONS.values())),
        default="disparity",
        show_default=True,
        help="What the map's values mean.",
    ),
)
NORMALIZE = click.Choice(["none", "minmax", "percentile"])
input_size_option = click.option(
    "--input-size",
    type=click.IntRange(14, 4096),
    default=depth.INPUT_SIZE,
    show_default=True,
    help="Shorter side that the depth model sees; more shows finer detail and takes more memory.",
)
depth_options = options(
    input_size_option,
    click.option(
        "--refine",
        type=click.IntRange(0, 64),
        default=0,
        show_default=True,
        help="Move soft edges to where the photo has them: half their width in pixels of the photo. 0: off.",
    ),
)
device_option = click.option("--device", help="cpu, cuda, mps ...; the GPU if there is one.")
output_option = click.option("--output", "-o", type=OUTPUT, required=True, help="Picture, or .npy for exact floats.")
weights_options = options(
    click.option("--base", type=EXISTING_FOLDER_TOO, help="Stable Diffusion 2.1-base: a diffusers folder or a single file."),
    click.option("--adapter", type=EXISTING, help="The released MagicBokeh weights (lora.pkl), which go with --base."),
)
model_options = options(
    weights_options,
    click.option(
        "--model",
        type=ModelFile(exists=True, dir_okay=False, path_type=Path),
        help="A merged file, made by `magicbokeh convert` or ComfyUI, instead of the two; or nano, the demonstration that comes along.",
    ),
    click.option(
        "--preset",
        type=click.Choice(sampler.PRESETS),
        default="fast",
        show_default=True,
        help="reference: the released procedure to the digit, with its 8-bit disparity, up to three times the work.",
    ),
)
dtype_option = click.option("--dtype", type=click.Choice(list(DTYPES)), help="[default: fp32 on the CPU, fp16 on a GPU]")


def read_weights(base: Path | None, adapter: Path | None, model: Path | None, dtype: torch.dtype) -> checkpoint.Weights:
    if model is not None and base is None and adapter is None:
        return checkpoint.load(model)
    if model is None and base is not None and adapter is not None:
        return checkpoint.merge(checkpoint.read_base(base, mapped=True), checkpoint.read_adapter(adapter, mapped=True), dtype)
    raise click.UsageError("Give either --base and --adapter, or --model.")


def load_renderer(weights: checkpoint.Weights, device: torch.device, dtype: torch.dtype) -> Callable:
    """`sampler.render` with these weights in place."""
    from .codec import make_codec

    weights = checkpoint.fold_time(weights)
    with torch.device("meta"):  # or they would be started at random first
        networks = UNet(weights.config), ControlNet(weights.config)
    for network, tensors in zip(networks, (weights.unet, weights.controlnet)):
        network.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, assign=True)
        network.eval()
    codec = make_codec(weights.vae, device, dtype)
    return partial(sampler.render, codec, partial(sampler.predict, *networks, device=device, dtype=dtype))


def compute_dtype(name: str | None, device: torch.device) -> torch.dtype:
    return DTYPES[name or ("fp32" if device.type == "cpu" else "fp16")]


def load_depth(model: Path, input_size: int, device: torch.device, refine: int = 0) -> Callable[[Tensor], Tensor]:
    tensors, config = depth.read_depth(model)
    network = depth.build(tensors, config, model.name).to(device)

    def find(photo: Tensor) -> Tensor:
        near = depth.disparity(network, photo, input_size)
        return refine_edges(photo, near, refine, Bar("refine"), device) if refine else near

    return find


@main.command("depth")
@click.argument("photo", type=EXISTING)
@click.option(
    "--model",
    type=EXISTING_FOLDER_TOO,
    required=True,
    help="Depth Anything V2 or DAdepth.pth: a .pth or .safetensors file, or a transformers folder.",
)
@depth_options
@device_option
@click.option("--output", "-o", type=OUTPUT, required=True, help=".npy for floats, or a 16-bit .png or .tif.")
def depth_command(photo, model, input_size, refine, device, output):
    """Disparity of PHOTO, 1 = nearest, by a depth model."""
    device = compute_device(device)
    files.check_map_output(output)
    rgb = files.read_photo(photo)[0]
    with torch.inference_mode():
        near = load_depth(model, input_size, device, refine)(rgb)
    files.write_map(output, near)
    click.echo(f"{output}: {near.shape[-1]} x {near.shape[-2]}")


@main.command("render")
@click.argument("photo", type=EXISTING)
@click.option("--disparity", "-d", type=EXISTING, help=DEPTH_MAP)
@click.option("--depth-model", type=EXISTING_FOLDER_TOO, help="Or the model that finds it, as for `magicbokeh depth`.")
@depth_options
@scene_options
@click.option(
    "--normalize",
    type=NORMALIZE,
    help="How disparity is stretched to 0..1. [default: percentile; none for the reference preset]",
)
@model_options
@click.option("--upscale", type=click.FloatRange(1, sampler.UPSCALE_LIMIT), default=1, show_default=True)
@click.option(
    "--color-fix",
    type=click.Choice(list(sampler.COLOR_FIXES)),
    default="adain",
    show_default=True,
    help="How the colours of the input are kept. nano and its like keep them by themselves: adain does nothing there.",
)
@click.option("--seed", type=int, help="Sample the VAE's posterior; its mean is taken otherwise.")
@click.option(
    "--noise",
    type=EXISTING,
    help="Recorded noise of the posterior instead, .npy of (tiles, 4, 64, 64) in the released order, for --preset reference.",
)
@dtype_option
@device_option
@output_option
def render_command(
    photo, disparity, depth_model, input_size, refine, focus, focus_point, focus_mask, k, convention, normalize, base, adapter, model, preset,
    upscale, color_fix, seed, noise, dtype, device, output,
):  # fmt: skip
    """Restore PHOTO and give it bokeh, by the MagicBokeh model. With --k 0 it is only restored."""
    device = compute_device(device)
    dtype = compute_dtype(dtype, device)
    files.check_output(output)
    rgb, alpha = files.read_photo(photo)
    released = preset == "reference"
    normalize = normalize or ("none" if released else "percentile")
    if (disparity is None) == (depth_model is None):
        raise click.UsageError("Give either --disparity or --depth-model.")
    if depth_model is not None:
        with torch.inference_mode():
            near = defocus.normalize(load_depth(depth_model, input_size, device, refine)(rgb), normalize)
    else:
        near = read_disparity(disparity, convention, normalize, rgb.shape[-2:])
    if released:
        near = defocus.cut_to_8_bit(near)
    from_mask = defocus.released_focus if released else defocus.focus_from_mask
    focus = find_focus(near, focus, focus_point, focus_mask, from_mask)
    noise = None if noise is None else files.read_array(noise)
    render = load_renderer(read_weights(base, adapter, model, dtype), device, dtype)
    blur = defocus.defocus_map(near, focus, k)
    with torch.inference_mode():
        result, _ = render(
            rgb,
            blur,
            defocus.focus_mask(blur),
            preset=preset,
            upscale=upscale,
            color_fix=color_fix,
            seed=seed,
            noise=noise,
            progress=Bar("render"),
        )
    if alpha is not None:
        alpha = defocus.resize(alpha, result.shape[-2:])
    files.write_photo(output, result, alpha)
    click.echo(f"{output}: focus {focus:.4f}, K {k:g}")


@main.command("convert")
@weights_options
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="fp32", show_default=True, help="fp16 halves the file.")
@click.option("--output", "-o", type=OUTPUT, required=True, help="A .safetensors file.")
def convert_command(base, adapter, dtype, output):
    """Merge the released weights and Stable Diffusion 2.1-base into one safe file that loads fast."""
    if output.suffix.lower() not in checkpoint.SAFE:
        raise click.UsageError(f"{output} does not end in .safetensors.")
    weights = read_weights(base, adapter, None, DTYPES[dtype])
    checkpoint.save(weights, output)
    click.echo("\n".join([f"{output}:", *checkpoint.describe(output)]))


@main.command("inspect")
@click.argument("file", type=EXISTING_FOLDER_TOO)
def inspect_command(file):
    """Say what a checkpoint holds, and what is wrong with it. Nothing in it is executed."""
    click.echo("\n".join(checkpoint.describe(file)))


@main.command("lens")
@click.argument("photo", type=EXISTING)
@click.option("--disparity", "-d", type=EXISTING, required=True, help=DEPTH_MAP)
@scene_options
@click.option("--normalize", type=NORMALIZE, default="percentile", show_default=True)
@click.option("--blades", type=int, default=0, help="Blades of the iris; 0 = round.")
@click.option("--rotation", type=float, default=0, help="Turn of the iris in degrees.")
@click.option("--roundness", type=float, default=0, help="0 = straight blades, 1 = circle.")
@click.option("--squeeze", type=float, default=1, help="Anamorphic squeeze, 1 or more.")
@click.option("--cat-eye", type=float, default=0, help="Cut of the discs in the corners, 0..1.")
@click.option("--highlight-boost", type=click.FloatRange(0), default=0, help="Stops of light given back to blurred highlights.")
@click.option("--near-scale", type=click.FloatRange(0), default=1, help="Factor on the blur in front of the focus.")
@click.option("--far-scale", type=click.FloatRange(0), default=1, help="Factor on the blur behind the focus.")
@device_option
@output_option
def lens_command(
    photo, disparity, focus, focus_point, focus_mask, k, convention, normalize, blades, rotation, roundness, squeeze, cat_eye,
    highlight_boost, near_scale, far_scale, device, output,
):  # fmt: skip
    """Photograph PHOTO through a fast lens, by optics alone."""
    device = compute_device(device)
    files.check_output(output)
    rgb, alpha = files.read_photo(photo)
    near = read_disparity(disparity, convention, normalize, rgb.shape[-2:])
    focus = find_focus(near, focus, focus_point, focus_mask)
    result = lens.render(
        rgb,
        near,
        focus,
        k,
        aperture=Aperture(blades, rotation, roundness, squeeze, cat_eye),
        highlight_boost=highlight_boost,
        near_scale=near_scale,
        far_scale=far_scale,
        progress=Bar("lens"),
        alpha=alpha,
        device=device,
    )
    files.write_photo(output, result[:, :3], None if alpha is None else result[:, 3:])
    click.echo(f"{output}: focus {focus:.4f}, K {k:g}")


@main.command("demo")
@click.option(
    "--output", "-o", type=click.Path(file_okay=False, path_type=Path), default="demo_output", show_default=True, help="Folder."
)
def demo_command(output):
    """Render the bundled photo in a few ways and write the pictures with a side-by-side sheet."""
    output.mkdir(parents=True, exist_ok=True)
    photo, disparity = demo_photo()
    face, helmet, shuttle = (0.42, 0.19), (0.74, 0.83), (0.80, 0.30)
    focus = defocus.focus_from_point(disparity, *face)
    pictures = {
        "input": photo,
        "focus_map": focus_overlay(photo, disparity, focus, 24, face),
        "face_k12": lens.render(photo, disparity, focus, 12, progress=Bar("face, K 12")),
        "face_k32": lens.render(photo, disparity, focus, 32, progress=Bar("face, K 32")),
    }
    for name, at in (("helmet", helmet), ("shuttle", shuttle)):
        focus = defocus.focus_from_point(disparity, *at)
        pictures[f"{name}_k24"] = lens.render(photo, disparity, focus, 24, progress=Bar(f"{name}, K 24"))
    noisy = noisy_demo_photo()
    focus = defocus.focus_from_point(disparity, *face)
    blur = defocus.defocus_map(disparity, focus, 24)
    nano = load_renderer(checkpoint.load(NANO), torch.device("cpu"), torch.float32)
    progress = Bar(f"{NANO_LABEL}, K 24")
    pictures["noisy"] = noisy
    pictures["noisy_lens_k24"] = lens.render(noisy, disparity, focus, 24)
    pictures["noisy_nano_k24"], _ = nano(noisy, blur, defocus.focus_mask(blur), progress=progress)
    for name, picture in pictures.items():
        files.write_photo(output / f"{name}.png", picture)
    rows = [torch.cat([F.pad(p, (4, 4, 4, 4), value=1) for p in list(pictures.values())[i : i + 3]], -1) for i in (0, 3, 6)]
    sheet = output / "sheet.jpg"
    files.write_photo(sheet, torch.cat(rows, -2))
    click.echo(f"{len(pictures)} pictures, and all of them side by side in {sheet.resolve()}: {', '.join(pictures)}.")


@main.command("evaluate")
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
    help="Some of input, lens, two-stage, no-mask, other-depth and ours, with commas. [default: all for which there are weights]",
)
@click.option("--sheet", type=click.IntRange(1), default=4, show_default=True, help="Pictures in sheet.png.")
@dtype_option
@device_option
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="A new folder for tables and pictures.")
def evaluate_command(
    folder, depth_model, plain_depth_model, input_size, k, base, adapter, model, preset, also, outputs, methods, sheet, dtype, device,
    output,
):  # fmt: skip
    """Compare methods on FOLDER with input/, gt/, mask/ and disparity/, as in the paper's tables. See docs/evaluation.md."""
    try:
        from .evaluation import benchmark
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; pip install 'magicbokeh[eval]'.") from None

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
    unknown = [name for name in methods if name not in benchmark.METHODS]
    if unknown:
        raise click.UsageError(f"There is no method {unknown[0]!r}; choose among {', '.join(benchmark.METHODS)}.")
    if ("other-depth" in methods) != (plain_depth_model is not None):
        raise click.UsageError("Method other-depth and --plain-depth-model go together.")
    taken = [name for name in (*also, *outputs) if name in benchmark.METHODS or (name in also and name in outputs)]
    if taken:
        raise click.UsageError(f"The name {taken[0]} is given twice or that of a method; choose another.")

    scenes = benchmark.find_scenes(folder, k)
    finished = {name: benchmark.find_outputs(path, scenes) for name, path in outputs.items()}
    maps = None
    if depth_model is None and (also or methods != ["input"]):
        maps = benchmark.find_disparity(folder / "disparity", scenes)

    def renderer(weights):
        return load_renderer(weights, device, dtype)

    def estimator(model):
        estimate = load_depth(model, input_size, device)
        return lambda photo: defocus.normalize(estimate(photo), "none" if preset == "reference" else "percentile")

    needed = any(name not in benchmark.WITHOUT_MODEL for name in methods)
    ours = renderer(read_weights(base, adapter, model, dtype)) if needed else None
    runs = {"input": {scene.name: scene.photo for scene in scenes}} if "input" in methods else {}
    runs |= finished
    runs |= {name: benchmark.find_method(name, ours, preset, device) for name in methods if name != "input"}
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


@main.command("evaluate-depth")
@click.argument("folder", type=FOLDER)
@click.option("--model", type=EXISTING_FOLDER_TOO, required=True, help="As for `magicbokeh depth`.")
@input_size_option
@click.option(
    "--cap", type=float, default=10, show_default=True, help="Largest distance that counts: 10 for NYU, 80 for KITTI."
)
@device_option
def evaluate_depth_command(folder, model, input_size, cap, device):
    """Accuracy of a depth model on FOLDER with input/, and distance/ (.npy) or disparity/, as in the paper's supplement."""
    from .evaluation.depth import abs_rel_delta1, rmse_delta1

    device = compute_device(device)
    photos = files.list_files(folder / "input", files.PHOTOS)
    measured = (folder / "distance").is_dir()
    # Integers have no unit.
    truths = (
        files.pair(folder / "distance", photos, (".npy", ".exr", ".pfm"))
        if measured
        else files.pair(folder / "disparity", photos, files.MAPS)
    )
    estimate = load_depth(model, input_size, device)
    scores = []
    for name, photo in tqdm(photos.items(), desc="depth", unit="picture"):
        with torch.inference_mode():
            found = estimate(files.read_photo(photo)[0])
        truth = files.read_map(truths[name])
        try:
            scores.append(abs_rel_delta1(found, truth, cap) if measured else rmse_delta1(found, truth))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    first, delta1 = (sum(column) / len(scores) for column in zip(*scores))
    what = f"AbsRel of distance up to {cap:g}" if measured else "RMSE of relative disparity"
    click.echo(f"{what}: {first:.4f}, delta_1: {delta1:.4f}, {len(scores)} pictures")


@main.command("synth")
@click.option(
    "--preview", type=OUTPUT, help="Write a contact sheet: low quality, sharp, disparity, defocus, focus mask, bokeh."
)
@click.option("--output", "-o", type=click.Path(file_okay=False, path_type=Path), help="Write an evaluation folder.")
@click.option("--count", type=click.IntRange(1), default=8, show_default=True, help="Samples.")
@click.option("--size", type=click.IntRange(96), default=256, show_default=True, help="Side in pixels.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--ray-traced", is_flag=True, help="Ground truth by tracing rays, about a minute per sample.")
@click.option("--images", type=FOLDER, help="Your photos, with --cutouts; made up otherwise.")
@click.option("--cutouts", type=FOLDER, help="Your cut-outs: pictures with an alpha channel.")
@click.option("--k-limit", type=click.FloatRange(0, min_open=True), default=32, show_default=True, help="Largest blur radius.")
@click.option("--scale", type=click.FloatRange(1, 8), default=4, show_default=True, help="How much smaller low quality is.")
@click.option(
    "--strength", type=click.Choice(["full", "mild", "light"]), default="full", show_default=True, help="Of the degradation."
)
def synth_command(preview, output, count, size, seed, ray_traced, images, cutouts, k_limit, scale, strength):
    """Make scenes whose true bokeh is known: what training uses, to look at or to evaluate on."""
    from .synthesis import dataset, sources
    from .synthesis.degradation import Degradation

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


@main.command("train")
@click.argument("config", type=EXISTING)
@click.option("--output", "-o", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--adapter-like",
    type=EXISTING,
    help="The released lora.pkl: what is trained is then also written in its layout, as adapter.pkl.",
)
def train_command(config, output, adapter_like):
    """Train as CONFIG (YAML) says; see docs/training.md. A run that was stopped goes on when it is started again."""
    from accelerate import PartialState

    from .training.export import write_adapter
    from .training.settings import read_settings
    from .training.train import train
    from .training.trainee import build

    settings = read_settings(config)
    if adapter_like is not None and settings.base is None:
        raise click.UsageError("--adapter-like is for training on Stable Diffusion 2.1 as base.")
    model = train(settings, output, build)
    if not PartialState().is_main_process:
        return
    if adapter_like is not None:
        write_adapter(model, settings, adapter_like, output / "adapter.pkl")
    weights = model.weights({"trained": config.name})
    for part in (weights.unet, weights.controlnet, weights.vae):
        for key, value in part.items():
            part[key] = value.to(DTYPES[settings.saved])
    checkpoint.save(weights, output / "model.safetensors")
    click.echo(f"{output / 'model.safetensors'}")


@main.command("train-depth")
@click.argument("config", type=EXISTING)
@click.option("--output", "-o", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run.")
def train_depth_command(config, output):
    """Teach a depth model to cope with bad photos, as CONFIG (YAML) says; see docs/training.md. Goes on when started again."""
    from .training.distill import distill, read_depth_settings

    click.echo(f"{distill(read_depth_settings(config), output)}")
