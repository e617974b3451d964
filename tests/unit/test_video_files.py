"""Videos in and out: codes, light, times, tags and sound survive; a file that was cut off plays, and is gone on with."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from magicbokeh_ops.video import transfer
from magicbokeh_ops.video.codes import Coding, coding_of, read_planes
from magicbokeh_ops.video.reading import Clip
from magicbokeh_ops.video.signal import turned, turned_back
from magicbokeh_ops.video.writing import SEGMENT, ClipWriter
from tests.support.video_files import (
    BT709,
    BT2020_HLG,
    BT2020_PQ,
    are_equal,
    draw,
    frames_of,
    seconds,
    sound_of,
    times_of,
    write_clip,
)

PACK = Path(__file__).parents[2]


def smooth(index: int, bits: int = 10, shape=((48, 64), (24, 32), (24, 32))):
    """Codes that change from frame to frame and that a lossy encoder likes."""
    unit = 2 ** (bits - 8)
    rows, columns = np.mgrid[0 : shape[0][0], 0 : shape[0][1]]
    return [(60 + columns + rows + 2 * index) * unit, *(np.full(size, (124 + index % 9) * unit) for size in shape[1:])]


def uneven(index: int) -> int:
    return 3000 * index + 1500 * (index // 3)


def copy(source: Path, target: Path, stop: int | None = None, **options) -> ClipWriter:
    """A clip into another file, without a lens. stop: frames after which to close it."""
    clip = Clip(source)
    writer = ClipWriter(target, clip.signal, clip.space, clip, **options)
    for frame in clip.frames(writer.is_done, writer.pass_on):
        if frame.index == stop:
            break
        writer.write(frame)
    writer.close()
    return writer


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("is_full", [False, True])
def test_colours_are_those_of_ffmpeg(matrix, is_full):
    frame = av.VideoFrame(32, 16, "yuv444p")
    planes = [draw(1, (16, 32), 8, 90, 150), draw(2, (16, 32), 8, 110, 140), draw(3, (16, 32), 8, 110, 140)]
    for plane, codes in zip(frame.planes, planes):
        np.frombuffer(plane, np.uint8).reshape(16, -1)[:, :32] = codes
    frame.colorspace, frame.color_range = matrix, 2 if is_full else 1
    expected = frame.reformat(format="gbrpf32le", src_colorspace=matrix, src_color_range=2 if is_full else 1).to_ndarray()
    coding = coding_of(frame)
    assert coding == Coding("yuv444", 8, is_full, matrix)
    rgb = coding.to_rgb(read_planes(frame, coding))[0].permute(1, 2, 0).numpy()
    assert np.abs(rgb - expected).max() < 1 / 255


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("layout", ["yuv420", "yuv422", "yuv444", "yuv440", "gbr"])
def test_codes_come_back_exactly(layout, bits, is_full):
    """Also those that are no colours, and for sides that chroma does not divide."""
    coding = Coding(layout, bits, is_full or layout == "gbr", 0 if layout == "gbr" else 9)
    frame = av.VideoFrame(63, 47, coding.format)
    planes = [
        torch.from_numpy(draw(i, (plane.height, plane.width), bits).astype(np.int32)) for i, plane in enumerate(frame.planes)
    ]
    for plane, back in zip(planes, coding.to_planes(coding.to_rgb(planes)), strict=True):
        assert (plane - back.int()).abs().max() == 0


def test_hdr_is_light_in_which_reference_white_is_1():
    """By the tables of ITU-R BT.2408: PQ has 203 cd/m2 at 58 %, 100 at 51 % and 1000 at 75 %; HLG has the reference at 75 %."""
    light = torch.tensor([0.0, 100 / 203, 1.0, 1000 / 203, 10000 / 203])
    assert torch.allclose(transfer.linear_to_pq(light), torch.tensor([0.0, 0.508, 0.581, 0.752, 1.0]), atol=1e-3)
    assert transfer.hlg_to_linear(torch.tensor([0.75])).item() == pytest.approx(1)
    assert transfer.linear_to_hlg(torch.tensor([0.0, 3.774])) == pytest.approx(torch.tensor([0.0, 1.0]), abs=1e-3)
    signal = torch.linspace(0, 1, 4097)
    for there, back in ((transfer.pq_to_linear, transfer.linear_to_pq), (transfer.hlg_to_linear, transfer.linear_to_hlg)):
        assert (back(there(signal)) - signal).abs().max() < 1e-4
        assert (there(signal).diff() >= 0).all()


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_pictures_are_upright(tmp_path, rotation):
    clip = Clip(write_clip(tmp_path / "clip.mp4", smooth, 3, "libx265", rotation=rotation))
    with av.open(str(clip.path)) as file:
        frame = next(file.decode(video=0))
        assert frame.rotation % 360 == rotation
    stored = clip.signal.coding.to_rgb(read_planes(frame, clip.signal.coding)).clamp(min=0)
    upright = next(clip.frames()).image
    assert torch.equal(upright, torch.rot90(stored, rotation // 90, (-2, -1)))
    assert upright.shape[-2:] == clip.signal.shown_size


def test_turns_and_mirrors_go_back():
    picture = torch.rand(1, 3, 4, 6)
    for a, b, c, d in (
        (1, 0, 0, 1),
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (0, 1, 1, 0),
        (0.7, 0.7, -0.7, 0.7),
    ):
        turn = tuple(round(65536 * part) for part in (a, b, 0, c, d))
        assert torch.equal(turned_back(turned(picture, turn), turn), picture)
    assert torch.equal(turned(picture, (0, 65536, 0, -65536, 0)), torch.rot90(picture, -1, (-2, -1)))


KINDS = {
    "8 bits": ("libx264", "yuv420p", "mp4", BT709, "left"),
    "PQ": ("libx265", "yuv420p10le", "mp4", BT2020_PQ, "topleft"),
    "HLG to ProRes": ("libx265", "yuv422p10le", "mov", BT2020_HLG, None),
    "8 bits to FFV1": ("libx264", "yuv420p", "mkv", BT709, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_video_says_is_kept(tmp_path, kind):
    codec, pix_fmt, ending, tags, siting = KINDS[kind]
    shape = ((48, 64), (48, 32), (48, 32)) if "422" in pix_fmt else ((48, 64), (24, 32), (24, 32))
    bits = 10 if "10" in pix_fmt else 8
    source = write_clip(
        tmp_path / "clip.mp4", lambda i: smooth(i, bits, shape), 30, codec, pix_fmt, tags=tags, rotation=90, sound="aac",
        siting=siting, starts=uneven,
    )  # fmt: skip
    copy(source, tmp_path / f"out.{ending}")
    before, after = Clip(source).signal, Clip(tmp_path / f"out.{ending}").signal
    kept = ["size", "primaries", "transfer", "range", "turn"] + (["siting"] if siting else [])
    assert [getattr(before, name) for name in kept] == [getattr(after, name) for name in kept]
    assert (before.primaries, before.transfer, before.coding.matrix) == tags and before.siting == (siting or before.siting)
    assert after.coding.matrix == before.coding.matrix and after.coding.bits >= before.coding.bits
    times, sounds = times_of(tmp_path / f"out.{ending}"), sound_of(tmp_path / f"out.{ending}")
    assert [sound for sound, _ in sounds] == [sound for sound, _ in sound_of(source)]
    if ending == "mkv":  # counts in ms, from the first sample of sound
        shift = times[0] - 0
        assert max(abs(a - b - shift) for a, b in zip(times, times_of(source), strict=True)) <= Fraction(1, 1000)
        assert max(abs(a[1] - b[1] - shift) for a, b in zip(sounds, sound_of(source), strict=True)) <= Fraction(1, 500)
    else:
        assert times == times_of(source) and sounds == sound_of(source)
    assert abs(seconds(tmp_path / f"out.{ending}") - seconds(source)) <= 1 / 24


def test_a_file_that_was_closed_is_an_ordinary_one(tmp_path):
    """Editors can't do much with one in fragments."""
    copy(write_clip(tmp_path / "clip.mkv", smooth, 60), tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.find(b"moov") > 0 and b"trex" not in content[content.rfind(b"moov") :]


KILLED = """
import os, sys
from pathlib import Path
from tests.unit.test_video_files import Clip, ClipWriter
clip = Clip(Path(sys.argv[1]))
writer = ClipWriter(Path(sys.argv[2]), clip.signal, clip.space, clip)
for frame in clip.frames(writer.is_done, writer.pass_on):
    writer.write(frame)
    if frame.index == 60:
        os._exit(9)
"""


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_what_was_cut_off_plays_and_is_gone_on_with(tmp_path, ending, is_killed):
    source = write_clip(tmp_path / "clip.mp4", smooth, 80, "libx265", sound="aac", starts=uneven)
    whole, broken = tmp_path / f"whole.{ending}", tmp_path / f"broken.{ending}"
    copy(source, whole)
    if is_killed:
        done = subprocess.run([sys.executable, "-c", KILLED, source, broken], cwd=PACK, capture_output=True, text=True)
        assert done.returncode == 9, done.stderr
        assert SEGMENT <= len(frames_of(broken)) <= 61
    else:
        copy(source, broken, stop=60)
        assert len(frames_of(broken)) == 60
    assert sound_of(broken)
    writer = copy(source, broken, resume=True)
    assert writer.done >= SEGMENT and writer.done % SEGMENT == 0
    assert are_equal(broken, whole) and sound_of(broken) == sound_of(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["clip.mp4", whole.name, broken.name])


def test_going_on_begins_anew_where_nothing_is_left(tmp_path):
    source = write_clip(tmp_path / "clip.mkv", smooth, 5)
    (tmp_path / "out.mp4").write_bytes(b"")
    assert copy(source, tmp_path / "out.mp4", resume=True).done == 0
    assert len(frames_of(tmp_path / "out.mp4")) == 5
    with pytest.raises(ValueError, match=r"of hevc \(yuv420p10le\), not what this clip becomes"):
        write_clip(tmp_path / "other.mkv", lambda i: smooth(i, 8), 5, "libx264", "yuv420p")
        copy(tmp_path / "other.mkv", tmp_path / "out.mp4", resume=True)


def test_what_an_earlier_run_has_left_is_not_lost(tmp_path):
    """A run may be stopped, or killed, while it still copies that."""
    source, out = write_clip(tmp_path / "clip.mkv", smooth, 60), tmp_path / "out.mkv"
    copy(source, out, stop=50)
    for _ in range(2):
        copy(source, out, stop=10, resume=True)
        assert len(frames_of(out)) == 10
    assert copy(source, out, resume=True).done == 48
    assert len(frames_of(out)) == 60 and sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv", "out.mkv"]


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_a_run_may_be_stopped_before_its_first_frame(tmp_path, ending):
    source = write_clip(tmp_path / "clip.mkv", smooth, 30, sound="aac")
    copy(source, tmp_path / f"out.{ending}", stop=0)
    assert copy(source, tmp_path / f"out.{ending}", resume=True).done == 0
    assert len(frames_of(tmp_path / f"out.{ending}")) == 30


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("count", [1, SEGMENT, SEGMENT + 1])
def test_a_segment_may_be_of_one_frame(tmp_path, ending, count):
    source = write_clip(tmp_path / "clip.mkv", smooth, count)
    copy(source, tmp_path / f"out.{ending}")
    assert len(frames_of(tmp_path / f"out.{ending}")) == count
    assert abs(seconds(tmp_path / f"out.{ending}") - count / 24) < 0.5 / 24


def test_what_is_no_video_is_said_in_a_sentence(tmp_path):
    (tmp_path / "text.mp4").write_text("no video", encoding="utf-8")
    with pytest.raises(ValueError, match="is not a video that can be read"):
        Clip(tmp_path / "text.mp4")
    with av.open(str(tmp_path / "sound.mp4"), mode="w") as file:
        track = file.add_stream("aac", rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 48000
        file.mux(track.encode(silence))
        file.mux(track.encode(None))
    with pytest.raises(ValueError, match="has no video in it"):
        Clip(tmp_path / "sound.mp4")
    clip = write_clip(tmp_path / "clip.mkv", smooth, 2, sound="flac")
    copy(clip, tmp_path / "out.mp4")
    write_clip(tmp_path / "opus.mkv", smooth, 2, sound="libopus")
    with pytest.raises(ValueError, match="can't hold the sound of .*opus.mkv .opus.; write .mkv"):
        copy(tmp_path / "opus.mkv", tmp_path / "out.mov")
    with pytest.raises(ValueError, match="no ending of a video that can be written; use .mp4"):
        copy(clip, tmp_path / "out.webm")


def test_an_encoder_that_is_lacking_is_named(tmp_path, monkeypatch):
    def lacking(name, _mode):
        raise av.codec.codec.UnknownCodecError(name)

    clip = write_clip(tmp_path / "clip.mkv", smooth, 2)
    monkeypatch.setattr(av, "Codec", lacking)
    with pytest.raises(ValueError, match="The encoder libx265 is missing in this PyAV"):
        copy(clip, tmp_path / "out.mp4")


def test_pyav_that_is_missing_or_old_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", SimpleNamespace(VideoStream=object, __version__="14.2.0"))
    with pytest.raises(ValueError, match="needs PyAV 17.1 or newer, and 14.2.0 is installed"):
        Clip(tmp_path / "clip.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"needs PyAV .* pip install 'magicbokeh\[video\]'"):
        Clip(tmp_path / "clip.mp4")
