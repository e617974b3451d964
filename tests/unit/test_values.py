"""Numbers that change from frame to frame: how they come, and what they do in the nodes."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.support import stand_in_host as host

per_frame = host.nodes.values.per_frame


class Column(list):
    """As of a table in pandas, which hands out its numbers by this."""

    def tolist(self):
        return [*self]


@pytest.mark.parametrize("given", [0.25, 1])
def test_a_plain_number_is_for_all_frames(given):
    assert per_frame(given, 3, "focus") == [given] * 3


@pytest.mark.parametrize(
    "given",
    [
        [0.25, 0.5, 1],
        (0.25, 0.5, 1),
        [[0.25], [0.5, 1]],
        torch.tensor([0.25, 0.5, 1]),
        torch.tensor([[0.25], [0.5], [1]]).half(),
        [torch.tensor(0.25), np.float32(0.5), 1],
        np.array([0.25, 0.5, 1], dtype=np.float32),
        Column([0.25, 0.5, 1]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_number_for_each_frame(given):
    assert per_frame(given, 3, "focus") == [0.25, 0.5, 1]


@pytest.mark.parametrize("given", [[0.5], torch.tensor(0.5), np.float64(0.5)])
def test_one_number_in_a_list_is_for_all_frames(given):
    assert per_frame(given, 3, "focus") == [0.5] * 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.1, 0.2], "^focus has 2 values for 3 frames; give one for all, or one each"),
        ([], "^focus has 0 values for 3 frames"),
        ([0.1, float("nan"), 0.3], "^focus of frame 1 is nan; it is a number"),
        ([0.1, 0.2, float("inf")], "^focus of frame 2 is inf"),
        (["near", 0.2, 0.3], "^focus of frame 0 is 'near'"),
        ("0.5", "^focus of frame 0 is '0.5'"),
        (None, "^focus of frame 0 is None"),
        ({"frames": [1, 2, 3]}, "^focus of frame 0 is {"),
    ],
)
def test_what_is_no_track_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        per_frame(given, 3, "focus")


def clip():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, 33, 44, 3, generator=generator), torch.linspace(0, 1, 44).expand(1, 33, 44).clone()


def test_the_lens_has_a_focus_and_a_k_for_each_frame():
    image, disparity = clip()
    focus, k = [0.1, 0.5, 0.9], np.array([4.0, 6.0, 8.0])
    found, radius, *_ = host.run(host.nodes.LensBlur, image=image, disparity=disparity, focus=focus, k=k)
    for i in range(3):
        alone, its_radius, *_ = host.run(
            host.nodes.LensBlur, image=image[i : i + 1], disparity=disparity, focus=focus[i], k=float(k[i])
        )
        assert torch.equal(found[i], alone[0]) and torch.equal(radius[i], its_radius[0])


def test_the_defocus_map_has_a_focus_and_a_k_for_each_frame():
    image, disparity = clip()
    focus, k = [0.1, 0.5, 0.5], torch.tensor([8.0, 16, 16])
    given = {"image": image, "disparity": disparity, "focus_mode": "value"}
    defocus, its_focus, overlay, its_k, *_ = host.run(host.nodes.DefocusMap, **given, focus=focus, k=k)
    assert (its_focus, its_k) == (focus, [8, 16, 16])
    for i in range(3):
        alone = host.run(host.nodes.DefocusMap, **given, focus=focus[i], k=float(k[i]))
        assert torch.equal(defocus[i], alone[0][i]) and torch.equal(overlay[i], alone[2][i])


def test_the_page_gets_what_its_frame_has():
    image, disparity = clip()
    given = {"image": image, "disparity": disparity, "focus_mode": "value"}
    told = host.execute(host.nodes.DefocusMap, **given, focus=[0.1, 0.5, 0.9], k=4.0).ui["magicbokeh_focus"][0]
    assert (told["focus"], told["k"]) == (0.1, 4)


@pytest.mark.parametrize("bad", [[4.0, -1.0, 4.0], [4.0, float("nan"), 4.0]])
@pytest.mark.parametrize("kind", [host.nodes.LensBlur, host.nodes.DefocusMap])
def test_a_bad_k_of_one_frame_is_refused(kind, bad):
    image, disparity = clip()
    with pytest.raises(ValueError, match="^k "):
        host.run(kind, image=image, disparity=disparity, k=bad)


def test_lists_of_comfyui_are_refused_for_clips(monkeypatch):
    """A prompt of many ways from one list to the lens is looked through once."""
    listed = SimpleNamespace(OUTPUT_IS_LIST=(False, True))
    monkeypatch.setitem(vars(sys.modules["nodes"]), "NODE_CLASS_MAPPINGS", {"Listed": listed})
    prompt = {"0": {"class_type": "Listed", "inputs": {}}}
    for i in range(1, 60):
        prompt[str(i)] = {"class_type": "Sum", "inputs": {"a": [str(i - 1), 1], "b": [str(i - 1), 1]}}
    prompt["lens"] = {"class_type": "MagicBokehLensBlur", "inputs": {"focus": ["59", 0], "k": ["0", 0]}}
    hidden = SimpleNamespace(prompt=prompt, unique_id="lens")
    refuse = host.nodes.values.refuse_lists
    refuse(hidden, 1, "focus", "k")
    refuse(hidden, 3, "k")  # the other output of the node
    with pytest.raises(ValueError, match="^focus comes as one of ComfyUI's lists"):
        refuse(hidden, 3, "focus", "k")
    prompt["lens"]["inputs"]["image"] = ["0", 1]
    refuse(hidden, 3, "focus", "k")
