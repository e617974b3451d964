"""What a picture costs on any machine: how often the device is asked, and how many transforms there are of which sizes."""

from unittest.mock import patch

import pytest
import torch

from magicbokeh_ops import lens
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.lens import convolve
from tests.support.asked import Asked


def scene(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A slope with things before it."""
    disparity = torch.linspace(0.1, 0.5, height).view(1, 1, -1, 1).repeat(1, 1, 1, width)
    for i in range(6):
        top, left = height * i // 8, width * (5 * i % 7) // 8
        disparity[..., top : top + height // 5, left : left + width // 6] = 0.55 + 0.06 * i
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, height, width, generator=generator), disparity


@pytest.mark.parametrize(
    "k, options",
    [
        (0, {}),
        (24, {}),
        pytest.param(90, {}, marks=pytest.mark.long),
        pytest.param(24, {"tilt": 0.2}, marks=pytest.mark.long),
        pytest.param(24, {"aperture": Aperture(blades=6, fringing=0.2)}, marks=pytest.mark.long),
    ],
)
def test_the_device_is_asked_a_few_times_for_a_picture_of_many_tiles(k, options):
    image, disparity = scene(190, 250)
    mode = Asked()
    with patch("magicbokeh_ops.lens.tiles.TILE", 96), mode as device:
        lens.render(image.to(device), disparity.to(device), 0.3, k, **options)
    assert 0 < len(mode.reads) <= 10, mode.reads


@pytest.mark.parametrize("given, most", [({"alpha"}, 10), ({"matte"}, 12), ({"alpha", "matte", "background"}, 20)])
def test_what_else_is_known_costs_few_questions(given, most):
    image, disparity = scene(95, 125)
    planes = {"alpha": (disparity < 0.9).float(), "matte": (disparity > 0.53).float(), "background": image.flip(-1)}
    mode = Asked()
    with mode as device:
        options = {name: planes[name].to(device) for name in given}
        lens.render(image.to(device), disparity.to(device), 0.3, 12, **options)
    assert len(mode.reads) <= most, mode.reads


@pytest.mark.long
def test_lamps_cost_one_question_more():
    image, disparity = scene(190, 250)
    image[..., 40:44, ::9] = 20.0
    mode = Asked()
    with patch("magicbokeh_ops.lens.tiles.TILE", 96), mode as device:
        lens.render(image.to(device), disparity.to(device), 0.3, 24, color_space="linear")
    assert len(mode.reads) <= 11, mode.reads


def transforms(frames: list[tuple[torch.Tensor, torch.Tensor, float, float]]) -> tuple[list[torch.Size], list[torch.Size]]:
    """Shapes of transformed blocks (N, pairs, h, w) and of transformed kernels (K, h, w), over frames with their focus and k."""
    blocks, kernels, fft2 = [], [], torch.fft.fft2

    def counted(planes, **options):
        (kernels if planes.ndim == 3 else blocks).append(planes.shape)
        return fft2(planes, **options)

    with patch("torch.fft.fft2", counted):
        convolve._spectra.kept.clear()
        for image, disparity, focus, k in frames:
            lens.render(image, disparity, focus, k)
    return blocks, kernels


@pytest.mark.parametrize("k", [16, *(pytest.param(k, marks=pytest.mark.long) for k in (64, 200))])
def test_few_sizes_in_a_clip(k):
    image, disparity = scene(190, 250)
    blocks, kernels = transforms([(image, disparity, 0.1 * i, k) for i in range(1, 9)])
    assert blocks and len({shape[-2:] for shape in blocks + kernels}) <= 12


@pytest.mark.long
def test_no_kernel_is_transformed_twice_in_a_clip():
    image, disparity = scene(190, 250)
    with patch("magicbokeh_ops.lens.tiles.TILE", 96):
        blocks, kernels = transforms([(image, disparity, focus, 24) for focus in (0.3, 0.35, 0.4)])
    assert len(kernels) == len(convolve._spectra.kept)
    assert len(blocks) > 3 * len(kernels)


def test_spectra_are_bounded():
    image, disparity = scene(64, 80)
    convolve._spectra.kept.clear()
    with patch("magicbokeh_ops.lens.convolve.KEPT", 2**20):
        lens.render(image, disparity, 0.3, 20)
        assert 0 < sum(spectrum.nbytes for spectrum in convolve._spectra.kept.values()) <= 2**20
