"""Clips on the command line: the pictures are those of the library, one frame at a time, and a run can be stopped and gone on with."""

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from magicbokeh_ops import defocus, depth, files, lens
from magicbokeh_ops.cli.inputs import load_network
from magicbokeh_ops.steady import REACH, steady
from magicbokeh_ops.video import depths, estimated, reading
from magicbokeh_ops.video.reading import Clip
from magicbokeh_ops.video.sequences import Sequence
from tests.support.lens_command import call
from tests.support.video_files import BT709, BT2020_HLG, BT2020_PQ, are_equal, draw, frames_of, sound_of, write_clip

PACK = Path(__file__).parents[2]
DEPTH = PACK / "tests" / "parity" / "golden" / "depth" / "DAdepth_tiny.pth"
SIZE = (48, 64)


def scene(index: int, bits: int = 10):
    """A textured square that goes to the right over a texture."""
    low, high = 64 << (bits - 8) >> 2, 940 >> (10 - bits)
    luma = draw(0, (48, 128), bits, low, high // 2)[:, index % 60 : index % 60 + 64].copy()
    luma[12:36, 10 + index % 30 : 30 + index % 30] = draw(1, (24, 20), bits, high // 2, high)
    return [luma, *(np.full((24, 32), 2 ** (bits - 1)),) * 2]


def nearness(index: int):
    luma = np.tile(np.linspace(100, 400, 64), (48, 1)).astype(np.uint16)
    luma[12:36, 10 + index % 30 : 30 + index % 30] = 900 - index
    return [luma, *(np.full((24, 32), 512),) * 2]


@pytest.fixture
def clip(tmp_path):
    write_clip(tmp_path / "clip.mkv", scene, 12)
    write_clip(tmp_path / "depth.mkv", nearness, 12)
    return tmp_path


def batch(path: Path) -> torch.Tensor:
    return torch.cat([frame.image for frame in Clip(path).frames()])


def levels(path: Path) -> torch.Tensor:
    return torch.cat(list(Clip(path).levels()))


@pytest.mark.parametrize("where", ["clip", "folder", pytest.param("pattern", marks=pytest.mark.long)])
def test_frames_are_those_of_a_batch(clip, where):
    """One scale and one focus for all of them."""
    photos, maps = batch(clip / "clip.mkv"), levels(clip / "depth.mkv")
    given = clip / "depth.mkv"
    if where != "clip":
        (clip / "maps").mkdir()
        for index, values in enumerate(maps.split(1)):
            files.write_map(clip / "maps" / f"map_{index}.npy", values)
        given = clip / "maps" if where == "folder" else clip / "maps" / "map_%d.npy"
    near = defocus.normalize(maps)
    focus = defocus.focus_from_point(near, 0.4, 0.5)
    told = call(clip / "clip.mkv", "-d", given, "--focus-point", "0.4,0.5", "--k", 5, "-o", clip / "out.mkv")
    assert f"focus {focus:.4f}" in told
    expected = lens.render(photos, near, focus, 5)
    assert (batch(clip / "out.mkv") - expected).abs().max() < 3 / 1023
    assert (batch(clip / "out.mkv") - photos).abs().max() > 0.1


CODES = {
    "SDR, all codes": ("yuv420p10le", BT709, 1, 0, 1023),
    "SDR, full range": ("yuv422p10le", BT709, 2, 0, 1023),
    "SDR, 8 bits": ("yuv420p", BT709, 1, 0, 255),
    "PQ": ("yuv420p10le", BT2020_PQ, 1, 0, 1023),
    "PQ, 12 bits": ("yuv444p12le", BT2020_PQ, 1, 0, 4095),
    "HLG": ("yuv420p10le", BT2020_HLG, 1, 0, 1023),
    "RGB": ("gbrp10le", (1, 13, 0), 2, 0, 1023),
}


@pytest.mark.parametrize("kind", CODES)
def test_without_blur_codes_stay(tmp_path, kind):
    """All there are, at random: most are colours that no picture can hold."""
    pix_fmt, tags, color_range, low, high = CODES[kind]
    bits = 8 if pix_fmt == "yuv420p" else int(pix_fmt.removesuffix("le")[-2:])
    across, down = {"yuv420p": (2, 2), "yuv422p": (2, 1)}.get(pix_fmt[:7], (1, 1))
    shapes = [SIZE] + [(SIZE[0] // down, SIZE[1] // across)] * 2

    def planes(index: int):
        return [draw(3 * index + i, shape, bits, low, high) for i, shape in enumerate(shapes)]

    write_clip(tmp_path / "clip.mkv", planes, 2, pix_fmt=pix_fmt, tags=tags, color_range=color_range)
    write_clip(tmp_path / "depth.mkv", nearness, 2)
    call(tmp_path / "clip.mkv", "-d", tmp_path / "depth.mkv", "--focus", 0.5, "--k", 0, "-o", tmp_path / "out.mkv")
    assert Clip(tmp_path / "out.mkv").signal.coding == Clip(tmp_path / "clip.mkv").signal.coding
    for (_, before), (_, after) in zip(frames_of(tmp_path / "clip.mkv"), frames_of(tmp_path / "out.mkv"), strict=True):
        assert max(abs(a.astype(int) - b).max() for a, b in zip(before, after, strict=True)) <= 1


@pytest.mark.parametrize("tags", [BT2020_PQ, BT2020_HLG], ids=["PQ", "HLG"])
def test_hdr_is_blurred_as_light(tmp_path, tags):
    def lamp(_index: int):
        luma = np.full(SIZE, 200)
        luma[20:28, 28:36] = 900
        return [luma, *(np.full((24, 32), 512),) * 2]

    write_clip(tmp_path / "clip.mkv", lamp, 1, tags=tags)
    write_clip(tmp_path / "depth.mkv", nearness, 1)
    call(tmp_path / "clip.mkv", "-d", tmp_path / "depth.mkv", "--focus", 1, "--k", 8, "-o", tmp_path / "out.mkv")
    call(tmp_path / "clip.mkv", "-d", tmp_path / "depth.mkv", "--focus", 1, "--k", 8, "-o", tmp_path / "light")
    assert Clip(tmp_path / "out.mkv").space == "linear" and [path.name for path in (tmp_path / "light").iterdir()] == [
        "00000.exr"
    ]
    photo, near = batch(tmp_path / "clip.mkv"), defocus.normalize(levels(tmp_path / "depth.mkv"))
    assert photo.max() > 2
    expected = lens.render(photo, near, 1, 8, color_space="linear")
    assert torch.equal(files.read_photo(tmp_path / "light" / "00000.exr", "linear")[0], expected)
    coded = Clip(tmp_path / "out.mkv").signal.to_planes(expected, None)
    stored = frames_of(tmp_path / "out.mkv")[0][1]
    assert max(abs(a.numpy().astype(int) - b).max() for a, b in zip(coded, stored)) <= 1


@pytest.mark.long
def test_frames_come_and_go_one_at_a_time(tmp_path, monkeypatch):
    """However long the clip is: besides the frame that is worked on, stages hold the one before."""
    made, held, most = reading.Clip._frame, [], []

    def counted(self, *arguments):
        frame = made(self, *arguments)
        held.append(weakref.ref(frame))
        most.append(sum(one() is not None for one in held))
        return frame

    monkeypatch.setattr(reading.Clip, "_frame", counted)
    write_clip(tmp_path / "clip.mkv", scene, 60)
    write_clip(tmp_path / "depth.mkv", nearness, 60)
    call(tmp_path / "clip.mkv", "-d", tmp_path / "depth.mkv", "--focus", 0.5, "--k", 2, "-o", tmp_path / "out.mp4")
    assert len(most) == 60 and max(most) <= 2


@pytest.mark.long
def test_a_depth_network_looks_at_a_part_of_the_clip_first(tmp_path, monkeypatch):
    write_clip(tmp_path / "clip.mkv", scene, 30)
    seen = []
    monkeypatch.setattr(estimated, "LOOKS", 12)
    network, clip = load_network(DEPTH, torch.device("cpu")), Clip(tmp_path / "clip.mkv")
    found = estimated.FoundDepths(network, clip, "percentile", lambda done, steps: seen.append((done, steps)), input_size=56)
    assert len(found.sample) == 12 and seen[0] == (0, 12) and seen[-1] == (12, 12)
    raw = torch.cat([depth.estimate(network, frame.image, 56) for frame in clip.frames()])
    assert torch.equal(
        torch.stack(found.ends), torch.stack(defocus.find_range(lambda: raw[sorted(depths.spread(30, 12))], "percentile"))
    )
    monkeypatch.setattr(estimated, "LOOKS", 30)
    whole = estimated.FoundDepths(network, clip, "percentile", lambda *_: None, input_size=56)
    near = torch.cat([frame.disparity for frame in whole(clip.frames())])
    assert torch.equal(near, defocus.normalize(raw))
    assert depths.spread(30, 30) == set(range(30)) and {0, 99} < depths.spread(100, 30) and len(depths.spread(100, 30)) == 30
    told = call(
        tmp_path / "clip.mkv", "--depth-model", DEPTH, "--input-size", 56, "--focus-point", "0.5,0.5", "-o", tmp_path / "o.mp4"
    )
    assert f"focus {defocus.focus_from_point(near, 0.5, 0.5):.4f}" in told


def test_a_photo_takes_a_depth_model_too(tmp_path):
    np.save(tmp_path / "photo.npy", np.random.default_rng(0).random((60, 80, 3), dtype=np.float32))
    call(
        tmp_path / "photo.npy", "--depth-model", DEPTH, "--input-size", 56, "--focus", 0.5, "--k", 5, "-o", tmp_path / "out.npy"
    )
    photo, _ = files.read_photo(tmp_path / "photo.npy")
    near = defocus.normalize(depth.disparity(load_network(DEPTH, torch.device("cpu")), photo, 56))
    expected = lens.render(photo, near, 0.5, 5)
    assert (files.read_photo(tmp_path / "out.npy")[0] - expected).abs().max() < 1e-6


@pytest.mark.long
def test_a_steadied_clip_is_gone_on_with(tmp_path, monkeypatch):
    """Frames that are new have all around them that they had in one go, and the network sees no more than that."""
    write_clip(tmp_path / "clip.mkv", scene, 30)
    asked = (tmp_path / "clip.mkv", "--depth-model", DEPTH, "--input-size", 56, "--focus", 0.5, "--k", 4)
    call(*asked, "-o", tmp_path / "plain", "--steady", 0)
    call(*asked, "-o", tmp_path / "frames")
    whole = [path.read_bytes() for path in sorted((tmp_path / "frames").iterdir())]
    plain = [path.read_bytes() for path in sorted((tmp_path / "plain").iterdir())]
    assert len(whole) == 30 and sum(one != other for one, other in zip(whole, plain)) > 20
    missing = {3, 4, 28}
    for index in missing:
        (tmp_path / "frames" / f"{index:05d}.png").unlink()
    predict, seen = estimated.predict, []
    monkeypatch.setattr(estimated, "predict", lambda *given: seen.append(1) or predict(*given))
    call(*asked, "-o", tmp_path / "frames", "--resume")
    assert [path.read_bytes() for path in sorted((tmp_path / "frames").iterdir())] == whole
    near = {i for i in range(30) if any(abs(i - index) <= REACH for index in missing)}
    assert len(seen) == 30 + len(near)  # the first look, and what is needed


@pytest.mark.long
def test_maps_that_are_given_are_steadied_if_asked(clip):
    jumping = [(nearness(i)[0] * (1 - 0.1 * (i % 2))).round() for i in range(12)]
    write_clip(clip / "jumping.mkv", lambda i: [jumping[i], *nearness(i)[1:]], 12)
    asked = (clip / "clip.mkv", "-d", clip / "jumping.mkv", "--normalize", "none", "--focus", 0, "--k", 6)
    for name, more in (("given", ()), ("off", ("--steady", 0)), ("on", ("--steady", 1))):
        call(*asked, "-o", clip / f"{name}.mkv", *more)
    given, off, on = (batch(clip / f"{name}.mkv") for name in ("given", "off", "on"))
    assert torch.equal(given, off) and not torch.equal(given, on)
    photos, maps = batch(clip / "clip.mkv"), torch.cat([*Clip(clip / "jumping.mkv").levels()])
    expected = lens.render(photos, steady(maps, photos), 0, 6)
    assert (on - expected).abs().max() < 3 / 1023


@pytest.mark.long
def test_pictures_in_and_out(clip):
    """Names and depth of pictures stay; a pattern numbers them on."""
    asked = ("-d", clip / "depth.mkv", "--focus", 0.5, "--k", 4)
    call(clip / "clip.mkv", *asked, "-o", clip / "frames")
    names = [path.name for path in Sequence(clip / "frames").paths]
    assert names == [f"{i:05d}.png" for i in range(12)] and files.read_origin(clip / "frames" / names[0]).is_deep
    call(clip / "clip.mkv", *asked, "-o", clip / "shot.%03d.exr")
    assert len(Sequence(clip / "shot.%03d.exr").paths) == 12
    call(clip / "shot.%03d.exr", *asked, "-o", clip / "out.mov", "--fps", "30000/1001")
    out = Clip(clip / "out.mov")
    assert (
        out.count == 12
        and out.signal.coding.format == "yuv422p10le"
        and float(out.signal.rate) == pytest.approx(29.97, abs=0.01)
    )
    message = call(clip / "frames", *asked, "-o", clip / "frames", code=1)
    assert "holds the frames themselves" in message


def test_pictures_sort_by_their_numbers(tmp_path):
    for index in (10, 9, 1):
        files.write_photo(tmp_path / f"frame {index}.png", torch.full((1, 3, 8, 8), index / 16))
    assert [path.stem for path in Sequence(tmp_path).paths] == ["frame 1", "frame 9", "frame 10"]
    assert [path.stem for path in Sequence(tmp_path / "frame %d.png").paths] == ["frame 1", "frame 9", "frame 10"]
    with pytest.raises(ValueError, match="stands for no file"):
        Sequence(tmp_path / "picture %d.png")
    files.write_photo(tmp_path / "frame 11.png", torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match="the frames of a clip have one size"):
        list(Sequence(tmp_path).frames())


def test_pictures_that_are_there_are_not_made_again(clip):
    asked = (clip / "clip.mkv", "-d", clip / "depth.mkv", "--focus", 0.5, "--k", 4, "-o", clip / "frames")
    call(*asked)
    whole = [path.read_bytes() for path in sorted((clip / "frames").iterdir())]
    (clip / "frames" / "00003.png").unlink()
    (clip / "frames" / "00004.png").write_bytes(b"kept")
    call(*asked, "--resume")
    after = [path.read_bytes() for path in sorted((clip / "frames").iterdir())]
    assert after[4] == b"kept" and after[:4] + after[5:] == whole[:4] + whole[5:]


def test_a_clip_without_depth_tilts(clip):
    call(clip / "clip.mkv", "--tilt", 1, "--k", 5, "-o", clip / "out.mkv")
    flat = torch.full((1, 1, *SIZE), 0.5)
    expected = lens.render(batch(clip / "clip.mkv"), flat, 0.5, 5, tilt=1)
    assert (batch(clip / "out.mkv") - expected).abs().max() < 3 / 1023


@pytest.mark.long
def test_every_frame_has_other_grain(tmp_path):
    noise = np.random.default_rng(0).normal(500, 35, (256, 256)).round()
    halves, chroma = np.repeat([100, 900], 128), [np.full((128, 128), 512)] * 2
    write_clip(tmp_path / "still.mkv", lambda _: [noise, *chroma], 2, size=(256, 256))
    write_clip(tmp_path / "depth.mkv", lambda _: [halves, *chroma], 2, size=(256, 256))
    asked = (tmp_path / "still.mkv", "-d", tmp_path / "depth.mkv", "--focus", 1, "--k", 6, "-o", tmp_path / "out.mkv")
    for grain, are_alike in ((0, True), (1, False)):
        call(*asked, "--grain", grain)
        first, second = batch(tmp_path / "out.mkv")
        assert torch.equal(first, second) == are_alike


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_run_that_was_ended_is_gone_on_with(tmp_path, how):
    write_clip(tmp_path / "clip.mp4", scene, 160, "libx265", sound="aac")
    write_clip(tmp_path / "depth.mkv", nearness, 160)
    asked = ["lens", str(tmp_path / "clip.mp4"), "-d", str(tmp_path / "depth.mkv"), "--focus", "0.5", "--k", "4"]
    out, whole = tmp_path / "out.mp4", tmp_path / "whole.mp4"
    command = [sys.executable, "-m", "magicbokeh_ops.cli", *asked, "-o", str(out)]
    run = subprocess.Popen(command, cwd=PACK, stderr=subprocess.PIPE, text=True)
    while not out.exists() or b"moof" not in out.read_bytes():  # the first fragment
        assert run.poll() is None
        time.sleep(0.02)
    os.kill(run.pid, how)
    told = run.communicate()[1]
    there = len(frames_of(out))
    assert 24 <= there < 160 and sound_of(out) and run.returncode != 0
    if how != signal.SIGKILL:
        assert f"Stopped. {out} has {there} of 160 frames; the same command with --resume goes on." in told
    call(*asked[1:], "-o", out, "--resume")
    call(*asked[1:], "-o", whole)
    assert are_equal(out, whole) and sound_of(out) == sound_of(tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--focus", 0.5), 2, "A clip needs --disparity (a clip or a folder of maps) or --depth-model."),
        (("-d", "short.mkv", "--focus", 0.5), 1, "short.mkv has 5 depth maps for the 12 frames of"),
        (("-d", "wide.mkv", "--focus", 0.5), 1, "wide.mkv is 64 x 24 pixels and the clip 64 x 48"),
        (("-d", "depth.mkv"), 2, "Say where the focus lies"),
        (("-d", "depth.mkv", "--focus", 0.5, "-o", "clip.mkv"), 1, "is the clip itself"),
        (("-d", "depth.mkv", "--focus", 0.5, "-o", "out.gif"), 1, "no ending of a video that can be written"),
        (("-d", "depth.mkv", "--focus", 0.5, "-o", "nowhere/out.mp4"), 1, "there is no folder"),
        (("-d", "depth.mkv", "--depth-model", DEPTH, "--focus", 0.5), 2, "either --disparity or --depth-model"),
        (("-d", "depth.mkv", "--focus", 0.5, "--matte", "depth.mkv"), 2, "--matte is for photos"),
        (("-d", "depth.mkv", "--focus", 0.5, "--fps", "fast"), 2, "fast"),
        (("-d", "empty", "--focus", 0.5), 1, "empty holds no file ending in"),
    ],
)
def test_errors_are_one_line(clip, monkeypatch, arguments, code, message):
    monkeypatch.chdir(clip)
    write_clip(clip / "short.mkv", nearness, 5)
    write_clip(clip / "wide.mkv", lambda i: [nearness(i)[0][:24], *(np.full((12, 32), 512),) * 2], 12, size=(24, 64))
    (clip / "empty").mkdir()
    last = call("clip.mkv", "-o", "out.mp4", *arguments, code=code).strip().splitlines()[-1]
    assert last.startswith("Error: ") and message in last


def test_interlaced_video_is_refused(tmp_path):
    write_clip(
        tmp_path / "clip.mkv", lambda i: scene(i, 8), 3, "libx264", "yuv420p", flags="+ildct+ilme", **{"x264-params": "tff=1"}
    )
    with pytest.raises(ValueError, match="is interlaced"):
        Clip(tmp_path / "clip.mkv")
