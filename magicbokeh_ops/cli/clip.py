"""The lens over a clip: its frames go from file to file through stages, one at a time."""

import signal
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any

import click
import torch
from tqdm import tqdm

from ..video.depths import FlatDepths, GivenDepths
from ..video.encoders import check_ending
from ..video.reading import VIDEOS, Clip, Frame
from ..video.sequences import Sequence, SequenceWriter, is_pattern
from ..video.stages import focused, near_new, photographed, steadied
from ..video.store import Store
from ..video.writing import ClipWriter
from .inputs import Bar, load_network

Depths = Any  # GivenDepths, FlatDepths or FoundDepths, which needs the packages of the extra model


def is_clip(path: Path) -> bool:
    return path.is_dir() or is_pattern(path) or path.suffix.lower() in VIDEOS


def open_clip(path: Path, rate: Fraction) -> Clip | Sequence:
    """rate: frames per second of pictures."""
    return Clip(path) if path.suffix.lower() in VIDEOS else Sequence(path, rate)


def check_clip_output(path: Path, clip: Path) -> None:
    """Raise ValueError if what becomes of a clip could not be written here, before any work is done for it."""
    if not _is_folder(path):
        check_ending(path)
        if path.resolve() == clip.resolve():
            raise ValueError(f"{path} is the clip itself; give the result another name.")


def find_depths(
    source: Clip | Sequence,
    disparity: Path | None,
    model: Path | None,
    flat: float | None,
    *,
    convention: str,
    normalize: str,
    layer: str | None,
    input_size: int,
    refine: int,
    device: torch.device,
    kept: Store | None,
) -> Depths:
    """The stage that gives frames their disparity. flat: one for all, where neither maps nor a model are given; None if there is none.

    kept: what a depth model gives is kept here, for a clip that is gone through twice.
    """
    if disparity is not None:
        return GivenDepths(disparity, source, convention, normalize, layer)
    if model is not None:
        network = load_network(model, device)
        from ..video.estimated import FoundDepths

        return FoundDepths(network, source, normalize, Bar("first look"), input_size, refine, device, kept)
    if flat is None:
        raise click.UsageError("A clip needs --disparity (a clip or a folder of maps) or --depth-model.")
    return FlatDepths(flat)


def photograph(
    source: Clip | Sequence,
    output: Path,
    depths: Depths,
    focus: float | list[float],
    k: float | list[float],
    shape: dict[str, Any],
    look: dict[str, Any],
    *,
    steadiness: float,
    grain_seed: int,
    quality: float,
    resume: bool,
) -> None:
    """Read, work on and write all frames. Ctrl+C and SIGTERM end it with a file that plays.

    focus, k: one for the clip, or one for each frame. steadiness: 0 to 1, how much flicker of the disparity is taken out.
    """
    writer = open_output(output, source, quality, resume)
    with Stop() as stop:
        try:
            frames = source.frames(writer.is_done, writer.pass_on)
            if steadiness:
                frames = near_new(frames, writer.is_done, source.count)
                frames = steadied(depths(frames), source.space, steadiness, stop.check, look["device"])
            else:
                frames = depths(frames)
            frames = focused(frames, focus, k)
            frames = photographed(frames, source.space, shape, look, grain_seed, lambda _done, _steps: stop.check())
            done = _write(frames, writer, source.count, stop)
        finally:
            writer.close()
    if stop.asked and done < source.count:
        raise click.ClickException(
            f"Stopped. {output} has {done} of {source.count} frames; the same command with --resume goes on."
        )


def open_output(output: Path, source: Clip | Sequence, quality: float, resume: bool) -> ClipWriter | SequenceWriter:
    if _is_folder(output):
        return SequenceWriter(output, source, resume)
    return ClipWriter(output, source.signal, source.space, source if isinstance(source, Clip) else None, quality, resume)


def _is_folder(output: Path) -> bool:
    return is_pattern(output) or output.is_dir() or not output.suffix


class Stop:
    """While it is entered, the first Ctrl+C or SIGTERM only asks to stop, which `check` does where it does no harm."""

    def __init__(self) -> None:
        self.asked = False
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self.handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_error: object) -> None:
        self._restore()

    def check(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        self._restore()  # a second one ends the command at once

    def _restore(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


def _write(frames: Iterable[Frame], writer: ClipWriter | SequenceWriter, count: int, stop: Stop) -> int:
    """Write frames until they end or a stop is asked for. Returns how many there are in the output."""
    written = 0
    with tqdm(desc="lens", total=count, unit="frame") as bar:
        try:
            for frame in frames:
                writer.write(frame)
                written += 1
                if frame.is_done:
                    bar.initial += 1  # doesn't count for the time left
                bar.update()
                stop.check()
        except KeyboardInterrupt:
            pass
    return written
