"""Disparity of a clip that stands still, from that of a network which sees each frame alone.

Three things flicker in such maps: scale and shift, which a network finds anew for every frame; blotches; and edges that swim around
those of the photo. For each frame, up to six before and six after it are looked at, along the motion in the photo (`flow.py`).

1. Scale and shift. From each frame to the next, a robust line through the disparities of what is seen in both. What the lines say in a
   row is the path that the clip's scale takes, and a frame gets the mean of the path around it, as in a steadied camera. Neither errors
   nor what really comes nearer adds up, since nothing older counts.
2. A filter along motion. Each pixel gets the disparities that it had or will have, except where it is hidden or lost: where the flow
   there does not lead back, or the colour is another. They vote for a surface first and are averaged on that one only: from their mean,
   closer and closer around what most of them say. An edge that swims so comes to rest where it is most of the time, as steep as it was.
3. What stands still already stays as it is, to the bit: a frame around which maps change, along the motion, by less than
   half a step of 8 bits on the mean, beyond what half a pixel's error of the flow explains, and scale and shift by less than a step.

A cut ends what is looked at: there the flow leads back hardly anywhere. A frame depends on those within `REACH` only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .flow import enlarged, find_flow, warp
from .planes import check_image, check_map, check_same_shape, match_batch, resize
from .windows import widen

REACH = 6  # frames looked at before and after each
FLOW_SIDE = 448  # pixels of the longer side in which motion is found
ASTRAY = (
    0.5,
    0.01,
)  # square of the pixels by which a flow may miss where it came from: at rest, and a share of its length's square
SAME_COLOR = 0.06  # sRGB values beyond those right around a pixel by which it may change
WIDTHS = 0.2, 0.1, 0.04, 0.04  # of what votes for a surface, in disparity, one after the other
LEAST_SEEN = 0.3  # share of a picture that is seen in the next one, unless there is a cut between
STEP = 1 / 255
ROUNDS = 10  # of a robust line
PIXELS_AT_ONCE = 2**18


@dataclass(frozen=True)
class _Line:
    """Disparity as it is in another frame: scale * disparity + shift."""

    scale: float = 1.0
    shift: float = 0.0

    def then(self, other: "_Line") -> "_Line":
        return _Line(other.scale * self.scale, other.scale * self.shift + other.shift)

    def back(self) -> "_Line":
        return _Line(1 / self.scale, -self.shift / self.scale)

    def jump(self) -> float:
        """By how much it changes a disparity in 0..1 at most."""
        return max(abs(self.shift), abs(self.scale - 1 + self.shift))


@dataclass(frozen=True)
class _Link:
    """Between a frame and the next. ahead, back: (1, 3, h, w), the flow there and back, and 1 where it is sure. line: of the disparity.

    unrest: mean change of disparity along the motion beside that. is_cut: nothing links them.
    """

    ahead: Tensor
    back: Tensor
    line: _Line
    unrest: float
    is_cut: bool


@dataclass
class _Seen:
    """A frame. image: in the size of the disparity; small: in that in which motion is found. link: to the next frame."""

    disparity: Tensor
    image: Tensor
    small: Tensor
    link: _Link | None = None


def steady(
    disparity: Tensor,
    image: Tensor,
    strength: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Disparity (B, 1, h, w) of the frames of a clip, in order, that does not flicker along what moves in it.

    disparity: (B, 1, h, w) in [0, 1]. image: (B or 1, 3, H, W), sRGB. strength: 0 to 1; less than 1 is a mixture with what is given.
    progress: called with (frames done, frames in all) several times a frame; may raise to stop. device: where to work; None is where
    the disparity lies, as the result does, in `out` if that is given.
    Raises ValueError for another strength, values that are not finite, a photo of another shape, and counts of frames that don't match.
    """
    check_image(image)
    check_map(disparity, "disparity")
    check_same_shape(disparity, image.shape[-2:], "disparity")
    photos = match_batch(image, len(disparity), "image")
    out = torch.empty_like(disparity) if out is None else out
    done = 0

    def report() -> None:
        if progress is not None:
            progress(done, len(disparity))

    for found in steadied(zip(disparity.split(1), photos.split(1)), strength, report, device):
        out[done] = found[0]
        done += 1
    return out


def steadied(
    frames: Iterable[tuple[Tensor, Tensor]],
    strength: float = 1.0,
    check: Callable[[], None] = lambda: None,
    device: torch.device | str | None = None,
) -> Iterator[Tensor]:
    """`steady` for a stream: from disparity (1, 1, h, w) and photo (1, 3, H, W) of each frame to its disparity, `REACH` frames later.

    check: called several times a frame; may raise to stop.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength (steady) is {strength:g}; it goes from 0 (as it is) to 1 (as still as possible).")
    held: deque[_Seen] = deque()
    here = 0
    for disparity, image in frames:
        held.append(_see(disparity, image, device or disparity.device))
        if len(held) > 1:
            held[-2].link = _link(held[-2], held[-1], check)
        if len(held) > here + REACH:
            yield _mended(held, here, strength, check)
            here += 1
        if here > REACH:
            held.popleft()
            here -= 1
    while here < len(held):
        yield _mended(held, here, strength, check)
        here += 1


def memory_needed(size: Sequence[int]) -> int:
    """Upper bound in bytes of what `steady` takes on a device for maps of `size` (height, width), by measurement."""
    return 270 * size[0] * size[1] + 2**28


def _see(disparity: Tensor, image: Tensor, device: torch.device | str) -> _Seen:
    size = disparity.shape[-2:]
    image = resize(image, size)
    scale = min(1, FLOW_SIDE / max(size))
    small = resize(image.to(device).float().clamp(0, 1), [max(1, round(scale * length)) for length in size])
    return _Seen(disparity, image, small)


def _link(frame: _Seen, after: _Seen, check: Callable[[], None]) -> _Link:
    ahead, back = find_flow(torch.cat([frame.small, after.small]), torch.cat([after.small, frame.small])).split(1)
    check()
    ahead, back = _with_trust(ahead, back), _with_trust(back, ahead)
    size = frame.small.shape[-2:]
    here, there = (resize(one.disparity.to(ahead.device).float(), size) for one in (frame, after))
    there, color = warp(torch.cat([there, after.small], 1), ahead[:, :2]).split([1, 3], 1)
    seen = (ahead[:, 2:] > 0) & ((color - frame.small).abs().amax(1, keepdim=True) < 2 * SAME_COLOR)
    if float(seen.float().mean()) < LEAST_SEEN:
        return _Link(ahead, back, _Line(), 0.0, is_cut=True)
    line = _robust_line(here[seen], there[seen])
    expected = line.scale * here + line.shift
    # Halfway to what lies beside a pixel: where a flow that is half a pixel wrong may lead.
    highest, lowest = (expected + widen(expected, 1)) / 2, (expected - widen(-expected, 1)) / 2
    beyond = (there - highest).clamp(min=0) + (lowest - there).clamp(min=0)
    return _Link(ahead, back, line, float(beyond[seen].clamp(max=0.1).mean()), is_cut=False)


def _with_trust(flow: Tensor, other: Tensor) -> Tensor:
    """A flow (1, 2, h, w), and as a third channel 1 where the one in the other direction leads back, else 0."""
    back = warp(other[:, :2], flow)
    missed, length = ((flow + back).square(), flow.square() + back.square())
    rest, share = ASTRAY
    sure = missed.sum(1, keepdim=True) < rest + share * length.sum(1, keepdim=True)
    return torch.cat([flow, sure.float()], 1)


def _robust_line(here: Tensor, there: Tensor) -> _Line:
    """The line through pairs (N,) of disparities that most of them lie on, with an equal error in both."""
    scale, shift = 1.0, float((there - here).median())
    for _ in range(ROUNDS):
        missed = (there - scale * here - shift).abs()
        spread = max(1.5 * float(missed.median()), STEP / 2)
        weight = 1 / (1 + (missed / spread).square()).square()
        weight = weight / weight.sum()
        middle, middle_there = (weight * here).sum(), (weight * there).sum()
        width, width_there = (weight * (here - middle).square()).sum(), (weight * (there - middle_there).square()).sum()
        if min(float(width), float(width_there)) > (5 * STEP) ** 2:
            # Not the slope of a regression, which is too small if what it rests on has errors too, and would add up.
            scale = float((width_there / width).sqrt())
        shift = float(middle_there - scale * middle)
    return _Line(scale, shift)


def _mended(held: Sequence[_Seen], here: int, strength: float, check: Callable[[], None]) -> Tensor:
    """What becomes of the disparity of the frame at `here`."""
    check()
    frame = held[here]
    ways = [[*_way(held, here, direction)] for direction in (1, -1)]
    links = [link for way in ways for _, link in way]
    if not links or _stands_still(links):
        return frame.disparity
    lines = [_Line()]
    for way, direction in zip(ways, (1, -1)):
        line = _Line()
        for _, link in way:
            line = line.then(link.line if direction > 0 else link.line.back())
            lines.append(line)
    target = _Line(sum(line.scale for line in lines) / len(lines), sum(line.shift for line in lines) / len(lines))
    device, size = frame.small.device, frame.disparity.shape[-2:]
    image, given = _on(device, frame.image).clamp(0, 1), _on(device, frame.disparity)
    highest, lowest = widen(image, 1), -widen(-image, 1)
    values, weights = (given.new_empty(len(lines), 1, *size) for _ in range(2))
    values[0], weights[0] = target.scale * given[0] + target.shift, 1
    others = (other for way, direction in zip(ways, (1, -1)) for other in _flows(way, direction))
    for i, ((other, flow), line) in enumerate(zip(others, lines[1:]), 1):
        check()
        sure, flow = resize(flow[:, 2:], size), enlarged(flow[:, :2], size)
        color, near = warp(torch.cat([_on(device, other.image).clamp(0, 1), _on(device, other.disparity)], 1), flow).split(
            [3, 1], 1
        )
        missed = ((color - highest).clamp(min=0) + (lowest - color).clamp(min=0)).amax(1, keepdim=True)
        weights[i] = (sure * torch.exp(-(missed / SAME_COLOR).square()))[0]
        same_scale = line.back().then(target)
        values[i] = same_scale.scale * near[0] + same_scale.shift
    mended = _agreed(values.flatten(1), weights.flatten(1), check).view_as(given).clamp(0, 1)
    return torch.lerp(given, mended, strength).to(frame.disparity)


def _on(device: torch.device, values: Tensor) -> Tensor:
    return values.to(device).float()


def _way(held: Sequence[_Seen], here: int, direction: int) -> Iterator[tuple[_Seen, _Link]]:
    """Frames after (1) or before (-1) one, up to a cut, each with the link that leads to it."""
    for i in range(here + direction, here + direction * (REACH + 1), direction):
        if not 0 <= i < len(held):
            return
        link = held[min(i, i - direction)].link
        assert link is not None
        if link.is_cut:
            return
        yield held[i], link


def _stands_still(links: Sequence[_Link]) -> bool:
    unrest = sum(link.unrest for link in links) / len(links)
    return unrest < STEP / 2 and sum(link.line.jump() for link in links) / len(links) < STEP


def _flows(way: Sequence[tuple[_Seen, _Link]], direction: int) -> Iterator[tuple[_Seen, Tensor]]:
    """The frames of a way, and where the pixels of its start are in them: (1, 3, h, w), with 1 where that is sure all the way."""
    whole = None
    for frame, link in way:
        step = link.ahead if direction > 0 else link.back
        if whole is not None:
            onward = warp(step, whole[:, :2])
            step = torch.cat([whole[:, :2] + onward[:, :2], whole[:, 2:] * (onward[:, 2:] > 0.9)], 1)
        whole = step
        yield frame, whole


def _agreed(values: Tensor, weights: Tensor, check: Callable[[], None]) -> Tensor:
    """Mean (1, N) of those values (F, N) that most of the weights speak for."""
    parts = []
    for value, weight in zip(values.split(PIXELS_AT_ONCE, 1), weights.split(PIXELS_AT_ONCE, 1)):
        check()
        middle = (value * weight).sum(0) / weight.sum(0)
        for width in WIDTHS:
            vote = weight * (torch.exp(-((value - middle) / width).square()) + 1e-6)
            middle = (value * vote).sum(0) / vote.sum(0)
        parts.append(middle)
    return torch.cat(parts)[None]
