"""Previews: small whatever the picture is, and nothing that a run depends on."""

import itertools
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support import stand_in_host as host
from tests.support.layouts import photo, plane

Progress, to_thumbnail = host.nodes.progress.Progress, host.nodes.progress.to_thumbnail
Interrupted = host.model_management.InterruptProcessingException


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).movedim(-1, 0)


@settings(max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 900), st.booleans())
def test_a_thumbnail_has_the_shape_and_the_look_of_its_picture(height, width, turned):
    slope = torch.linspace(0, 1, width).expand(1, height, width)
    picture = torch.cat([slope, 1 - slope, torch.linspace(0, 1, height)[:, None].expand(1, height, width)])
    picture = picture.mT if turned else picture
    small = to_thumbnail(picture)
    scale = min(1, 512 / max(height, width))
    assert small.size[:: -1 if turned else 1] == tuple(max(1, round(scale * length)) for length in (width, height))
    again = torch.nn.functional.interpolate(picture[None], size=small.size[::-1], mode="area")[0] * 255
    assert (pixels(small) - again).abs().max() < 2.5


def test_transparent_pictures_are_shown_too(monkeypatch):
    """As JPEG has them, without alpha; ComfyUI's server stops if it can't save what it is given."""
    shown = []
    monkeypatch.setattr(
        host.nodes.progress.ProgressBar, "update_absolute", lambda _bar, _value, preview=None: shown.append(preview)
    )
    image, disparity = torch.cat([photo(1), plane(1)], 1).movedim(1, -1), plane(1)[:, 0]
    host.run(host.nodes.LensBlur, image=image, disparity=disparity)
    pictures = [preview[1] for preview in shown if preview is not None]
    assert pictures and {picture.mode for picture in pictures} == {"RGB"}
    progress = Progress(1)
    progress.show(torch.ones(4, 8, 8), lambda _: Image.new("LA", (8, 8)))
    assert progress.picture[1].mode == "RGB"


@pytest.mark.long
def test_a_preview_that_fails_is_told_once(monkeypatch, caplog):
    """Whatever it is that a card, a previewer of another pack or PIL can't do."""
    calls = []

    def fail(*_):
        calls.append(1)
        raise NotImplementedError("not on this device")

    image, disparity = photo(1).movedim(1, -1), plane(1)[:, 0]
    expected = host.run(host.nodes.Sweep, image=image, disparity=disparity, frames=3)[0]
    monkeypatch.setattr(Image, "fromarray", fail)
    seconds = itertools.count(1000)
    monkeypatch.setattr(host.nodes.progress, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with caplog.at_level(logging.WARNING):
        found = host.run(host.nodes.Sweep, image=image, disparity=disparity, frames=3)[0]
    assert torch.equal(found, expected)
    assert len(calls) == 1 and len(caplog.records) == 1 and "not on this device" in caplog.text


def test_an_interrupt_while_drawing_ends_the_run():
    def interrupted(_):
        raise Interrupted

    with pytest.raises(Interrupted):
        Progress(1).show(photo(1)[0], interrupted)


def test_where_nothing_can_be_written_nodes_run_without_their_previews(monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    disparity = plane(1)[:, 0]
    expected = host.execute(host.nodes.DefocusMap, disparity=disparity)
    monkeypatch.setattr(Image.Image, "save", full)
    with caplog.at_level(logging.WARNING):
        found = host.execute(host.nodes.DefocusMap, disparity=disparity)
    assert torch.equal(found.args[0], expected.args[0]) and expected.ui.keys() - found.ui.keys() >= {"magicbokeh_photo"}
    assert "No space left" in caplog.text
