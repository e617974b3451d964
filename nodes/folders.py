"""Model folders and what lies in them.

Lists come from ComfyUI, which keeps them until a folder changes: it asks for all choices of all nodes again and again, and a walk over
a large or slow disk would take seconds each time.
"""

import os
from pathlib import Path

import folder_paths

from ..magicbokeh_ops.checkpoint import SAFE
from ..magicbokeh_ops.depth import CONFIG, is_in_folder

MODEL_FOLDER, DEPTH_FOLDER = "magicbokeh", "depthanything"  # the second one is where other packs keep the same files
MODELS = (*SAFE, ".pkl")  # endings of what Load MagicBokeh offers


def register_model_folders() -> None:
    """models/magicbokeh and models/depthanything with what extra_model_paths.yaml adds to them, and where Save MagicBokeh
    Checkpoint writes."""
    for parent, name, kinds in (
        (folder_paths.models_dir, MODEL_FOLDER, {*MODELS, ".pth", ".bin"}),
        (folder_paths.get_output_directory(), MODEL_FOLDER, set()),
        (folder_paths.models_dir, DEPTH_FOLDER, {*SAFE, ".pth", ".bin"}),
    ):
        folder_paths.add_model_folder_path(name, os.path.join(parent, name))
        paths, extensions = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | kinds)


def model_files() -> list[str]:
    """Adapters and merged files in models/magicbokeh."""
    return [file for file in folder_paths.get_filename_list(MODEL_FOLDER) if file.lower().endswith(MODELS)]


def diffusers_folders() -> dict[str, Path]:
    """Models in diffusers layout below models/diffusers, by their relative path."""
    folder_paths.get_filename_list("diffusers")  # of files there are none in its list, but it remembers all folders
    _, folders, _ = folder_paths.filename_list_cache["diffusers"]
    found: dict[str, Path] = {}
    for parent in folder_paths.get_folder_paths("diffusers"):
        below = [folder for folder in folders if folder == parent or folder.startswith(os.path.join(parent, ""))]
        for folder in sorted(below):
            if os.path.exists(os.path.join(folder, "model_index.json")):
                found.setdefault(os.path.relpath(folder, parent), Path(folder))
    return found


def depth_models() -> dict[str, Path]:
    """Depth models by their relative path: files and transformers folders in models/depthanything; in models/magicbokeh, where
    safetensors files are other models, folders and .pth files."""
    found: dict[str, Path] = {}
    for name, kinds in ((DEPTH_FOLDER, (".pth", *SAFE)), (MODEL_FOLDER, (".pth",))):
        for file in folder_paths.get_filename_list(name):
            place = folder_paths.get_full_path(name, file)
            if place is None:  # a link to nowhere
                continue
            path = Path(place)
            # Only the weights of a folder belong to its config.json, which may also lie there without them.
            if is_in_folder(path.name) and (path.parent / CONFIG).exists():
                found.setdefault(os.path.dirname(file) or ".", path.parent)
            elif file.lower().endswith(kinds):
                found.setdefault(file, path)
    return found
