"""Shipped workflows as they are drawn: the page's own tests look at nodes, this one at their groups."""

import itertools
import json
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))


def groups(path: Path) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom by title."""
    found = json.loads(path.read_text(encoding="utf-8")).get("groups", [])
    boxes = ((group["title"], group["bounding"]) for group in found)
    return {title: (left, top, left + width, top + height) for title, (left, top, width, height) in boxes}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_groups_lie_beside_one_another(path):
    for (one, a), (other, b) in itertools.combinations(groups(path).items(), 2):
        overlap = min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
        assert not overlap, (one, other)


def test_there_are_groups_to_look_at():
    assert sum(len(groups(path)) for path in WORKFLOWS) > 50
