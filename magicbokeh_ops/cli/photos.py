"""A command over a folder of photos, each on its own: the command runs again for each, as if it had been given that photo alone."""

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from .. import files
from ..pictures import HEIF
from ..video.sequences import PICTURES
from . import main, many

ALL = (*PICTURES, *HEIF)
UNWRITABLE = (".npz", *HEIF)  # their results are PNG
FOR_PARTNERS = {"disparity": files.MAPS, "focus_mask": ALL, "matte": ALL, "background": ALL}


def each_photo(refused: Sequence[str] = ()) -> None:
    """Run the command that is running now for each photo of its folder, into a folder, as `many.run` does.

    A folder given for one of `FOR_PARTNERS` has a file of each photo's name. refused: options that are of one photo.
    Raises UsageError and ValueError for what does not fit together, before any work is done.
    """
    context = click.get_current_context()
    given = dict(context.params)
    folder, output, workers, ray = given["photo"], given["output"], given.pop("workers"), given.pop("ray")
    if not folder.is_dir():
        raise click.UsageError(f"--workers and --ray are for a folder of photos, each on its own; {folder} is none.")
    for name in refused:
        if given[name] is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} is of one photo; leave it out for a folder of them.")
    if output.is_file():
        raise click.UsageError(f"{output} is a file; give a folder for the results of the photos in {folder}.")
    if output.resolve() == folder.resolve():
        raise click.UsageError(f"{output} holds the photos themselves; give another folder for their results.")
    photos = files.list_files(folder, ALL)
    partners = {
        name: files.pair(given[name], photos, suffixes, folder)
        for name, suffixes in FOR_PARTNERS.items()
        if given.get(name) is not None and given[name].is_dir()
    }
    output.mkdir(parents=True, exist_ok=True)
    sources = {name: context.get_parameter_source(name) for name in given}
    jobs = []
    for stem, photo in photos.items():
        result = output / (f"{stem}.png" if photo.suffix.lower() in UNWRITABLE else photo.name)
        maps = {name: paths[stem] for name, paths in partners.items()}
        own = {**given, **maps, "photo": photo, "output": result, "workers": None, "ray": None}
        jobs.append(many.Job(str(photo), result, one_photo, {"command": context.info_name, "given": own, "sources": sources}))
    many.run(jobs, workers, ray, given["device"], str(context.info_name), "photo")


def refuse_folders() -> None:
    """Raise UsageError if the command that is running now has one photo and a folder of what goes with it."""
    given = click.get_current_context().params
    for name in FOR_PARTNERS:
        if given.get(name) is not None and given[name].is_dir():
            raise click.UsageError(f"--{name.replace('_', '-')} is the folder {given[name]}; one photo needs one file.")


def one_photo(command: str, given: dict[str, Any], sources: dict[str, ParameterSource]) -> None:
    """Run a command with options that have been read already. sources: where they came from."""
    found = main.get_command(click.Context(main), command)
    assert found is not None and found.callback is not None
    with click.Context(found, info_name=command) as context:
        context.params = given
        for name, source in sources.items():
            context.set_parameter_source(name, source)
        context.invoke(found.callback, **given)
