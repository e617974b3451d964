"""What is kept on disk between two passes over a clip."""

import tempfile
from pathlib import Path

import pytest
import torch

from magicbokeh_ops.video.store import Store


def test_what_is_stored_comes_back():
    with Store() as store:
        values = {"a": torch.rand(1, 3, 8, 9).mT, ("b", 1): torch.rand(2, 5), "a again": torch.rand(4)}
        for key, tensor in values.items():
            store[key] = tensor
        assert all(torch.equal(store[key], tensor) for key, tensor in values.items())
        assert "a" in store and "c" not in store


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_is_told_of(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "r+b", buffering=0))
    with Store() as store, pytest.raises(OSError, match="has no room for .*; set TMPDIR"):
        store["a"] = torch.rand(4)
