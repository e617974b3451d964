"""ComfyUI's folders, and what lies in them.

Lists come from ComfyUI, which keeps them until a folder changes: it asks for all choices of all nodes again and again, and a walk over
a large or slow disk would take seconds each time.
"""

import functools
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import folder_paths

from ..magicbokeh_ops.atomic import write_whole
from ..magicbokeh_ops.demo import ASSETS, DRAWN, demo_portrait
from ..magicbokeh_ops.depth import CONFIG, is_in_folder
from ..magicbokeh_ops.pictures import HEIF
from ..magicbokeh_ops.weights.checkpoint import SAFE, base_files, fingerprint, read_base

MODEL_FOLDER, DEPTH_FOLDER = "magicbokeh", "depthanything"  # the second one is where other packs keep the same files
OURS = "magicbokeh_"  # names of our files in the input folder begin so
DEMO_PHOTO = f"{OURS}demo.jpg"
BASE_NAME = re.compile(r"2[-_.]1[-_.]512|2[-_.]1[-_.]base", re.IGNORECASE)
DEPTH_NAMES = [re.compile(pattern, re.IGNORECASE) for pattern in ("dadepth", "vitl|large", "vitb|base", "vits|small")]
MODELS = (*SAFE, ".pkl")  # endings of what Load MagicBokeh offers


@contextmanager
def chosen_in(widget: str) -> Iterator[None]:
    """What is wrong with a file is said together with the widget in which it is chosen."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{widget}: {error}") from None


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


def put_demo_photos() -> None:
    """The demo photo, and those of templates, into ComfyUI's input folder, so that nodes and the page find them as any other."""
    folder = Path(folder_paths.get_input_directory())
    for name in ("demo.jpg", *DRAWN):
        path = folder / f"{OURS}{name}"
        if path.exists():
            continue
        content = demo_portrait() if path.name == DEMO_PHOTO else (ASSETS / name).read_bytes()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda unfinished, content=content: unfinished.write_bytes(content))
        except OSError as error:
            logging.warning(f"MagicBokeh: no demo photos, since {folder} can't be written to ({error}).")
            return


def input_photos() -> list[str]:
    """Pictures in ComfyUI's input folder, HEIC among them, which it does not always know as such."""
    folder = folder_paths.get_input_directory()
    files = [file for file in os.listdir(folder) if os.path.isfile(os.path.join(folder, file))]
    known = folder_paths.filter_files_content_types(files, ["image"])
    return sorted({*known, *(file for file in files if file.lower().endswith(HEIF))})


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


def base_path(name: str) -> Path | None:
    """The file in models/checkpoints or folder in models/diffusers of this name, None if it is gone."""
    file = folder_paths.get_full_path("checkpoints", name)
    return diffusers_folders().get(name) or (file and Path(file)) or None


def find_base() -> Path | None:
    """A Stable Diffusion 2.1-base, whatever its name; those that are named like it are looked at first."""
    names = [*folder_paths.get_filename_list("checkpoints"), *diffusers_folders()]
    for name in sorted(names, key=lambda name: not BASE_NAME.search(name)):
        path = base_path(name)
        if path is None:
            continue
        try:
            version = tuple(fingerprint(base_files(path)))
        except ValueError:  # its index is damaged
            continue
        if _is_base(path, version):
            return path
    return None


@functools.lru_cache(maxsize=1024)
def _is_base(path: Path, _version: tuple) -> bool:
    try:
        read_base(path, mapped=True)
    except (ValueError, OSError):  # another model, or a damaged one
        return False
    return True


def find_depth_model() -> Path | None:
    """The most capable one by its name: that of MagicBokeh, then the larger ones of Depth Anything."""

    def rank(name: str) -> int:
        return next((i for i, pattern in enumerate(DEPTH_NAMES) if pattern.search(name)), len(DEPTH_NAMES))

    found = depth_models()
    return found[min(found, key=rank)] if found else None


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
