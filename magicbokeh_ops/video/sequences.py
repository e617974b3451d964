"""Clips as pictures in a folder, or under numbers that a pattern such as frames/%04d.exr has a place for."""

import re
from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from .. import files
from .reading import Clip, Frame
from .signal import Signal, of_pictures

PLACE = re.compile(r"%(0?)(\d*)d")
PICTURES = (*files.PHOTOS, ".tif", ".tiff", ".exr", *files.ARRAYS)
DEEP_BITS = 10  # of a video made of pictures with more than 8


def is_pattern(path: Path) -> bool:
    return PLACE.search(path.name) is not None


class Sequence:
    """Pictures, in the order of the numbers in their names. Raises ValueError if there are none."""

    def __init__(self, path: Path, rate: Fraction = Fraction(24)):
        self.path, self.rate = path, rate
        self.paths = listed(path, PICTURES)
        self.count = len(self.paths)
        self.space = files.color_space(self.paths[0])
        self.is_deep = self.paths[0].suffix.lower() in files.ARRAYS or files.read_origin(self.paths[0]).is_deep

    @property
    def signal(self) -> Signal:
        """Of the video that they become."""
        height, width = files.read_photo(self.paths[0])[0].shape[-2:]
        return of_pictures((height, width), self.rate, DEEP_BITS if self.is_deep else 8)

    def frames(
        self,
        is_done: Callable[[int], bool] = lambda _: False,
        take: Callable[[Any], None] | None = None,
        only: Collection[int] | None = None,
    ) -> Iterator[Frame]:
        """As `Clip.frames`, without sound."""
        size = None
        for index, path in enumerate(self.paths):
            if only is not None and index not in only:
                continue
            image, alpha = files.read_photo(path, self.space)
            size = size or image.shape[-2:]
            if image.shape[-2:] != size:
                raise ValueError(
                    f"{path} is {image.shape[-1]} x {image.shape[-2]} pixels and {self.paths[0].name} {size[1]} x {size[0]}; the frames of "
                    "a clip have one size."
                )
            yield Frame(index, image, is_done(index), alpha, index)


class SequenceWriter:
    """Writes frames as pictures, each whole or not at all. resume: those that are there already are done."""

    def __init__(self, path: Path, source: Clip | Sequence, resume: bool = False):
        self.path, self.source, self.resume = path, source, resume
        self.suffix = ".exr" if source.space == "linear" else ".png"
        if not is_pattern(path):
            path.mkdir(parents=True, exist_ok=True)
        files.check_output(self._path(0))
        if self._path(0).resolve() == (source.paths[0] if isinstance(source, Sequence) else source.path).resolve():
            raise ValueError(f"{path} holds the frames themselves; write the result to another folder.")

    def is_done(self, index: int) -> bool:
        return self.resume and self._path(index).exists()

    def write(self, frame: Frame) -> None:
        if frame.is_done:
            return
        if isinstance(self.source, Sequence):
            origin = files.read_origin(self.source.paths[frame.index])
        else:
            origin = files.Origin(is_deep=self.source.is_deep)
        files.write_photo(self._path(frame.index), frame.image, frame.alpha, origin, self.source.space)

    def pass_on(self, packet: Any) -> None:
        """Pictures have no sound."""

    def close(self) -> None:
        """Nothing is open between frames."""

    def _path(self, index: int) -> Path:
        if is_pattern(self.path):
            first = 0
            if isinstance(self.source, Sequence) and is_pattern(self.source.path):
                first = _number(self.source.paths[0], self.source.path)
            return self.path.with_name(PLACE.sub(lambda place: f"{first + index:{place[1]}{place[2]}d}", self.path.name))
        name = self.source.paths[index].stem if isinstance(self.source, Sequence) else f"{index:05d}"
        return self.path / f"{name}{self.suffix}"


def listed(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Pictures of a folder, or of a pattern. Raises ValueError if there are none."""
    folder = path.parent if is_pattern(path) else path
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    if is_pattern(path):
        found = [one for one in folder.iterdir() if _shape(path).fullmatch(one.name)]
        found.sort(key=lambda one: _number(one, path))
    else:
        found = [one for one in folder.iterdir() if one.suffix.lower() in suffixes and not one.name.startswith(".")]
        found.sort(key=lambda one: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", one.name)])
    if not found:
        raise ValueError(
            f"{path} stands for no file." if is_pattern(path) else f"{path} holds no file ending in {', '.join(suffixes)}."
        )
    return found


def _shape(pattern: Path) -> re.Pattern:
    before, after = PLACE.split(pattern.name)[0], PLACE.split(pattern.name)[-1]
    return re.compile(f"{re.escape(before)}(\\d+){re.escape(after)}")


def _number(path: Path, pattern: Path) -> int:
    match = _shape(pattern).fullmatch(path.name)
    return int(match[1]) if match else 0
