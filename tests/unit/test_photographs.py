"""Photographs among the drawn pictures that scenes are made of."""

from functools import partial

import pytest
import torch

from magicbokeh_ops import files
from magicbokeh_ops.synthesis import photographs
from magicbokeh_ops.synthesis.sources import Procedural
from magicbokeh_ops.training import run
from magicbokeh_ops.training.settings import Settings

STAGE = {"kind": "base", "steps": 1, "size": 64, "batch": 1, "rate": 1e-3}


@pytest.fixture
def folder(tmp_path):
    """Photos of one colour each, by how red they are; one of them is small."""
    (tmp_path / "photos").mkdir()
    for i, size in enumerate([(300, 500), (420, 330), (60, 90)]):
        photo = torch.tensor([0.2 + 0.3 * i, 0.1, 0.6]).view(1, 3, 1, 1).expand(-1, -1, *size)
        files.write_photo(tmp_path / "photos" / f"{'abc'[i]}.png", photo)
    return tmp_path / "photos"


def reds(squares: torch.Tensor) -> set[int]:
    return set(squares[:, 0].flatten().unique().tolist())


def test_photos_are_cut_into_squares_and_small_ones_give_none(folder):
    squares = photographs.squares(folder, 0, side=64)
    assert squares.dtype == torch.uint8 and squares.shape[1:] == (3, 64, 64) and reds(squares) == {51, 128}
    assert torch.equal(squares, photographs.squares(folder, 0, side=64))
    assert len(squares) <= 2 * 3 + 3 * 2  # half the size at least


def test_what_is_held_out_stays_out_and_the_rest_as_it_was(folder):
    whole = photographs.squares(folder, 0, side=64)
    for name in ("a", "a.png"):
        assert torch.equal(photographs.squares(folder, 0, (name,), side=64), whole[whole[:, 0, 0, 0] == 128])
    with pytest.raises(ValueError, match="held_out has z, which is not in"):
        photographs.squares(folder, 0, ("z",), side=64)
    with pytest.raises(ValueError, match="has no photo whose shorter side is 2000 pixels or more"):
        photographs.squares(folder, 0, side=1000)


def test_they_are_taken_as_often_as_one_says_and_keep_their_colours():
    drawn = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)
    photos = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, -1, 96, 96)
    silhouettes = torch.full((1, 1, 48, 48), 255, dtype=torch.uint8)
    pool = Procedural(drawn, silhouettes, photos, share=0.25)
    generator = torch.Generator().manual_seed(0)
    seen = [pool.image(64, generator) for _ in range(400)]
    bright = [picture for picture in seen if picture.max() > 0]
    assert 70 < len(bright) < 130
    assert all(torch.allclose(picture[0], 2 * picture[1], atol=0.01) for picture in bright)
    assert any(pool.cutout(64, generator)[:3].max() > 0 for _ in range(20))


def test_a_run_keeps_them_and_looks_at_others(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "squares", partial(photographs.squares, side=64))
    data = {"photos": str(folder), "photo_share": 0.3, "held_out": ["b"], "pool": 4, "workers": 0}
    settings = Settings.model_validate({"stages": [STAGE], "data": data})
    pool = run.find_source(settings, tmp_path, held_out=False)
    assert reds(pool.photographs) == {51} and pool.share == 0.3
    monkeypatch.setattr(run, "squares", None)  # not cut again
    assert torch.equal(run.find_source(settings, tmp_path, held_out=False).photographs, pool.photographs)
    assert run.find_source(settings, tmp_path, held_out=True).photographs is None
    with pytest.raises(ValueError, match="don't go with images and cutouts"):
        Settings.model_validate({"stages": [STAGE], "data": {**data, "images": "a", "cutouts": "b"}})
