"""`accelerate launch -m magicbokeh_ops.training CONFIG -o DIR`, the same as `magicbokeh train`."""

from pathlib import Path

import click

from ..weights import checkpoint
from ..weights.parts import DTYPES

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("config", type=EXISTING)
@click.option("--output", "-o", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--adapter-like",
    type=EXISTING,
    help="The released lora.pkl: what is trained is then also written in its layout, as adapter.pkl.",
)
def train_command(config, output, adapter_like):
    """Train as CONFIG (YAML) says; see docs/training.md. A run that was stopped goes on when it is started again."""
    # Libraries that take seconds to import, which is too long for a list of commands.
    from accelerate import PartialState

    from .export import write_adapter
    from .settings import read_settings
    from .train import train
    from .trainee import build

    settings = read_settings(config)
    if adapter_like is not None and settings.base is None:
        raise click.UsageError("--adapter-like is for training on Stable Diffusion 2.1 as base.")
    try:
        model = train(settings, output, build)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; pip install {error.name}.") from None
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


if __name__ == "__main__":
    train_command()
