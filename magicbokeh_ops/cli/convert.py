import click

from ..weights import checkpoint
from ..weights.parts import DTYPES
from .models import read_weights, weights_options
from .options import OUTPUT


@click.command()
@weights_options
@click.option("--dtype", type=click.Choice(list(DTYPES)), default="fp32", show_default=True, help="fp16 halves the file.")
@click.option("--output", "-o", type=OUTPUT, required=True, help="A .safetensors file.")
def convert_command(base, adapter, dtype, output):
    """Merge the released weights and Stable Diffusion 2.1-base into one safe file that loads fast."""
    if output.suffix.lower() not in checkpoint.SAFE:
        raise click.UsageError(f"--output is {output}; its name should end in .safetensors.")
    weights = read_weights(base, adapter, None, DTYPES[dtype])
    checkpoint.save(weights, output)
    click.echo("\n".join([f"{output}:", *checkpoint.describe(output)]))
