"""Focus and k of a clip: one for all of it, by keys, or a focus that follows something in small pictures of all frames (`video.look`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path

import click
import torch
from click.core import ParameterSource
from torch import Tensor
from tqdm import tqdm

from .. import files, tracking
from ..focal_plane import slopes, tilted
from ..focus import focus_from_point
from ..keys import Key, check_frames, focus_of, k_of, read_keys
from ..planes import check_range, check_same_shape
from ..steady import REACH
from ..video.depths import Maps, Source
from ..video.look import look_over, small_frames
from ..video.store import Store
from .clip import Depths, is_clip
from .inputs import find_focus
from .options import FOLLOWING

SAY_FOCUS = "Say where the focus lies with one of --focus, --focus-point, --focus-mask, --track and --keys."
FOLLOWS = "a focus that follows; give --track, or --focus-mask with a mask of each frame"


@dataclass(frozen=True)
class ClipFocus:
    """What the options say of focus and k.

    masks: of each frame, in place of focus_mask, which is one for all. store: of what is kept of frames that are looked at before they are
    photographed; None if none are.
    """

    source: Source
    focus: float | None
    focus_point: tuple[float, float] | None
    focus_mask: Path | None
    track: tuple[float, float] | None
    track_frame: int
    masks: Maps | None
    keys: list[Key]
    smoothing: float
    max_speed: float
    save_plot: Path | None
    store: Store | None

    def find(
        self, depths: Depths, steadiness: float, tilt: float, tilt_direction: float, device: torch.device
    ) -> float | list[float]:
        """Focus of the clip or of each frame, with a tilt that of the middle of the picture. Says where it is lost, and draws the plot."""
        tilts = tilt, tilt_direction
        if self.track is not None or self.masks is not None:
            return self._followed(depths, steadiness, tilts, device)
        if self.focus is None and self.focus_point is None and self.focus_mask is None:
            return self._keyed(depths, steadiness, tilts, device)
        return find_focus(tilted(depths.sample, *tilts), self.focus, self.focus_point, self.focus_mask)

    def find_k(self, k: float) -> float | list[float]:
        """k: where keys say nothing of it."""
        return k_of(self.keys, self.source.count) or k

    def _followed(self, depths: Depths, steadiness: float, tilts: tuple[float, float], device: torch.device) -> list[float]:
        assert self.store is not None
        size = self.source.signal.shown_size
        masks = None if self.masks is None else _checked(self.masks, size)
        with tqdm(desc="look", total=self.source.count, unit="frame") as bar:
            frames, cuts = look_over(self.source, depths, steadiness, masks, self.store, device, bar.update)
        places = self._places(self.store, frames, cuts)
        if self.masks is not None and not any(places):
            raise ValueError(f"{self.masks.path} shows nothing in any frame; its masks are white where it should be sharp.")
        right, down = slopes(size, *tilts)

        def levelled(place: tracking.Seen) -> float:
            return place.disparity - right * size[1] * (place.x - 0.5) - down * size[0] * (place.y - 0.5)

        measured = [None if place is None else levelled(place) for place in places]
        focus = tracking.pull(measured, cuts, self.smoothing, self.max_speed)
        for line in tracking.describe(measured, cuts, "the point" if self.masks is None else "the subject"):
            click.echo(line)
        self._plot(focus, measured, cuts)
        return focus

    def _places(self, store: Store, frames: int, cuts: list[int]) -> list[tracking.Seen | None]:
        """Where the subject is in each frame, and its disparity."""
        seen: set[int] = set()
        with tqdm(desc="follow", total=frames, unit="frame") as bar:

            def near(i: int) -> Tensor:
                seen.add(i)
                bar.update(len(seen) - bar.n)
                return store["near", i]

            if self.track is not None:
                return tracking.by_point(lambda i: store["photo", i], near, frames, cuts, self.track_frame, *self.track)
            values = tracking.by_masks(near, lambda i: store["mask", i], frames, cuts)
            return [
                None if value is None else tracking.Seen(*_middle(store["mask", i]), value) for i, value in enumerate(values)
            ]

    def _keyed(self, depths: Depths, steadiness: float, tilts: tuple[float, float], device: torch.device) -> list[float]:
        points = {key.frame: key.point for key in self.keys if key.point is not None}
        reach = REACH if steadiness else 0
        only = {i for frame in points for i in range(frame - reach, frame + reach + 1)}
        near = {}
        if points:
            for frame in small_frames(depths(self.source.frames(only=only), only), self.source, steadiness, device):
                if frame.index in points:
                    near[frame.index] = focus_from_point(tilted(frame.disparity, *tilts), *points[frame.index])
        focus = focus_of(self.keys, self.source.count, lambda frame, _: near[frame])
        assert focus is not None  # or the options would have been refused
        self._plot(focus, None, [])
        return focus

    def _plot(self, focus: list[float], measured: list[float | None] | None, cuts: list[int]) -> None:
        if self.save_plot is not None:
            files.write_photo(self.save_plot, tracking.draw_plot(focus, measured, cuts))


def clip_focus(
    source: Source,
    focus: float | None,
    focus_point: tuple[float, float] | None,
    focus_mask: Path | None,
    track: tuple[float, float] | None,
    track_frame: int,
    keys: str | None,
    smoothing: float,
    max_speed: float,
    save_plot: Path | None,
    *,
    needed: bool,
    otherwise: float | None,
) -> ClipFocus:
    """What the options mean, checked before any frame is looked at.

    needed: whether the options must say where the focus lies. otherwise: a focus where they don't.
    Raises UsageError for options that do not go together, and ValueError as what reads keys and masks does.
    """
    written = [] if keys is None else read_keys(_text(keys))
    if written:
        check_frames(written, source.count)
    in_keys = any(key.focus is not None or key.point is not None for key in written)
    said = [focus is not None, focus_point is not None, focus_mask is not None, track is not None, in_keys].count(True)
    if said == 0:
        focus = otherwise
    if said > 1 or (said == 0 and needed and focus is None):
        raise click.UsageError(SAY_FOCUS)
    masks = None
    if focus_mask is not None and is_clip(focus_mask):
        masks, focus_mask = Maps(focus_mask, source, "masks"), None
    follows = track is not None or masks is not None
    for name, is_used, what_for in (
        ("track_frame", track is not None, "the point of --track; give that too"),
        ("smoothing", follows, FOLLOWS),
        ("max_speed", follows, FOLLOWS),
        ("save_plot", follows or in_keys, f"{FOLLOWS}, or --keys"),
    ):
        if not is_used and _is_given(name):
            raise click.UsageError(f"{_flag(name)} is for {what_for}.")
    if track_frame >= source.count:
        raise click.UsageError(
            f"--track-frame is {track_frame}, but the clip's {source.count} frames end with {source.count - 1}."
        )
    if save_plot is not None:
        files.check_output(save_plot)
    looks = follows or any(key.point is not None for key in written)
    store = click.get_current_context().with_resource(Store()) if looks else None
    return ClipFocus(
        source, focus, focus_point, focus_mask, track, track_frame, masks, written, smoothing, max_speed, save_plot, store
    )


def described(values: float | list[float], form: str) -> str:
    """A value, or from where to where they go."""
    return f"{values:{form}}" if isinstance(values, float | int) else f"{min(values):{form}} to {max(values):{form}}"


def refuse_for_photo(focus_mask: Path | None) -> None:
    """Raise UsageError for options that are for clips."""
    for name in FOLLOWING:
        if _is_given(name):
            raise click.UsageError(f"{_flag(name)} is for clips; leave it out for a photo.")
    if focus_mask is not None and is_clip(focus_mask):
        raise click.UsageError(
            f"--focus-mask is {focus_mask}; masks of each frame are for clips, so give a picture for a photo."
        )


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _text(keys: str) -> str:
    """Of keys that may be the path of a text file."""
    return Path(keys).read_text(encoding="utf-8") if isfile(keys) else keys


def _checked(masks: Maps, size: tuple[int, int]) -> Iterator[Tensor]:
    for mask in masks.read():
        check_range(mask, str(masks.path))
        check_same_shape(mask, size, str(masks.path), "the clip")
        yield mask


def _middle(mask: Tensor) -> tuple[float, float]:
    """Of what a mask (1, 1, h, w) shows, 0..1 from the left and the top."""
    height, width = mask.shape[-2:]
    y, x = ((mask[0, 0] > 0.5).nonzero().float().mean(0) + 0.5).tolist()
    return x / width, y / height
