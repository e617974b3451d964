"""A focus that follows, on the command line: what the library gives for the whole clip at once."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from magicbokeh_ops import files, lens, tracking
from magicbokeh_ops.cli import clip as clip_command
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.focus import focus_from_point
from magicbokeh_ops.keys import focus_of, k_of, read_keys
from magicbokeh_ops.steady import REACH
from magicbokeh_ops.synthesis.moving import crossing
from magicbokeh_ops.tracking import follow
from magicbokeh_ops.video import estimated, sequences, stages
from tests.support.lens_command import call
from tests.support.model_files import DEPTH

FRAMES, SIZE = 16, 96


@cache
def scene(size: int = SIZE, frames: int = FRAMES):
    """Photos (N, 3, H, W), disparity and masks of the nearer subject (N, 1, H, W) of a clip, and the clip itself."""
    made = crossing(size, frames, seed=2, margin=2)
    light, disparity = zip(*(made.photo(i) for i in range(frames)))
    masks = torch.stack([made.masks(i)[:1] for i in range(frames)])
    return linear_to_srgb(torch.stack(light)).clamp(0, 1), torch.stack(disparity), masks, made


def write(folder: Path, photos, disparity, masks) -> Path:
    """Pictures and maps without any rounding, and a command's arguments for them."""
    for name, planes in (("photos", photos), ("maps", disparity), ("masks", masks)):
        (folder / name).mkdir()
        for i, frame in enumerate(planes):
            np.save(folder / name / f"{i}.npy", frame.movedim(0, -1).numpy())
    return folder


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path, *scene()[:3])


@pytest.fixture
def lens_gets(monkeypatch):
    """Focus, k and disparity of each frame that is photographed, by its index."""
    photographed, got = stages.photographed, {}

    def noted(frames, *arguments):
        def note():
            for frame in frames:
                if not frame.is_done:
                    got[frame.index] = frame.focus, frame.k, frame.disparity
                yield frame

        return photographed(note(), *arguments)

    monkeypatch.setattr(clip_command, "photographed", noted)
    return got


def run(folder: Path, *arguments, code: int = 0) -> str:
    """Of the clip with its maps, as they are."""
    given = (folder / "photos", "-d", folder / "maps", "--normalize", "none", "-o", folder / "out")
    return call(*given, *arguments, code=code)


def maker(planes):
    return lambda i: planes[i : i + 1]


def by_point(photos, disparity, cuts, start, x, y):
    seen = tracking.by_point(maker(photos), maker(disparity), len(photos), cuts, start, x, y)
    return [None if place is None else place.disparity for place in seen]


def foci(lens_gets) -> list[float]:
    return [lens_gets[i][0] for i in sorted(lens_gets)]


def test_a_point_is_followed(clip, lens_gets):
    """To the bit; the pictures are those of such a focus."""
    photos, disparity, _, made = scene()
    x, y = made.point(0, 5)
    told = run(clip, "--track", f"{x},{y}", "--track-frame", 5, "--k", 5, "--smoothing", 2)
    focus = tracking.pull(by_point(photos, disparity, [], 5, x, y), [], 2, 0.04)
    assert foci(lens_gets) == focus and np.ptp(focus) > 0.01
    assert focus == pytest.approx(made.path(0), abs=0.02)
    assert f"focus {min(focus):.4f} to {max(focus):.4f}, K 5" in told
    for i in (0, 9):
        expected = lens.render(photos[i : i + 1], disparity[i : i + 1], focus[i], 5)
        assert (files.read_photo(clip / "out" / f"{i}.png")[0] - expected).abs().max() < 1 / 255


def test_masks_are_followed(clip, lens_gets):
    """By a folder or a pattern; where they are empty, that is said."""
    photos, disparity, masks, made = scene()
    for i in (3, 4, 15):
        np.save(clip / "masks" / f"{i}.npy", np.zeros((SIZE, SIZE), np.float32))
    masks = masks.clone()
    masks[[3, 4, 15]] = 0
    measured = tracking.by_masks(maker(disparity), maker(masks), FRAMES, [])
    told = run(clip, "--focus-mask", clip / "masks", "--max-speed", 0.01, "--k", 1)
    assert foci(lens_gets) == tracking.pull(measured, [], 6, 0.01)
    for line in tracking.describe(measured, [], "the subject"):
        assert line in told
    assert "Frames 3 to 4: the subject is lost, and found again" in told
    first = foci(lens_gets)
    run(clip, "--focus-mask", clip / "masks" / "%d.npy", "--max-speed", 0.01, "--k", 1)
    assert foci(lens_gets) == first


def test_one_mask_is_one_focus(clip, lens_gets):
    run(clip, "--focus-mask", clip / "masks" / "0.npy", "--k", 1)
    assert len(set(foci(lens_gets))) == 1


def test_cuts_are_found_and_drawn(tmp_path, lens_gets):
    photos, disparity, masks, made = scene()
    photos, disparity = torch.cat([photos, 1 - photos]), torch.cat([disparity, 0.3 * disparity])
    write(tmp_path, photos, disparity, torch.cat([masks, masks]))
    told = run(tmp_path, "--focus-mask", tmp_path / "masks", "--save-plot", tmp_path / "plot.png", "--k", 1)
    assert f"Cut at frame {FRAMES}." in told
    measured = tracking.by_masks(maker(disparity), maker(torch.cat([masks, masks])), 2 * FRAMES, [FRAMES])
    focus = tracking.pull(measured, [FRAMES], 6, 0.04)
    assert foci(lens_gets) == focus
    drawn = tracking.draw_plot(focus, measured, [FRAMES])
    assert (files.read_photo(tmp_path / "plot.png")[0] - drawn).abs().max() < 1 / 255


@pytest.mark.long
def test_keys(clip, lens_gets):
    """Points are looked up in their own frames only, values in none."""
    _, disparity, _, made = scene()
    x, y = made.point(0, 9)
    for text in ("0: 0.9 k 2, 5: 0.2 ease", f"0: 0.9 k 2, 9: ({x}, {y}) k 8 ease", "4: k 3, 8: 0.25 k 9"):
        written = read_keys(text)
        run(clip, "--keys", text)
        focus = focus_of(written, FRAMES, lambda i, point: focus_from_point(disparity[i : i + 1], *point))
        assert foci(lens_gets) == focus
        assert [lens_gets[i][1] for i in range(FRAMES)] == k_of(written, FRAMES)
    (clip / "keys.txt").write_text("0: 0.9\n15: 0.1 hold\n", encoding="utf-8")
    run(clip, "--keys", clip / "keys.txt", "--k", 7)
    assert [lens_gets[i][:2] for i in range(FRAMES)] == [(0.9, 7)] * 15 + [(0.1, 7)]


@pytest.mark.long
def test_frames_that_keys_do_not_need_are_not_looked_at(clip, monkeypatch):
    asked, frames = [], sequences.Sequence.frames

    def noted(self, *arguments, only=None):
        asked.append(only)
        return frames(self, *arguments, only=only)

    monkeypatch.setattr(sequences.Sequence, "frames", noted)
    run(clip, "--keys", "0: 0.9, 15: 0.2", "--k", 1)
    assert asked == [None]  # to photograph them
    run(clip, "--keys", "0: 0.9, 12: (0.5, 0.5)", "--k", 1)
    assert asked[1:] == [{12}, None]
    run(clip, "--keys", "0: 0.9, 12: (0.5, 0.5)", "--k", 1, "--steady", 1)
    assert asked[3:] == [set(range(12 - REACH, 12 + REACH + 1)), None]


@pytest.mark.long
def test_k_of_keys_goes_with_a_focus_of_another_kind(clip, lens_gets):
    x, y = scene()[3].point(0, 0)
    for focus in (("--focus", 0.4), ("--track", f"{x},{y}")):
        run(clip, *focus, "--keys", "0: k 2, 15: k 8 hold")
        assert [lens_gets[i][1] for i in range(FRAMES)] == [2] * 15 + [8]
    assert np.ptp(foci(lens_gets)) > 0.01


@pytest.mark.long
def test_large_frames_are_followed_in_small_ones(tmp_path, lens_gets):
    """A point as the library does, to the bit; what masks show, in other pixels."""
    photos, disparity, masks, made = scene(540, 4)
    write(tmp_path, photos, disparity, masks)
    x, y = made.point(0, 0)
    run(tmp_path, "--track", f"{x},{y}", "--k", 0)
    assert foci(lens_gets) == tracking.pull(by_point(photos, disparity, [], 0, x, y), [], 6, 0.04)
    run(tmp_path, "--focus-mask", tmp_path / "masks", "--k", 0)
    measured = tracking.by_masks(maker(disparity), maker(masks), 4, [])
    assert foci(lens_gets) == pytest.approx(tracking.pull(measured, [], 6, 0.04), abs=0.005)


@pytest.mark.long
def test_with_a_tilt_the_focus_is_that_of_the_middle(clip, lens_gets):
    """So that the plane of focus goes through what is followed."""
    photos, disparity, masks, made = scene()
    flat = torch.full_like(disparity, 0.5)
    x, y = made.point(0, 0)
    call(clip / "photos", "--tilt", 0.4, "--track", f"{x},{y}", "--k", 1, "--smoothing", 0, "-o", clip / "out")
    seen = tracking.by_point(maker(photos), maker(flat), FRAMES, [], 0, x, y)
    assert foci(lens_gets) == pytest.approx(tracking.pull([0.5 - 0.4 * (place.y - 0.5) for place in seen], [], 0, 0.04))
    run(clip, "--tilt", 0.4, "--focus-mask", clip / "masks", "--k", 1, "--smoothing", 0, "--max-speed", 0)
    rows = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    middle = [float((mask[0] * rows[:, None]).sum() / mask.sum()) for mask in masks]
    level = tracking.by_masks(maker(disparity), maker(masks), FRAMES, [])
    assert foci(lens_gets) == pytest.approx([value - 0.4 * y for value, y in zip(level, middle)], abs=1e-5)


# With a depth model


@pytest.mark.long
def test_a_depth_network_sees_each_frame_once(clip, monkeypatch, lens_gets):
    """And a clip that is followed has the disparity of one that is not."""
    monkeypatch.setattr(estimated, "LOOKS", 5)
    given = (clip / "photos", "--depth-model", DEPTH, "--input-size", 56, "--steady", 0, "--k", 1, "-o", clip / "out")
    predict, seen = estimated.predict, []
    monkeypatch.setattr(estimated, "predict", lambda *given: seen.append(1) or predict(*given))
    call(*given, "--focus", 0.5)
    assert len(seen) == 5 + FRAMES
    plain = [lens_gets[i][2] for i in range(FRAMES)]
    seen.clear()
    call(*given, "--track", "0.5,0.5")
    assert len(seen) == FRAMES
    assert all(torch.equal(before, lens_gets[i][2]) for i, before in enumerate(plain))
    disparity = torch.cat(plain)
    assert foci(lens_gets) == tracking.pull(by_point(scene()[0], disparity, [], 0, 0.5, 0.5), [], 6, 0.04)


@pytest.mark.long
def test_the_focus_is_that_of_steadied_disparity(tmp_path, monkeypatch, lens_gets):
    """To the bit if frames are small; in those that become small, near it."""
    photos, disparity, masks, made = scene(160, 8)
    jumping = torch.stack([near * (1 - 0.06 * (i % 2)) for i, near in enumerate(disparity)])
    write(tmp_path, photos, jumping, masks)
    x, y = made.point(0, 0)
    asked = ("--track", f"{x},{y}", "--k", 1, "--smoothing", 0, "--max-speed", 0, "--steady", 1)
    run(tmp_path, *asked)
    photographed = torch.cat([lens_gets[i][2] for i in range(8)])
    exact = tracking.pull(by_point(photos, photographed, [], 0, x, y), [], 0, 0)
    assert foci(lens_gets) == exact
    given = tracking.pull(by_point(photos, jumping, [], 0, x, y), [], 0, 0)
    assert max(abs(a - b) for a, b in zip(exact, given)) > 0.015
    run(tmp_path, "--keys", f"0: 0.5, 1: ({x}, {y})", "--k", 1, "--steady", 1)
    assert lens_gets[1][0] == focus_from_point(photographed[1:2], x, y)
    monkeypatch.setattr(follow, "SIDE", 128)
    run(tmp_path, *asked)
    assert foci(lens_gets) != exact and foci(lens_gets) == pytest.approx(exact, abs=0.01)


# Again, and after errors


@pytest.mark.long
def test_a_run_that_goes_on_has_the_same_focus(clip, lens_gets):
    x, y = scene()[3].point(0, 0)
    asked = ("--track", f"{x},{y}", "--k", 4)
    run(clip, *asked)
    whole = [path.read_bytes() for path in sorted((clip / "out").iterdir())]
    path = dict(lens_gets)
    for index in (3, 11):
        (clip / "out" / f"{index}.png").unlink()
    lens_gets.clear()
    run(clip, *asked, "--resume")
    assert {index: got[:2] for index, got in lens_gets.items()} == {index: path[index][:2] for index in (3, 11)}
    assert [path.read_bytes() for path in sorted((clip / "out").iterdir())] == whole


@pytest.mark.long
def test_nothing_is_left_behind(clip, monkeypatch):
    """Of temporary files, after success and after an error."""
    (clip / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(clip / "temporary"))
    opened, make = [], tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: opened.append(make(**given)) or opened[-1])
    run(clip, "--track", "0.5,0.5", "--k", 1)
    np.save(clip / "masks" / "9.npy", np.full((SIZE, SIZE), 255, np.float32))
    assert "masks goes from 255 to 255" in run(clip, "--focus-mask", clip / "masks", "--k", 1, code=1)
    assert len(opened) == 2 and all(file.closed for file in opened) and not list((clip / "temporary").iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--track", "0.5"), 2, "'0.5' is not two numbers"),
        (("--track", "1.5,0.5"), 2, "'1.5,0.5' is not in the picture; both numbers go from 0 to 1"),
        (("--track", "0.5,0.5", "--track-frame", 16), 2, "--track-frame is 16, but the clip's 16 frames end with 15"),
        (("--track", "0.5,0.5", "--focus", 0.5), 2, "Say where the focus lies with one of"),
        (("--track", "0.5,0.5", "--keys", "0: 0.5"), 2, "Say where the focus lies with one of"),
        (("--keys", "0: k 3"), 2, "Say where the focus lies with one of"),
        (("--keys", "0: 0.5, 99: 0.2"), 1, "keys has a key at frame 99, but the clip's 16 frames end with 15"),
        (("--keys", "nowhere.txt"), 1, "keys has 'nowhere.txt', which is no key"),
        (("--focus-mask", "three"), 1, "three has 3 masks for the 16 frames of photos; give one for each"),
        (("--focus-mask", "empty"), 1, "empty shows nothing in any frame; its masks are white"),
        (("--focus-mask", "wide"), 1, "wide is 192 x 96 pixels and the clip 96 x 96"),
        (("--focus-mask", "loud"), 1, "loud goes from 0 to 255; it must lie in 0..1"),
        (("--focus", 0.5, "--smoothing", 2), 2, "--smoothing is for a focus that follows; give --track, or --focus-mask"),
        (("--keys", "0: 0.5", "--max-speed", 0.1), 2, "--max-speed is for a focus that follows"),
        (("--focus", 0.5, "--track-frame", 2), 2, "--track-frame is for the point of --track; give that too"),
        (("--focus", 0.5, "--save-plot", "plot.png"), 2, "--save-plot is for a focus that follows"),
        (("--track", "0.5,0.5", "--save-plot", "nowhere/plot.png"), 1, "there is no folder"),
        (("--track", "0.5,0.5", "--focal-length", 50, "--f-number", 2, "--focus-distance", 2), 2, "Leave out --track"),
    ],
)
def test_errors_are_one_line(clip, monkeypatch, arguments, code, message):
    monkeypatch.chdir(clip)
    masks = torch.zeros(FRAMES, 1, SIZE, SIZE)
    wide = (torch.arange(2 * SIZE) > SIZE).float().expand(FRAMES, 1, SIZE, -1)
    for name, planes in (("three", masks[:3]), ("empty", masks), ("wide", wide), ("loud", 255 * scene()[2])):
        Path(name).mkdir()
        for i, mask in enumerate(planes):
            np.save(Path(name, f"{i}.npy"), mask[0].numpy())
    last = call("photos", "-d", "maps", "-o", "out", *arguments, code=code).strip().splitlines()[-1]
    assert last.startswith("Error: ") and message in last
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--track", "0.5,0.5"),
        ("--keys", "0: 0.5"),
        ("--smoothing", 6, "--focus", 0.5),
        ("--save-plot", "plot.png", "--focus", 0.5),
    ],
)
def test_a_photo_has_one_focus(clip, arguments):
    told = call(clip / "photos" / "0.npy", "-d", clip / "maps" / "0.npy", *arguments, "-o", clip / "out.png", code=2)
    assert told.strip().splitlines()[-1] == f"Error: {arguments[0]} is for clips; leave it out for a photo."
    told = call(
        clip / "photos" / "0.npy", "-d", clip / "maps" / "0.npy", "--focus-mask", clip / "masks", "-o", clip / "out.png", code=2
    )
    assert "masks of each frame are for clips" in told
