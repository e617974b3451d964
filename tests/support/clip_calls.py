"""Functions of clips that are called with tensors only, and with what: a part of the table in tests/unit/test_strides.py."""

from collections.abc import Callable
from types import SimpleNamespace

import av
import torch
from torch import Tensor

from magicbokeh_ops import flow, steady
from magicbokeh_ops.tracking import cuts, follow
from magicbokeh_ops.video import codes, depths, look, signal, stages, transfer
from magicbokeh_ops.video.reading import Frame
from magicbokeh_ops.video.store import Store
from tests.support.layouts import photo, plane, random

QUARTER = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)  # a display matrix


def through_a_frame(levels: Tensor) -> list[Tensor]:
    """Codes (40, 36), written to a frame as all three planes of it, and read."""
    frame = av.VideoFrame(36, 40, "yuv444p")
    codes.write_planes(frame, [levels.byte()] * 3, 8)
    return codes.read_planes(frame, codes.coding_of(frame))


def looked_over(photos: Tensor, near: Tensor, masks: Tensor) -> list[Tensor]:
    """What is kept of the frames of a clip, with masks and without."""
    source = SimpleNamespace(space="srgb", frames=lambda: (Frame(i, image) for i, image in enumerate(photos.split(1))))

    def depths(frames, _only):
        for frame in frames:
            frame.disparity = near[frame.index : frame.index + 1]
            yield frame

    with Store() as first, Store() as second:
        look.look_over(source, depths, 0, masks.split(1), first, torch.device("cpu"), lambda: None)
        look.look_over(source, depths, 0, None, second, torch.device("cpu"), lambda: None)
        return [store[key] for store in (first, second) for key in store.places]


CLIP_CALLS: dict[str, tuple[Callable, list[Tensor]]] = {
    "flow.find_flow": (flow.find_flow, [photo(2), photo(2).roll(1, -1)]),
    "flow.enlarged": (lambda found: flow.enlarged(found, (60, 50)), [random(1, 2, 40, 36)]),
    "flow.warp": (flow.warp, [photo(2), 6 * random(2, 2, 40, 36) - 3]),
    "steady.steady": (lambda disparity, clip: steady.steady(disparity, clip), [plane(3), photo(3)]),
    "tracking.cuts.find_cuts": (lambda clip: cuts.find_cuts(iter(clip.split(1))), [photo(4)]),
    "tracking.cuts.colors_of": (lambda image: torch.from_numpy(cuts.colors_of(image)), [photo(1)]),
    "tracking.follow.small": (follow.small, [photo(1, 600, 530), plane(1)]),
    "video.codes.write_planes": (through_a_frame, [255 * random(40, 36)]),
    "video.depths.together": (lambda clip: depths.together(clip.split(1)), [plane(3, 600, 530)]),
    "video.look.look_over": (looked_over, [photo(2), plane(2), plane(2, 60, 54)]),
    "video.stages.shown": (lambda image: [stages.shown(3 * image, space) for space in ("srgb", "linear")], [photo(1)]),
    "video.signal.turned": (lambda planes: signal.turned(planes, QUARTER), [photo(1)]),
    "video.signal.turned_back": (lambda planes: signal.turned_back(planes, QUARTER), [photo(1)]),
    "video.transfer.pq_to_linear": (transfer.pq_to_linear, [random(1, 3, 20, 18)]),
    "video.transfer.linear_to_pq": (transfer.linear_to_pq, [4 * random(1, 3, 20, 18)]),
    "video.transfer.hlg_to_linear": (transfer.hlg_to_linear, [random(1, 3, 20, 18)]),
    "video.transfer.linear_to_hlg": (transfer.linear_to_hlg, [4 * random(1, 3, 20, 18)]),
}
