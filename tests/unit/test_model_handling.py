"""What is done with files: nothing stays open, new ones have usual rights, nothing starts at random, changes are seen."""

import os
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from magicbokeh_ops import depth, files
from magicbokeh_ops.demo import NANO
from magicbokeh_ops.renderer import load_renderer
from magicbokeh_ops.weights import checkpoint
from tests.support.model_files import ADAPTER, DEPTH, SD, refused


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_no_file_stays_open_or_mapped(tmp_path, merged, single):
    """Windows can't replace a file that is."""
    torch.save({"state_dict": single}, tmp_path / "base.ckpt")
    save_file(single, tmp_path / "base.safetensors")
    shutil.copytree(SD, tmp_path / "sd")
    for path in (ADAPTER, merged, DEPTH, DEPTH.with_suffix(".json")):
        shutil.copy(path, tmp_path / path.name)
    np.save(tmp_path / "map.npy", np.zeros((4, 4), dtype=np.float32))
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "base.ckpt").read_bytes()[:9999])
    kept = [checkpoint.read_base(tmp_path / name) for name in ("base.ckpt", "base.safetensors", "sd")]
    kept += [read(tmp_path / ADAPTER.name) for read in (checkpoint.read_adapter, checkpoint.read_tensors, checkpoint.describe)]
    kept += [checkpoint.load(tmp_path / merged.name), checkpoint.read_tensors(tmp_path / merged.name)]
    kept += [checkpoint.read_vae(tmp_path / merged.name), checkpoint.read_vae(tmp_path / ADAPTER.name, tmp_path / "sd")]
    one = checkpoint.read_base(tmp_path / "base.safetensors", mapped=True)
    kept += [checkpoint.merge(one, checkpoint.read_adapter(tmp_path / ADAPTER.name, mapped=True), torch.float16)]
    kept += [checkpoint.merge_vae(one, checkpoint.read_adapter(tmp_path / ADAPTER.name, mapped=True))]
    del one
    kept += [depth.read_depth(tmp_path / DEPTH.name), files.read_map(tmp_path / "map.npy")]
    refused(checkpoint.read_base, tmp_path / "cut.ckpt")
    mapped = [line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines() if str(tmp_path) in line]
    opened = [link for link in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if str(tmp_path) in link]
    assert kept and not mapped and not opened


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_new_files_have_the_rights_that_new_files_have(tmp_path, merged, mask):
    photo = torch.zeros(1, 3, 4, 4)
    weights = checkpoint.load(merged)
    before = os.umask(mask)
    try:
        for name in ("photo.png", "photo.jpg", "photo.npy"):
            files.write_photo(tmp_path / name, photo)
        for name in ("map.png", "map.tif", "map.npy"):
            files.write_map(tmp_path / name, photo[:, :1])
        checkpoint.save(weights, tmp_path / "merged.safetensors")
    finally:
        os.umask(before)
    rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(rights) == 7 and set(rights.values()) == {0o666 & ~mask}, rights


class Random(TorchDispatchMode):
    """Notes what is filled with random numbers."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(word in func.__name__ for word in ("uniform_", "normal_", "rand")) and args[0].device.type != "meta":
            self.found.append((func.__name__, args[0].shape))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", ["full", "nano"])
def test_networks_are_not_started_at_random_before_loading(merged, model):
    weights = checkpoint.load(merged if model == "full" else NANO)
    with Random() as started:
        load_renderer(weights, torch.device("cpu"), torch.float32)
        torch.zeros(3).uniform_()  # that it sees one
    assert len(started.found) == 1, started.found


def test_the_vae_alone(merged):
    whole = checkpoint.load(merged).vae
    for vae in (checkpoint.read_vae(merged), checkpoint.read_vae(ADAPTER, SD), checkpoint.read_vae(merged, SD)):
        assert vae.keys() == whole.keys() and all(torch.equal(vae[key], value) for key, value in whole.items())


def test_fingerprints_change_with_every_file_that_is_read(tmp_path):
    shutil.copytree(SD, tmp_path / "sd")
    for name in (DEPTH.name, DEPTH.with_suffix(".json").name):
        shutil.copy(DEPTH.with_name(name), tmp_path / name)
    for listed, path in ((checkpoint.base_files, tmp_path / "sd"), (depth.depth_files, tmp_path / DEPTH.name)):
        for file in listed(path):
            before, folder_time = checkpoint.fingerprint(listed(path)), file.parent.stat().st_mtime_ns
            with file.open("ab") as content:
                content.write(b" ")
            assert file.parent.stat().st_mtime_ns == folder_time and checkpoint.fingerprint(listed(path)) != before
            file.unlink()
            assert checkpoint.fingerprint(listed(path)) != before
