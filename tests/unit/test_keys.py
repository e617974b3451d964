"""Keys of a focus pull, and what lies between them."""

import pytest

from magicbokeh_ops.keys import Key, check_frames, focus_of, k_of, read_keys
from magicbokeh_ops.sweep import EASINGS, sweep


def nowhere(frame, point):
    raise AssertionError("no key has a point")


def test_keys_are_read():
    text = "24: 0.31 ease, 0:.82 K 20;48 : (0.4, 0.5) k4 Ease  In\n 60: k 2 hold"
    assert read_keys(text) == [
        Key(0, 0.82, None, 20),
        Key(24, 0.31, move="ease in and out"),
        Key(48, None, (0.4, 0.5), 4, "ease in"),
        Key(60, k=2, move="hold"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "^keys is empty; write a frame"),
        ("0: 0.5, 0: 0.6", "^keys has two keys at frame 0"),
        ("0: 1.5", "whose focus is 1.5; it goes from 0 to 1"),
        ("0: (0.5, -0.5)", "whose y of the point is -0.5"),
        ("0: 0.5 k -2", "whose k is -2"),
        ("0 0.5", "'0 0.5', which is no key"),
        ("0: 0.5 bounce", "which is no key"),
        ("0: ease", "which is no key"),
        ("-3: 0.5", "which is no key"),
        ("0: (0.5", "which is no key"),
        ("0: nan", "which is no key"),
    ],
)
def test_what_is_no_key_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_keys(text)


@pytest.mark.parametrize("easing", EASINGS)
def test_a_move_is_that_of_a_sweep(easing):
    found = focus_of([Key(0, 0.9), Key(8, 0.1, move=easing)], 9, nowhere)
    assert found == pytest.approx(sweep(0.9, 0.1, 9, easing))


def test_values_hold_before_between_and_after():
    keys = read_keys("2: 0.2 k 4, 4: 0.4, 6: 0.8 hold, 8: 0.8 k 64")
    assert focus_of(keys, 10, nowhere) == pytest.approx([0.2, 0.2, 0.2, 0.3, 0.4, 0.4, 0.8, 0.8, 0.8, 0.8])
    assert k_of(keys, 10) == pytest.approx(
        [4, 4, 4, 4 * 16 ** (1 / 6), 4 * 16 ** (1 / 3), 16, 4 * 16 ** (2 / 3), 4 * 16 ** (5 / 6), 64, 64]
    )


def test_what_no_key_says_is_not_made_up():
    assert focus_of(read_keys("0: k 4"), 3, nowhere) is None
    assert k_of(read_keys("0: 0.4"), 3) is None
    assert k_of(read_keys("0: k 0, 2: k 4"), 3) == [0, 2, 4]  # there is no ratio


def test_a_point_has_the_disparity_of_its_frame():
    found = focus_of(read_keys("1: (0.25, 0.5), 3: 0.6"), 4, lambda frame, point: frame / 10 + point[0])
    assert found == pytest.approx([0.35, 0.35, 0.475, 0.6])


def test_a_key_after_the_end_is_refused():
    check_frames(read_keys("0: 0.5, 4: 0.5"), 5)
    with pytest.raises(ValueError, match="^keys has a key at frame 5, but the clip's 5 frames end with 4"):
        check_frames(read_keys("0: 0.5, 5: 0.5"), 5)
