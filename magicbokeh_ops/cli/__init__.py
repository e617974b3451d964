"""The `magicbokeh` command: everything that needs no ComfyUI. Each command has a file here, which is imported when it is called."""

from importlib import import_module

import click

# Name to the command's place, and the extra of the package that brings what it needs.
COMMANDS = {
    "convert": ("cli.convert:convert_command", "model"),
    "demo": ("cli.demo:demo_command", "model"),
    "depth": ("cli.depth:depth_command", "model"),
    "evaluate": ("cli.evaluate:evaluate_command", "eval"),
    "evaluate-depth": ("cli.evaluate_depth:evaluate_depth_command", "model"),
    "inspect": ("cli.inspect:inspect_command", "model"),
    "lens": ("cli.lens:lens_command", "lens"),
    "render": ("cli.render:render_command", "model"),
    "synth": ("cli.synth:synth_command", "train"),
    "train": ("training.__main__:train_command", "train"),
    "train-depth": ("cli.train_depth:train_depth_command", "train"),
}


class Group(click.Group):
    """Commands whose bad input ends in one line and exit code 1, and whose missing packages are named."""

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, command = COMMANDS[name][0].split(":")
        try:
            return getattr(import_module(f"..{module}", __name__), command)
        except ModuleNotFoundError as error:
            return _stand_in(name, _not_installed(name, error))

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from None
        except ModuleNotFoundError as error:
            raise _not_installed(str(ctx.invoked_subcommand), error) from None


def _not_installed(name: str, error: ModuleNotFoundError) -> click.ClickException:
    if (error.name or "").startswith(f"{__package__}.") or not error.name:
        raise error
    return click.ClickException(f"{error}; pip install 'magicbokeh[{COMMANDS[name][1]}]'.")


def _stand_in(name: str, missing: click.ClickException) -> click.Command:
    """Is listed for a command whose packages are missing, and says so when it is called."""

    def say(_arguments: tuple[str, ...]) -> None:
        raise missing

    arguments = click.Argument(["_arguments"], nargs=-1, type=click.UNPROCESSED)
    return click.Command(
        name, {"ignore_unknown_options": True}, say, [arguments], short_help=missing.message, add_help_option=False
    )


# click lists and suggests what `commands` names; the commands themselves come from `get_command`.
@click.group(
    cls=Group, commands=dict.fromkeys(COMMANDS, click.Command(None)), context_settings={"help_option_names": ["-h", "--help"]}
)
def main():
    """Depth of field for photos, from their disparity."""
