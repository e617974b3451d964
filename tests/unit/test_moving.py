"""Clips whose truth is known: what moves where, what hides what, and the command that writes them."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from magicbokeh_ops import files
from magicbokeh_ops.cli import main
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.synthesis.moving import crossing

SIZE, FRAMES = 96, 16


@pytest.fixture(scope="module")
def clip():
    return crossing(SIZE, FRAMES, seed=1, margin=8)


def test_the_flow_leads_to_what_looks_the_same(clip):
    """But for what the next frame hides."""
    y, x = torch.meshgrid(torch.arange(SIZE).float(), torch.arange(SIZE).float(), indexing="ij")
    for frame in (0, 7, 8):
        (now, near), (later, later_near) = clip.photo(frame), clip.photo(frame + 1)
        flow, hidden = clip.flow(frame)
        grid = torch.stack([2 * (x + flow[0]) / (SIZE - 1) - 1, 2 * (y + flow[1]) / (SIZE - 1) - 1], -1)[None]
        found = F.grid_sample(torch.cat([later, later_near])[None], grid, align_corners=True)[0]
        shown = hidden[0] == 0
        assert 0.5 < shown.float().mean() < 1
        change = (later - now).abs().mean(0)[shown].mean()
        assert (found[:3] - now).abs().mean(0)[shown].mean() < 0.6 * change
        off = (found[3] - near[0]).abs()
        assert (off[shown] < 0.05).float().mean() > 0.95
        assert (off[~shown] < 0.05).float().mean() < 0.8


def test_the_subjects_cross(clip):
    """They change sides, the nearer one always shows its middle, and the other is hidden in part for a while."""
    sides = [[clip.point(subject, frame)[0] for frame in (0, FRAMES - 1)] for subject in range(2)]
    assert sides[0][0] < sides[1][0] and sides[0][1] > sides[1][1]
    seen = torch.stack([clip.masks(frame).flatten(1).sum(1) for frame in range(FRAMES)])
    assert seen[:, 1].min() < 0.7 * seen[0, 1]
    for frame in range(FRAMES):
        disparity, masks = clip.photo(frame)[1], clip.masks(frame)
        assert float(disparity[0][masks[0] > 0].median()) == pytest.approx(clip.path(0)[frame], abs=0.01)
        x, y = clip.point(0, frame)
        assert masks[0, int(y * SIZE), int(x * SIZE)] == 1
        assert clip.disparity_at(frame, (x, y)) == pytest.approx(clip.path(0)[frame], abs=0.005)
        left, top, right, bottom = clip.box(0, frame)
        outside = masks[0].clone()
        outside[round(top * SIZE) : round(bottom * SIZE), round(left * SIZE) : round(right * SIZE)] = 0
        assert outside.sum() == 0


@pytest.mark.long
def test_a_frame_through_the_lens(clip):
    """With k 0 it is the photo; otherwise what is in focus stays."""
    light, disparity = clip.photo(8)
    assert torch.allclose(clip.bokeh(8, 0.5, 0), light, atol=1e-4)
    path = clip.path(0)[8]
    blurred = (clip.bokeh(8, path, 8) - light).abs().mean(0)
    inside = F.max_pool2d(1 - clip.masks(8)[:1], 5, 1, 2)[0] == 0
    assert blurred[inside].mean() < 0.1 * blurred[disparity[0] < 0.2].mean()


@pytest.mark.long
def test_the_command_writes_folders(tmp_path):
    arguments = ["synth", "--clip", "3", "--count", "1", "--size", "96", "--k-limit", "4", "-o", str(tmp_path)]
    done = CliRunner().invoke(main, [*arguments, "--keys", "0: 0.8, 2: 0.4"])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "0000"
    told = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert told["focus"] == pytest.approx([0.8, 0.6, 0.4]) and told["k"] == [4, 4, 4]
    assert len(told["subjects"]) == 2 and all(len(values) == 3 for one in told["subjects"] for values in one.values())
    clip = crossing(96, 3, 0, margin=4)
    flow, hidden = clip.flow(1)
    assert np.array_equal(np.load(folder / "flow" / "0001.npy"), flow.movedim(0, -1).numpy())
    assert torch.equal(files.read_map(folder / "hidden" / "0001.png")[0], hidden)
    assert torch.equal(files.read_map(folder / "mask_2" / "0002.png")[0, 0], clip.masks(2)[1])
    assert torch.allclose(files.read_map(folder / "disparity" / "0002.png")[0], clip.photo(2)[1], atol=1e-4)
    bokeh = linear_to_srgb(clip.bokeh(2, told["focus"][2], 4)).clamp(max=1)
    assert torch.allclose(files.read_photo(folder / "bokeh" / "0002.png")[0][0], bokeh, atol=0.003)
    assert sorted(path.name for path in (folder / "flow").iterdir()) == ["0000.npy", "0001.npy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clip", "3"], "--clip writes drawn clips to --output"),
        (["--keys", "0: 1", "--preview", "sheet.png"], "--keys are those of a clip"),
        (["--clip", "3", "-o", "out", "--keys", "0: 2"], "whose focus is 2"),
        (["--clip", "3", "-o", "out", "--keys", "9: 0.5"], "keys has a key at frame 9"),
    ],
)
def test_what_can_not_be_made_is_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["synth", "--size", "96", *arguments])
    assert done.exit_code and message in " ".join((done.output + str(done.exception)).split())
