import math

import pytest
import torch

from magicbokeh_ops.evaluation.depth import abs_rel_delta1, rmse_delta1


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_an_affine_transform_of_the_truth_is_perfect():
    truth = torch.rand(2, 1, 7, 9, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1
    guess = truth * torch.tensor([3.0, 0.2]).view(2, 1, 1, 1) + 5
    assert abs_rel_delta1(guess, 1 / truth, 10.5) == pytest.approx((0, 1), abs=1e-4)
    relative = (truth - truth.amin()) / (truth.amax() - truth.amin())
    assert rmse_delta1(guess, relative) == pytest.approx((0, 1), abs=1e-5)


def test_pixels_without_distance_do_not_count():
    distance, guess = row(1, 2, 4, 0, math.inf, math.nan, -3, 200), row(1, 0.5, 0.25, 9, 9, 9, 9, 9)
    assert abs_rel_delta1(guess, distance, 80) == pytest.approx((0, 1))
    assert rmse_delta1(guess, row(1, 0.5, 0.25, *[math.nan] * 5)) == pytest.approx((0, 1))


def test_the_fit_is_made_to_inverse_distance_then_clamped_then_inverted():
    """By hand: scale 9/38, shift -17/190; the last aligned disparity is negative, so it becomes 1/10, a distance of 10."""
    abs_rel, delta1 = abs_rel_delta1(row(3, 2, 2, 0), row(1, 10, 10, 10), 10)
    assert abs_rel == pytest.approx((36 / 59 + 108 / 73) / 4)
    assert delta1 == 0.25


def test_relative_disparity_by_hand():
    """Aligned: 3/4, 3/4, 1/4, 1/4, all off by 1/4; 3/4 is within 1.25 of neither truth, nor is 1/4, and the truth 0 is left out."""
    rmse, delta1 = rmse_delta1(row(1, 1, 0, 0), row(1, 0.5, 0.5, 0))
    assert rmse == pytest.approx(0.25) and delta1 == 0
    assert rmse_delta1(row(1, 1, 0, 0), row(0.8, 0.7, 0.2, 0))[1] == pytest.approx(2 / 3)


def test_the_mean_is_over_pictures_not_over_pixels():
    guess, distance = torch.cat([row(3, 2, 2, 0), row(3, 2, 2, 0)]), torch.cat([row(1, 10, 10, 10), row(1, 10, 0, 0)])
    single = [abs_rel_delta1(guess[i : i + 1], distance[i : i + 1], 10) for i in (0, 1)]
    assert abs_rel_delta1(guess, distance, 10) == pytest.approx([sum(pair) / 2 for pair in zip(*single)])


@pytest.mark.parametrize(
    ("guess", "distance", "cap", "message"),
    [
        (row(1, 1), row(1, 2), 10, "constant"),
        (row(1, 1, 2), row(1, 2, 0), 10, "constant"),
        (row(1, 2), row(1, 2, 3), 10, r"\(1, 1, 1, 2\), the true distance \(1, 1, 1, 3\)"),
        (row(1, 2), row(0, math.nan), 10, "no pixel"),
        (row(1, 2), row(20, 30), 10, "up to 10"),
        (row(1, math.nan), row(1, 2), 10, "NaN"),
        (row(1, 2), row(1, 2), math.inf, "cap is inf"),
    ],
)
def test_bad_distances_are_refused(guess, distance, cap, message):
    with pytest.raises(ValueError, match=message):
        abs_rel_delta1(guess, distance, cap)


@pytest.mark.parametrize(
    ("guess", "disparity", "message"),
    [
        (row(1, 1), row(0.1, 0.2), "constant"),
        (row(1, 2), row(0.1), "make them one size"),
        (row(1, 2), row(0, math.nan), "no pixel of 0.01"),
        (row(1, 2), row(0.5, 2), "goes from 0.5 to 2"),
    ],
)
def test_bad_relative_disparities_are_refused(guess, disparity, message):
    with pytest.raises(ValueError, match=message):
        rmse_delta1(guess, disparity)
