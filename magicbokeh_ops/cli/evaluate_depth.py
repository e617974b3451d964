import click
import torch
from tqdm import tqdm

from .. import files
from ..evaluation.depth import abs_rel_delta1, rmse_delta1
from .inputs import compute_device, load_depth
from .options import EXISTING_FOLDER_TOO, FOLDER, device_option, input_size_option


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--model", type=EXISTING_FOLDER_TOO, required=True, help="As for `magicbokeh depth`.")
@input_size_option
@click.option(
    "--cap", type=float, default=10, show_default=True, help="Largest distance that counts: 10 for NYU, 80 for KITTI."
)
@device_option
def evaluate_depth_command(folder, model, input_size, cap, device):
    """Accuracy of a depth model on FOLDER with input/, and distance/ (.npy) or disparity/, as in the paper's supplement."""
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
