"""A focus that follows through a video: frames come and go one at a time, and a run can be stopped."""

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from magicbokeh_ops.video import reading
from tests.support.lens_command import call
from tests.support.video_files import draw, write_clip

PACK = Path(__file__).parents[2]


def moving(index: int):
    """A textured square that goes to the right over a texture, in codes of 10 bits."""
    luma = draw(0, (48, 128), 10, 64, 500)[:, index % 60 : index % 60 + 64].copy()
    luma[12:36, 10 + index % 30 : 30 + index % 30] = draw(1, (24, 20), 10, 500, 940)
    return [luma, *(np.full((24, 32), 512),) * 2]


def nearness(index: int):
    luma = np.tile(np.linspace(100, 400, 64), (48, 1)).astype(np.uint16)
    luma[12:36, 10 + index % 30 : 30 + index % 30] = 900 - index % 60
    return [luma, *(np.full((24, 32), 512),) * 2]


@pytest.mark.long
@pytest.mark.parametrize("follow", ["point", "masks"])
def test_frames_come_and_go_one_at_a_time(tmp_path, monkeypatch, follow):
    made, held, most = reading.Clip._frame, [], []

    def counted(self, *arguments):
        frame = made(self, *arguments)
        held.append(weakref.ref(frame.image))
        most.append(sum(one() is not None for one in held))
        return frame

    monkeypatch.setattr(reading.Clip, "_frame", counted)
    write_clip(tmp_path / "clip.mkv", moving, 30)
    write_clip(tmp_path / "depth.mkv", nearness, 30)
    write_clip(tmp_path / "masks.mkv", lambda i: [np.where(nearness(i)[0] > 500, 940, 64), *nearness(i)[1:]], 30)
    how = ("--track", "0.3,0.5") if follow == "point" else ("--focus-mask", tmp_path / "masks.mkv")
    call(tmp_path / "clip.mkv", "-d", tmp_path / "depth.mkv", *how, "--k", 2, "-o", tmp_path / "out.mp4")
    assert len(most) == 60 and max(most) <= 2


@pytest.mark.slow
def test_it_can_be_stopped_while_it_looks(tmp_path):
    """Before anything is written."""
    write_clip(tmp_path / "clip.mkv", moving, 1500)
    write_clip(tmp_path / "depth.mkv", nearness, 1500)
    asked = [tmp_path / "clip.mkv", "-d", tmp_path / "depth.mkv", "--track", "0.3,0.5", "-o", tmp_path / "out.mp4"]
    command = [sys.executable, "-m", "magicbokeh_ops.cli", "lens", *map(str, asked)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # or a child of what ignores it would too
    process = subprocess.Popen(command, cwd=PACK, stderr=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    told = b""
    while b"look:" not in told:
        told += os.read(process.stderr.fileno(), 4096)
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told += process.communicate()[1]
    assert process.returncode == 1 and told.strip().endswith(b"Aborted!") and b"Traceback" not in told
    assert not (tmp_path / "out.mp4").exists()
