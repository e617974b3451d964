"""`magicbokeh evaluate` with its pictures made by several processes or a cluster: in OUTPUT.part, which a later run goes on with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch

from .. import defocus, files
from ..evaluation import benchmark
from ..evaluation.benchmark import Scene
from . import many
from .inputs import compute_device, load_depth
from .models import compute_dtype, find_renderer


def evaluate_many(
    scenes: Sequence[Scene],
    methods: Mapping[str, str],
    finished: Mapping[str, Mapping[str, Path]],
    maps: Mapping[str, Path] | None,
) -> str:
    """Make what `benchmark.evaluate` makes, as the command that is running now says. Returns the table.

    methods: names as `benchmark.find_method` takes them, by row. finished: pictures that are there, by row and stem. maps: disparity by
    stem, None if a depth model finds it.
    """
    given = click.get_current_context().params
    output, preset, workers, ray, device = (given[name] for name in ("output", "preset", "workers", "ray", "device"))
    work = output.with_name(output.name + ".part")
    many.go_on(work, {name: value for name, value in given.items() if name not in ("output", "workers", "ray", "sheet")})

    def found_by(model: Path, folder: Path) -> dict[str, Path]:
        folder.mkdir(exist_ok=True)
        paths = {scene.name: folder / f"{scene.name}.npy" for scene in scenes}
        of_all = {"model": model, "input_size": given["input_size"], "preset": preset, "device": device}
        jobs = [
            many.Job(str(scene.photo), paths[scene.name], make_map, {"photo": scene.photo, "path": paths[scene.name], **of_all})
            for scene in scenes
        ]
        many.run(jobs, workers, ray, device, folder.name, "picture")
        return paths

    if maps is None and given["depth_model"] is not None:
        maps = found_by(given["depth_model"], work / "disparity")
    plain = None
    if given["plain_depth_model"] is not None:
        plain = found_by(given["plain_depth_model"], work / "plain_disparity")
    weights = {name: given[name] for name in ("base", "adapter", "model")}
    of_all = {"preset": preset, "device": device, "dtype": given["dtype"]}
    pictures, jobs = dict(finished), []
    rows = {row: (name, weights) for row, name in methods.items() if name != "input"}
    rows |= {name: ("ours", {"base": None, "adapter": None, "model": path}) for name, path in given["also"].items()}
    for row, (method, own) in rows.items():
        made = work / "pictures" / row
        made.mkdir(parents=True, exist_ok=True)
        pictures[row] = {scene.name: made / f"{scene.name}.png" for scene in scenes}
        is_other = method == "other-depth"
        used = plain if is_other else maps
        assert used is not None  # the command has looked for them
        for scene in scenes:
            path = pictures[row][scene.name]
            seen = replace(scene, focus=None) if is_other else scene
            arguments = {"scene": seen, "disparity": used[scene.name], "path": path, "method": method, **own, **of_all}
            jobs.append(many.Job(f"{row}/{scene.name}", path, make_picture, arguments))
    times = many.run(jobs, workers, ray, device, "pictures", "picture")
    seconds: dict[str, dict[str, float]] = {row: {} for row in rows}
    for name, value in times.items():
        row, stem = name.split("/", 1)
        seconds[row][stem] = value
    timing = (
        f"seconds: median per picture of what this run made (preset {preset}), several at a time, which takes longer than one alone; "
        "without depth estimation and files."
    )
    text = benchmark.tabulate(scenes, work, pictures, seconds, timing, compute_device(device), given["sheet"])
    work.rename(output)
    return text


@torch.inference_mode()
def make_map(photo: Path, path: Path, model: Path, input_size: int, preset: str, device: str | None) -> None:
    """Write the disparity that a depth model finds in a photo."""
    found = load_depth(model, input_size, compute_device(device))(files.read_photo(photo)[0])
    files.write_map(path, defocus.normalize(found, "none" if preset == "reference" else "percentile"))


def make_picture(
    scene: Scene,
    disparity: Path,
    path: Path,
    method: str,
    base: Path | None,
    adapter: Path | None,
    model: Path | None,
    preset: str,
    device: str | None,
    dtype: str | None,
) -> float:
    """Write a method's picture; returns its seconds."""
    place = compute_device(device)
    render = None
    if benchmark.needs_model(method):
        render = find_renderer(base, adapter, model, place, compute_dtype(dtype, place))
    shot = benchmark.read_shot(scene, disparity, preset == "reference")
    return benchmark.take(benchmark.find_method(method, render, preset, place), shot, path)
