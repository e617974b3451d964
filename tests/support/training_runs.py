"""Runs of training at a size that takes seconds."""

from pathlib import Path

import yaml

from magicbokeh_ops.training import train as training
from magicbokeh_ops.training.settings import Settings, read_settings

NETWORK = {"channels": [16, 16], "heads": [1, 0], "layers": 1, "groups": 4, "hint_channels": [4, 4, 4]}
CONFIG = {
    "network": NETWORK,
    "sr_rank": 2,
    "bokeh_rank": 2,
    "data": {"pool": 2, "strength": "mild", "scale": 2, "workers": 0},
    "sheet_steps": 1000,
    "save_seconds": 0.0,
}


def settings_of(tmp_path, *stages, **changes) -> Settings:
    file = tmp_path / "run.yaml"
    defaults = {"steps": 4, "size": 64, "batch": 2, "rate": 1e-3, "warmup": 1}
    file.write_text(
        yaml.safe_dump({**CONFIG, **changes, "stages": [{**defaults, **stage} for stage in stages]}), encoding="utf-8"
    )
    return read_settings(file)


def draw_pools(folder: Path) -> Path:
    """The pools of drawn pictures, for all runs."""
    settings = settings_of(folder, {"kind": "base"})
    for held_out in (False, True):
        training.run.find_source(settings, folder, held_out)
    return folder


def folder_with(drawn, tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("pool.pt", "held-out.pt"):
        (folder / name).symlink_to(drawn / name)
    return folder
