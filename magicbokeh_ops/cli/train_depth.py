import click

from .options import EXISTING, NEW_FOLDER


@click.command()
@click.argument("config", type=EXISTING)
@click.option("--output", "-o", type=NEW_FOLDER, required=True, help="Folder of the run.")
def train_depth_command(config, output):
    """Teach a depth model to cope with bad photos, as CONFIG (YAML) says; see docs/training.md. Goes on when started again."""
    from ..training.distill import distill, read_depth_settings

    click.echo(f"{distill(read_depth_settings(config), output)}")
