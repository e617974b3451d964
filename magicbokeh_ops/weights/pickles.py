"""torch's own files, which are pickles, without running anything in them.

They are read by torch's weights-only loader. The module classes that the released adapter names get inert stand-ins, and a file that
names anything else is refused before it is loaded.
"""

import pickletools
import re
import threading
import zipfile
from collections import OrderedDict
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .parts import shown

MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # a number with which torch's older files begin, as it is pickled
# Their pickles: the magic number, a version, the byte order, the contents, the names of the storages. Raw numbers follow.
PICKLES = 5

# What tensors and plain containers are made of; torch's loader builds these itself.
BUILT_IN = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.(Parameter|Buffer)"
    r"|torch\.(Tensor|Size|device)|torch\.[a-z]+\d+|torch\.(cuda\.)?\w*Storage|torch\.storage\.\w*Storage"
    r"|collections\.(OrderedDict|Counter)|builtins\.(set|bytearray)|_codecs\.encode"
)
GETATTR = "builtins.getattr"
# Modules, and what Stable Diffusion's own .ckpt files carry as the log of their training: a class by name, and numbers of numpy.
STOOD_IN = re.compile(
    r"(torch\.nn|diffusers|models)\..+|pytorch_lightning\.callbacks\.model_checkpoint\.ModelCheckpoint"
    rf"|numpy\.(core|_core)\.multiarray\.scalar|numpy\.dtype|{re.escape(GETATTR)}"
)
# numpy's own, since a number may be built from another pack's idea of one, which takes no stand-in for its kind.
NUMBERS = {type(np.dtype(code)) for code in "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]}

_loading = threading.Lock()


class NotNeededError(Exception):
    """A name in a pickle that no weights need."""


class StandIn:
    """In place of a class or function that a pickle names: holds the attributes, does nothing."""

    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        if isinstance(state, dict):
            vars(self).update({key: value for key, value in state.items() if not isinstance(value, BoundForward)})


class BoundForward(StandIn):
    """In place of `getattr(module, "forward")`, which accelerate leaves in a model that it has unwrapped."""

    def __init__(self, *asked):
        if len(asked) != 2 or not isinstance(asked[0], StandIn) or asked[1] != "forward":
            raise NotNeededError(GETATTR)


def read_torch(path: Path, mapped: bool) -> Any:
    """Contents of a file by `torch.save`. mapped: tensors stay in the file until they are used, and keep it open.

    Raises ValueError for a damaged file and for one that names other than `torch.nn`, `diffusers` and `models`.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise ValueError(
            f"{shown(path)} is a pickle; reading it safely needs torch 2.6, this is {torch.__version__}; update torch."
        )
    is_zip = zipfile.is_zipfile(path)
    try:
        names = named_classes(path)
        for name in names:
            if not BUILT_IN.fullmatch(name) and not STOOD_IN.fullmatch(name):
                raise NotNeededError(name)
        # One of our loads at a time, or the first to end would take the stand-ins away from the other.
        with _loading:
            # Stand-ins only for what no other code allows: another thread may need theirs just now.
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path) if is_zip else names
            if GETATTR in names and not (is_zip and GETATTR in unknown):
                raise NotNeededError(GETATTR)  # it would be the real one, by which a pickle reaches everything
            stand_ins: list[Any] = [(_stand_in(name), name) for name in unknown if STOOD_IN.fullmatch(name)]
            if "numpy.dtype" in names:
                stand_ins += NUMBERS
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zip)
    except NotNeededError as name:
        raise ValueError(
            f"{shown(path)} names {str(name)!r}, which no weights need; it was not loaded and nothing in it ran, so use another file."
        ) from None
    except (OSError, MemoryError):  # says nothing about the file's contents
        raise
    except Exception:  # a damaged zip or pickle ends in struct.error, IndexError, KeyError, BadZipFile ...
        raise ValueError(f"{shown(path)} is damaged or not a torch file; download it again.") from None


def named_classes(path: Path) -> list[str]:
    """Every class and function that a torch file names, read from its opcodes without following any.

    More than `torch.serialization.get_unsafe_globals_in_checkpoint` says: that leaves out what other code has allowed, and reads
    neither the older format nor newer pickles.
    """
    found: dict[str, None] = {}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # By entry and not by name: of two with the same name torch reads the first, Python the last.
            for entry in archive.infolist():
                if entry.filename.lower().endswith("data.pkl"):
                    _note_names(BytesIO(archive.read(entry)), found)
    else:
        # Mapped, for it may be large, and a length in it may be any number.
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            for _ in range(PICKLES):
                _note_names(content, found)
    return list(found)


def _note_names(stream: Any, found: dict[str, None]) -> None:
    """The names in the pickle that starts here; what is no pickle has none."""
    strings: list[str] = []
    try:
        for opcode, value, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL":
                found[re.sub(r"^__builtin__\b", "builtins", str(value).replace(" ", "."))] = None
            elif opcode.name == "STACK_GLOBAL":
                found[".".join(strings[-2:])] = None
            elif isinstance(value, str):
                strings.append(value)
    except (ValueError, UnicodeDecodeError):
        pass


def _stand_in(name: str) -> type:
    known: dict[str, type] = {
        "diffusers.configuration_utils.FrozenDict": OrderedDict,
        "numpy.dtype": np.dtype,
        GETATTR: BoundForward,
    }
    module, _, own = name.rpartition(".")
    return known.get(name) or type(own, (StandIn,), {"__module__": module})


def module_tensors(module: StandIn, prefix: str = "") -> dict[str, torch.Tensor]:
    """State dict of a stood-in module."""
    state = vars(module)
    parameters, children = state.get("_parameters", {}), state.get("_modules", {})
    out = {prefix + name: value.detach() for name, value in parameters.items() if isinstance(value, torch.Tensor)}
    for name, child in children.items():
        if isinstance(child, StandIn):
            out.update(module_tensors(child, f"{prefix}{name}."))
    return out
