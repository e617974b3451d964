import click

from ..weights import checkpoint
from .options import EXISTING_FOLDER_TOO


@click.command()
@click.argument("file", type=EXISTING_FOLDER_TOO)
def inspect_command(file):
    """Say what a checkpoint holds, and what is wrong with it. Nothing in it is executed."""
    click.echo("\n".join(checkpoint.describe(file)))
