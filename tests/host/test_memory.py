"""A card too small for what was planned, pretended on the CPU: torch runs out of memory inside VAE, networks and lens."""

import pytest

from tests.host.conftest import node
from tests.host.test_model import prompt
from tests.host.test_nodes import lens


def with_memory(asked: dict, part: str, percent: int) -> dict:
    asked["card"] = node("TestMemoryLimit", part=part, percent=percent)
    if part == "lens":
        asked["card"]["inputs"]["image"] = ["image", 0]
        asked["lens"]["inputs"]["image"] = ["card", 2]
    else:
        asked["card"]["inputs"].update(model=["load", 0], vae=["load", 1])
        asked["sample"]["inputs"].update(model=["card", 0], vae=["card", 1])
    return asked


def error_of(found: dict, expected: dict) -> float:
    assert found["shape"] == expected["shape"]
    return max(abs(a - b) for a, b in zip(found["row"], expected["row"]))


@pytest.fixture
def notes(host):
    """Puts an end to what the test pretends."""
    yield
    host.get("/test/asked")


# In the VAE the scores of its attention are largest; for those ComfyUI has a remedy of its own that changes nothing.
@pytest.mark.parametrize(
    ("part", "preset", "percent"), [("vae", "fast", 30), ("vae", "reference", 30), ("networks", "fast", 60)]
)
def test_less_memory_than_planned(host, notes, part, preset, percent):
    whole = host.found(with_memory(prompt("golden corner", "golden corner", preset=preset), part, 100))
    before = len(host.log)
    smaller = host.found(with_memory(prompt("golden corner", "golden corner", preset=preset), part, percent))
    assert 0 < error_of(smaller, whole) < 0.5
    said = host.log[before:]
    assert said.count("ran out of memory and goes on with less at once") == 1
    assert "retrying with tiled VAE" not in said  # which is ComfyUI's own way


def test_tiles_of_the_reference_are_what_they_are(host, notes):
    host.found(with_memory(prompt("golden corner", "golden corner", preset="reference"), "networks", 100))
    message = host.error(with_memory(prompt("golden corner", "golden corner", preset="reference"), "networks", 60))
    assert message.startswith("There is too little memory for MagicBokeh's networks;") and len(message.splitlines()) == 1


def test_lens_in_smaller_blocks(host, notes):
    """Which are larger than the picture that comes out, and than single tiles."""
    asked = lens("3 megapixels", "ramp")
    whole = host.found(with_memory(asked, "lens", 100))
    before = len(host.log)
    smaller = host.found(with_memory(asked, "lens", 80))
    assert error_of(smaller, whole) < 1e-4
    said = host.log[before:]
    assert said.count("ran out of memory and goes on with less at once.") >= 1
    message = host.error(with_memory(asked, "lens", 5))
    assert (
        message.startswith("There is too little memory for the lens even in single tiles;") and len(message.splitlines()) == 1
    )
