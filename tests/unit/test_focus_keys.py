"""Keys of a focus pull on *Focus and Defocus Map*, and what the page gets of a clip."""

import pytest
import torch

from magicbokeh_ops import defocus
from tests.support import stand_in_host as host
from tests.support.layouts import photo, plane


def run(frames: int = 5, **given) -> tuple:
    """defocus, focus, overlay, k and more."""
    image, disparity = photo(frames).movedim(1, -1), plane(frames)[:, 0]
    return host.run(host.nodes.DefocusMap, image=image, disparity=disparity, **{"k": 20.0, **given})


def test_keys_move_focus_and_k():
    found = run(keys="0: 0.2, 4: 0.6 k 8", focus_mode="point")
    assert found[1] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6]) and found[3] == 8
    expected = [defocus.defocus_map(plane(5)[i : i + 1], focus, 8.0)[0, 0] for i, focus in enumerate(found[1])]
    torch.testing.assert_close(found[0], torch.stack(expected))


def test_a_point_is_looked_up_at_its_own_frame():
    near = plane(5)[:, 0]
    near[3] = near[3].flip(-1)
    image = photo(5).movedim(1, -1)
    found = host.run(host.nodes.DefocusMap, image=image, disparity=near, k=20.0, keys="3: (0.1, 0.5)", focus_mode="mask")
    assert found[1] == pytest.approx(defocus.focus_from_point(near[3:4, None], 0.1, 0.5)), "no mask is needed"


def test_keys_that_say_nothing_of_the_focus_leave_it():
    plain, keyed = run(), run(keys="0: k 10, 4: k 40")
    assert keyed[1] == plain[1]
    assert keyed[3] == pytest.approx([10 * 4 ** (i / 4) for i in range(5)])


def test_without_keys_nothing_changes():
    for found, expected in zip(run(keys="  "), run()):
        assert torch.equal(found, expected) if isinstance(found, torch.Tensor) else found == expected


@pytest.mark.parametrize(("keys", "wrong"), [("0: 2", "goes from 0 to 1"), ("7: 0.5", "end with 4"), ("near", "no key")])
def test_wrong_keys_are_refused(keys, wrong):
    with pytest.raises(ValueError, match=wrong):
        run(keys=keys)


@pytest.mark.parametrize(("frames", "given"), [(1, [0]), (5, [0, 1, 2, 3, 4]), (200, 25)])
def test_the_page_gets_frames_spread_over_the_clip(frames, given):
    image = torch.rand(1, 12, 16, 3).expand(frames, -1, -1, -1)
    near = torch.rand(1, 12, 16).expand(frames, -1, -1)
    shown = host.execute(host.nodes.DefocusMap, image=image, disparity=near).ui
    count, *those = shown["magicbokeh_frames"]
    assert count == frames and len(shown["magicbokeh_photo"]) == len(shown["magicbokeh_disparity"]) == len(those)
    assert those == given if isinstance(given, list) else (len(those) == given and those[0] == 0 and those[-1] == frames - 1)
