"""Model folders and what lies in them."""

import os
from pathlib import Path

import folder_paths

from ..magicbokeh_ops.checkpoint import SAFE

MODEL_FOLDER, DEPTH_FOLDER = "magicbokeh", "depthanything"  # the second one is where other packs keep the same files


def register_model_folders() -> None:
    """models/magicbokeh and models/depthanything with what extra_model_paths.yaml adds to them, and where Save MagicBokeh
    Checkpoint writes."""
    for parent, name, kinds in (
        (folder_paths.models_dir, MODEL_FOLDER, {*SAFE, ".pkl"}),
        (folder_paths.get_output_directory(), MODEL_FOLDER, set()),
        (folder_paths.models_dir, DEPTH_FOLDER, {*SAFE, ".pth"}),
    ):
        folder_paths.add_model_folder_path(name, os.path.join(parent, name))
        paths, extensions = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | kinds)


def _walk(name: str):
    for parent in folder_paths.get_folder_paths(name):
        for folder, _, files in os.walk(parent, followlinks=True):
            yield parent, Path(folder), files


def diffusers_folders() -> dict[str, Path]:
    """Models in diffusers layout below models/diffusers, by their relative path."""
    found: dict[str, Path] = {}
    for parent, folder, files in _walk("diffusers"):
        if "model_index.json" in files:
            found.setdefault(os.path.relpath(folder, parent), folder)
    return found


def depth_models() -> dict[str, Path]:
    """Depth models by their relative path: files and transformers folders in models/depthanything, .pth files in models/magicbokeh."""
    found: dict[str, Path] = {}
    for name, kinds in ((DEPTH_FOLDER, (".pth", ".safetensors")), (MODEL_FOLDER, (".pth",))):
        for parent, folder, files in _walk(name):
            if "config.json" in files:
                found.setdefault(os.path.relpath(folder, parent), folder)
            else:
                for file in sorted(files):
                    if file.endswith(kinds):
                        found.setdefault(os.path.relpath(folder / file, parent), folder / file)
    return found
