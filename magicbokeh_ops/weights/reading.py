"""Files of weights of any kind, and what is wrong with those that hold none."""

import codecs
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from .parts import Tensors, copied, shown
from .pickles import MAGIC, read_torch

SAFE = (".safetensors", ".sft")
LONGEST_HEADER = 100_000_000  # that a safetensors file may have
ZIP = b"PK\x03\x04"
AGAIN = "download it again"


def read_tensors(path: Path, mapped: bool = False) -> Any:
    """Contents of a safetensors or torch file, without running anything in it.

    mapped: tensors stay in the file until they are used. That saves memory, but Windows can't replace the file as long as one lives.
    Raises ValueError for a file that is damaged or something else, and for a pickle that names other than `torch.nn`, `diffusers`
    and `models`.
    """
    check_file(path)
    if path.suffix.lower() not in SAFE:
        return read_torch(path, mapped)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{shown(path)} is damaged or not a safetensors file ({error}); {AGAIN}.") from None
    return tensors if mapped else copied(tensors)


def check_file(path: Path) -> None:
    """Raise ValueError if first bytes and size tell that a file is cut off, or something else than its name says."""
    size, name = path.stat().st_size, shown(path)
    head = _read_head(path)
    text = _text(head)
    if text is not None:
        raise ValueError(f"{name} is damaged or not a model: it is text that starts with {text!r}; {AGAIN}.")
    header = 8 + int.from_bytes(head[:8], "little")
    is_safe, is_torch = head[8:9] == b"{", head.startswith(ZIP) or MAGIC in head[:32]
    if path.suffix.lower() not in SAFE:
        if is_safe and not is_torch:
            raise ValueError(f"{name} is a safetensors file under another name; let its name end in .safetensors.")
        if not head.startswith((ZIP, b"\x80")):
            raise ValueError(f"{name} is damaged or not a torch file; {AGAIN}.")
        if head.startswith(ZIP) and not zipfile.is_zipfile(path):
            raise ValueError(f"{name} is damaged: it ends after {_size(size)}, before its table of contents; {AGAIN}.")
    elif is_torch:
        raise ValueError(
            f"{name} is a torch file under the name of a safetensors file; let its name end in .ckpt, .pth or .pkl."
        )
    elif is_safe:
        whole = _whole_size(path, header) if header <= min(size, LONGEST_HEADER) else header
        if size < whole:
            raise ValueError(f"{name} is damaged: it ends after {size:,} of {whole:,} bytes; {AGAIN}.")


def _read_head(path: Path) -> bytes:
    """The first bytes of a file. Raises ValueError for what a download leaves in place of any kind of file."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ValueError(f"{shown(path)} is damaged: it is empty; {AGAIN}.")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{shown(path)} is a Git LFS pointer, not the file itself; run `git lfs pull` or download the file.")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ValueError(f"{shown(path)} is a web page, not the file itself; download the file.")
    return head


def _text(head: bytes) -> str | None:
    """The first words of a file that starts as text."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head).strip()  # its last letter may be cut
    except UnicodeDecodeError:
        return None
    return text.splitlines()[0][:40] if text and all(char.isprintable() or char.isspace() for char in text) else None


def _whole_size(path: Path, header: int) -> int:
    """Size that a safetensors file should have, by its header; 0 if that can't be read."""
    with path.open("rb") as file:
        content = file.read(header)[8:]
    try:
        entries = json.loads(content)
        return header + max((entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return 0


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file in UTF-8, or {} if there is no such file. Raises ValueError for anything else."""
    if not path.exists():
        return {}
    _read_head(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):  # too deeply nested
        raise ValueError(f"{shown(path)} is not readable JSON; {AGAIN}.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{shown(path)} holds no JSON object; {AGAIN}.")
    return content


def find_model(folder: Path, stems: dict[str, str]) -> list[Path]:
    """Files of one model in a folder: its weights, or an index and the shards that it names; [] if there are none.

    stems: first part of the name by ending. Safetensors come before .bin, full before half precision.
    """
    for ending, stem in stems.items():
        for variant in ("", "fp16"):
            index = folder / ".".join(filter(None, (stem, ending, "index", variant, "json")))
            if index.exists():
                places = read_json(index).get("weight_map")
                if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
                    raise ValueError(f"{shown(index)} does not say in which files the weights are; {AGAIN}.")
                return [index, *(folder / place for place in sorted(set(places.values())))]
            file = folder / ".".join(filter(None, (stem, variant, ending)))
            if file.exists():
                return [file]
    return []


def read_model(files: list[Path]) -> Tensors:
    """The tensors in the files that `find_model` has found, still in the files. Raises ValueError as `read_tensors`."""
    tensors = {}
    for file in files:
        if not file.exists():
            if len(files) == 1:
                raise ValueError(f"{shown(file)} is not there; download it.")
            raise ValueError(f"{shown(file)} is not there, where an index says that weights are; download it.")
        if file.suffix != ".json":
            content = read_tensors(file, mapped=True)
            if not isinstance(content, dict):
                raise ValueError(f"{shown(file)} holds no weights by name; {AGAIN}.")
            tensors.update(content)
    return tensors


def fingerprint(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """What changes when one of these files is replaced: names, times and sizes of those that are there."""
    stats = [(str(file), file.stat()) for file in files if file.exists()]
    return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
