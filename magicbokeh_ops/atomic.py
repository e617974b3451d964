"""Files that are written whole or not at all."""

from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file, whole or not at all, with the rights that new files have here."""
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.touch()
        mode = unfinished.stat().st_mode
        write(unfinished)
        unfinished.chmod(mode)  # safetensors makes files that only their owner can read
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
