"""Model files as people have them: cut off, misnamed, of other models, written by other code, in use by other threads."""

import json
import os
import shutil
import stat
import sys
import threading
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from magicbokeh_ops import checkpoint, cli, depth, files
from magicbokeh_ops.demo import NANO
from magicbokeh_ops.training.export import _Writer
from tests.ldm_names import single_file_tensors

GOLDEN = Path(__file__).parents[1] / "parity" / "golden"
SD, ADAPTER, DEPTH = GOLDEN / "sd", GOLDEN / "lora.pkl", GOLDEN / "depth" / "DAdepth_tiny.pth"
UNET = SD / "unet" / "diffusion_pytorch_model.safetensors"
LAST_NORM = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
READERS = {
    "adapter.pkl": checkpoint.read_adapter,
    "base.ckpt": checkpoint.read_base,
    "base.safetensors": checkpoint.read_base,
    "merged.safetensors": checkpoint.load,
    "depth.pth": depth.read_depth,
    "depth.SFT": depth.read_depth,
    "any.bin": checkpoint.describe,
}


def refused(call, *arguments) -> str:
    with pytest.raises(ValueError) as error:
        call(*arguments)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@contextmanager
def peak_below(size: float):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    path = tmp_path_factory.mktemp("merged") / "merged.safetensors"
    checkpoint.save(checkpoint.merge(checkpoint.read_base(SD), checkpoint.read_adapter(ADAPTER)), path)
    return path


@pytest.fixture(scope="module")
def single():
    return single_file_tensors(SD)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5214865159\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html><head><title>Not found</title>", "is a web page"),
        (b'\n <html lang="en">' + 600 * b"a", "is a web page"),
        ("Accès refusé\nat once".encode(), "a text that starts with 'Accès refusé'"),
        (bytes(range(256)), "is damaged or no"),
    ],
    ids=["empty", "pointer", "page", "page with a blank line", "text", "noise"],
)
def test_what_is_no_model_says_what_it_is(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    told = refused(READERS[name], tmp_path / name)
    assert told.startswith(name) and message in told


@pytest.mark.parametrize("place", ["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"])
def test_a_pointer_in_a_folder(tmp_path, place):
    shutil.copytree(SD, tmp_path / "sd")
    (tmp_path / "sd" / place).write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    assert "pointer of Git LFS" in refused(checkpoint.read_base, tmp_path / "sd")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_files_that_end_early(tmp_path, merged, part):
    for whole, reader in ((ADAPTER, checkpoint.read_adapter), (merged, checkpoint.load), (merged, checkpoint.is_merged)):
        content = whole.read_bytes()
        path = tmp_path / whole.name
        path.write_bytes(content[: int(part * len(content))])
        told = refused(reader, path)
        assert told.startswith(f"{path.name} is damaged: it ends after") and "download it again" in told
        if whole == merged:
            assert f"of {len(content) / 1e6:.1f} MB" in told


def test_a_large_damaged_file_is_not_read_whole(tmp_path):
    """A download that stopped: space is taken, the end is missing. And the older format, whose numbers come last."""
    shutil.copy(ADAPTER, tmp_path / "cut.ckpt")
    os.truncate(tmp_path / "cut.ckpt", 400_000_000)
    with peak_below(2e6):
        assert "ends after 400.0 MB" in refused(checkpoint.read_base, tmp_path / "cut.ckpt")
    torch.save({"rank_unet": os.system}, tmp_path / "older.ckpt", _use_new_zipfile_serialization=False)
    os.truncate(tmp_path / "older.ckpt", 400_000_000)
    with peak_below(2e6):
        assert "system', which no weights need" in refused(checkpoint.read_base, tmp_path / "older.ckpt")


def test_files_under_the_other_kind_of_name(tmp_path, merged):
    shutil.copy(ADAPTER, tmp_path / "lora.safetensors")
    assert "is a torch file" in refused(checkpoint.read_adapter, tmp_path / "lora.safetensors")
    shutil.copy(merged, tmp_path / "merged.pkl")
    assert "is a safetensors file" in refused(checkpoint.read_adapter, tmp_path / "merged.pkl")


def with_norm(single, bias):
    return {**single, LAST_NORM: bias}


def test_the_768_pixel_model_as_a_single_file(tmp_path, single):
    """By the statistic that ComfyUI goes by, which is one of the full size; in a small network by how it stands out."""
    path = tmp_path / "v2-1_768-ema-pruned.safetensors"
    unsteady = torch.linspace(-1, 1, 320)
    for bias in (unsteady, torch.linspace(-1, 1, 32)):
        save_file(with_norm(single, bias), path)
        told = refused(checkpoint.read_base, path)
        assert "Stable Diffusion 2" in told and "768-pixel model (v-prediction)" in told and "512-pixel" in told
    for bias in (0.1 * unsteady, torch.zeros(32), single[LAST_NORM]):
        save_file(with_norm(single, bias), path)
        checkpoint.read_base(path)


def test_the_768_pixel_model_as_a_folder_that_does_not_say_it(tmp_path):
    shutil.copytree(SD, tmp_path / "sd")
    shutil.rmtree(tmp_path / "sd" / "scheduler")
    checkpoint.read_base(tmp_path / "sd")
    tensors = load_file(UNET)
    tensors["up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"] = torch.linspace(-1, 1, 32)
    save_file(tensors, tmp_path / "sd" / "unet" / UNET.name)
    assert "v-prediction" in refused(checkpoint.read_base, tmp_path / "sd")
    shutil.copytree(SD / "scheduler", tmp_path / "sd" / "scheduler")  # says epsilon
    checkpoint.read_base(tmp_path / "sd")


def like(tensors, first=None, **more):
    """A single file with another first layer, (channels, width), and further tensors."""
    unet = "model.diffusion_model."
    out = {**tensors, **{f"{unet}{key}": value for key, value in more.items()}}
    if first is not None:
        out[f"{unet}input_blocks.0.0.weight"] = torch.zeros(first[1], first[0], 3, 3)
    return out


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize(
    ("first", "more", "message"),
    [
        ((9, 32), {}, "an inpainting model"),
        ((5, 32), {}, "a depth2img model"),
        ((7, 32), {}, "the x4 upscaler"),
        ((8, 32), {}, "an InstructPix2Pix"),
        ((4, 320), {"label_emb.0.0.weight": torch.zeros(1)}, "an SDXL model"),
        ((4, 384), {"label_emb.0.0.weight": torch.zeros(1)}, "the SDXL refiner"),
    ],
)
def test_other_models_of_the_family_are_named(tmp_path, single, first, more, message, folder):
    path = tmp_path / "other.safetensors"
    if folder:
        path = tmp_path / "other"
        shutil.copytree(SD, path)
        tensors = {**load_file(UNET), "conv_in.weight": torch.zeros(first[1], first[0], 3, 3)}
        tensors |= {key.replace("label_emb.0.0", "add_embedding.linear_1"): value for key, value in more.items()}
        save_file(tensors, path / "unet" / UNET.name)
    else:
        save_file(like(single, first, **more), path)
    told = refused(checkpoint.read_base, path)
    assert told.startswith(f"{path.name} is {message}") and "2.1-base" in told


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (r"first_stage_model.", "holds no U-Net: it is a VAE alone"),
        (r"model.", "holds no VAE: it is a U-Net alone"),
        ({"encoder.conv_in.weight", "decoder.conv_in.weight"}, "holds no U-Net: it is a VAE alone"),
        ({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"}, "it is a LoRA"),
        ({"unet.down_blocks.0.attentions.0.to_q.lora_A.weight"}, "it is a LoRA"),
        ({"control_model.input_hint_block.0.weight"}, "it is a ControlNet"),
        ({"cond_stage_model.model.ln_final.weight"}, "it is a text encoder alone"),
        ({"pretrained.cls_token"}, "it is a depth model"),
    ],
)
def test_parts_and_other_things_are_named(tmp_path, single, kept, message):
    names = [key for key in single if key.startswith(kept)] if isinstance(kept, str) else kept
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "other.safetensors")
    assert message in refused(checkpoint.read_base, tmp_path / "other.safetensors")


def test_our_own_files_as_a_base_are_named(merged):
    assert "merged MagicBokeh checkpoint, which needs no base" in refused(checkpoint.read_base, merged)
    assert "the MagicBokeh adapter" in refused(checkpoint.read_base, ADAPTER)


@pytest.mark.parametrize("dots", [True, False])
def test_a_file_with_nothing_but_the_average(tmp_path, single, dots):
    """Its names have lost their dots, unless some tool has given them back."""
    unet = "model.diffusion_model."
    tensors = {key: value for key, value in single.items() if not key.startswith(unet)} | {"model_ema.decay": torch.zeros(1)}
    for key, value in single.items():
        if key.startswith(unet):
            rest = key[len(unet) :]
            tensors[f"model_ema.diffusion_model{'.' + rest if dots else rest.replace('.', '')}"] = value
    save_file(tensors, tmp_path / "ema.safetensors")
    found, expected = checkpoint.read_base(tmp_path / "ema.safetensors"), checkpoint.read_base(SD)
    assert found.unet.keys() == expected.unet.keys()
    assert all(torch.equal(found.unet[key], value) for key, value in expected.unet.items())
    averaged = {key: torch.zeros(1) if key.startswith("model_ema.") else value for key, value in tensors.items()}
    save_file({**averaged, **single}, tmp_path / "both.safetensors")  # what was trained goes first, as in ComfyUI
    assert torch.equal(
        checkpoint.read_base(tmp_path / "both.safetensors").unet["conv_in.weight"], expected.unet["conv_in.weight"]
    )


def put_model(folder: Path, tensors: dict, stem: str, ending: str, variant: str, shards: bool) -> None:
    """A model in a folder as diffusers and transformers write it."""
    write = (lambda part, path: torch.save(part, path)) if ending == "bin" else save_file
    name = ".".join(filter(None, (stem, variant, ending)))
    if not shards:
        write(tensors, folder / name)
        return
    names = [f"{name.removesuffix(f'.{ending}')}-0000{i + 1}-of-00002.{ending}" for i in range(2)]
    parts = [dict(list(tensors.items())[i::2]) for i in range(2)]
    for part, shard in zip(parts, names):
        write(part, folder / shard)
    index = {"weight_map": {key: shard for part, shard in zip(parts, names) for key in part}}
    index_name = ".".join(filter(None, (stem, ending, "index", variant, "json")))
    (folder / index_name).write_text(json.dumps(index), encoding="utf-8")


LAYOUTS = [
    (ending, variant, shards) for ending in ("safetensors", "bin") for variant in ("", "fp16") for shards in (False, True)
]


@pytest.mark.parametrize(("ending", "variant", "shards"), LAYOUTS)
def test_folders_in_every_layout(tmp_path, ending, variant, shards):
    expected = checkpoint.read_base(SD)
    for part in ("unet", "vae"):
        (tmp_path / "sd" / part).mkdir(parents=True)
        shutil.copy(SD / part / "config.json", tmp_path / "sd" / part)
        put_model(tmp_path / "sd" / part, load_file(SD / part / UNET.name), "diffusion_pytorch_model", ending, variant, shards)
    found = checkpoint.read_base(tmp_path / "sd")
    assert found.unet.keys() == expected.unet.keys() and found.vae.keys() == expected.vae.keys()
    read = checkpoint.base_files(tmp_path / "sd")
    assert sum(file.suffix != ".json" for file in read) == (4 if shards else 2)

    tensors, sizes = depth.read_depth(DEPTH)
    model = depth.build(tensors, sizes, "depth")
    model.save_pretrained(tmp_path / "depth")
    (tmp_path / "depth" / "model.safetensors").unlink()
    stem = "pytorch_model" if ending == "bin" else "model"
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    put_model(tmp_path / "depth", state, stem, ending, variant, shards)
    again, found_sizes = depth.read_depth(tmp_path / "depth")
    assert found_sizes == sizes and again.keys() == tensors.keys()
    weights = [file.name for file in depth.depth_files(tmp_path / "depth") if file.suffix != ".json"]
    assert len(weights) == (2 if shards else 1) and all(map(depth.is_in_folder, weights))


def test_a_missing_shard_is_named(tmp_path):
    shutil.copytree(SD, tmp_path / "sd")
    unet = tmp_path / "sd" / "unet"
    (unet / UNET.name).unlink()
    put_model(unet, load_file(UNET), "diffusion_pytorch_model", "safetensors", "", shards=True)
    missing = unet / "diffusion_pytorch_model-00002-of-00002.safetensors"
    missing.unlink()
    assert f"has no {missing.name}, where its index says" in refused(checkpoint.read_base, tmp_path / "sd")
    (unet / f"{UNET.name}.index.json").write_text('{"weight_map": 3}', encoding="utf-8")
    assert "does not say in which files" in refused(checkpoint.read_base, tmp_path / "sd")


@pytest.mark.parametrize("name", ["model", "model_ema"])
def test_depth_models_from_the_middle_of_training(tmp_path, name):
    tensors = torch.load(DEPTH, weights_only=True)["model"]
    expected = depth.read_depth(DEPTH)[0]
    for stem, content in (
        ("nested", {name: tensors, "optimizer": {"state": {}}, "epoch": 7}),
        ("named", {f"model_ema.{key}": value for key, value in tensors.items()} | {"step": torch.zeros(())}),
    ):
        torch.save(content, tmp_path / f"{stem}.pth")
        shutil.copy(DEPTH.with_suffix(".json"), tmp_path / f"{stem}.json")
        found, _ = depth.read_depth(tmp_path / f"{stem}.pth")
        assert found.keys() - {"step"} == expected.keys()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"num_attention_heads": "six", "out_indices": [0, 1, 2, 3]}', '{"num_attention_heads": 6, "out_indices": 3}'],
)
def test_an_odd_json_beside_a_depth_model(tmp_path, content):
    shutil.copy(DEPTH, tmp_path / "depth.pth")
    (tmp_path / "depth.json").write_text(content, encoding="utf-8")
    assert "depth" in refused(depth.read_depth, tmp_path / "depth.pth")


def test_json_from_a_windows_editor(tmp_path):
    shutil.copy(DEPTH, tmp_path / "depth.pth")
    (tmp_path / "depth.json").write_text(DEPTH.with_suffix(".json").read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert depth.read_depth(tmp_path / "depth.pth")[1] == depth.read_depth(DEPTH)[1]


ODD = [
    {"config": None},
    {"config": "{"},
    {"config": "[1]"},
    {"config": '"x"'},
    *({"config": {key: value}} for key, value in (
        ("new", 1), ("channels", "abc"), ("channels", [32, "64"]), ("channels", [32]), ("channels", [1e9]), ("heads", None),
        ("heads", [3, 3, 3, 0]), ("heads", [1]), ("layers", 10**12), ("layers", True), ("groups", 0), ("groups", 7), ("rank", 10**12),
        ("rank", -1), ("hint_channels", [1]), ("prediction", "v"), ("prediction", None), ("latent_scale", "0.18"),
        ("latent_scale", float("nan")), ("latent_scale", 0), ("folded", "no"), ("folded", True), ("in_channels", [4]),
    )),
    {"sources": None},
    {"sources": "none"},
    {"sources": "[]"},
    {"sources": '{"base": 3}'},
    {"format_version": None},
]  # fmt: skip


@pytest.mark.parametrize("change", ODD, ids=str)
def test_odd_metadata_of_a_merged_file(tmp_path, merged, change):
    with checkpoint.safe_open(merged, "pt") as file:
        metadata = file.metadata()
    for key, value in change.items():
        metadata[key] = json.dumps({**json.loads(metadata[key]), **value}) if isinstance(value, dict) else value
    metadata = {key: value for key, value in metadata.items() if value is not None}
    save_file(load_file(merged), tmp_path / "odd.safetensors", metadata)
    assert refused(checkpoint.load, tmp_path / "odd.safetensors").startswith("odd.safetensors")


def small_adapter() -> dict:
    """The released layout with nothing in its networks."""
    content = checkpoint.read_tensors(ADAPTER)
    vars(content["controlnet"]).clear()
    return {key: {} if isinstance(value, dict) else value for key, value in content.items()}


def test_odd_values_of_an_adapter(tmp_path):
    content = small_adapter()
    for key, value in (("rank_unet", 0), ("rank_vae", "4"), ("state_dict_unet", []), ("processor_state_dict", {"a": 1}),
                       ("unet_lora_encoder_modules", "conv_in"), ("vae_lora_encoder_modules", [1]), ("state_dict_attn", 0.5)):  # fmt: skip
        torch.save({**content, key: value}, tmp_path / "odd.pkl", pickle_module=_Writer, pickle_protocol=2)
        assert f"its {key} is not what it should be" in refused(checkpoint.read_adapter, tmp_path / "odd.pkl")


class Bound:
    """Pickles as a bound method does: to `getattr` of an object and a name."""

    def __init__(self, owner, name="forward"):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


def unwrapped(path: Path, content: dict, forward) -> Path:
    """An adapter with what accelerate leaves in a model that it has unwrapped."""
    controlnet = content["controlnet"]
    vars(controlnet)["forward"] = forward(controlnet)
    torch.save(content, path, pickle_module=_Writer, pickle_protocol=2)
    return path


def test_an_adapter_that_accelerate_has_unwrapped(tmp_path):
    path = unwrapped(tmp_path / "lora.pkl", checkpoint.read_tensors(ADAPTER), Bound)
    assert "builtins.getattr" in torch.serialization.get_unsafe_globals_in_checkpoint(path)
    found, expected = checkpoint.read_adapter(path), checkpoint.read_adapter(ADAPTER)
    assert found.controlnet.keys() == expected.controlnet.keys()
    assert all(torch.equal(found.controlnet[key], value) for key, value in expected.controlnet.items())
    assert "forward" not in vars(checkpoint.read_tensors(path)["controlnet"])


@pytest.mark.parametrize(
    "forward",
    [lambda module: Bound(module, "__class__"), lambda _: Bound({}, "forward"), lambda _: Bound(torch.zeros(1), "forward")],
    ids=["another name", "of a dict", "of a tensor"],
)
def test_any_other_getattr_is_refused(tmp_path, forward):
    path = unwrapped(tmp_path / "lora.pkl", small_adapter(), forward)
    assert "builtins.getattr', which no weights need" in refused(checkpoint.read_adapter, path)


def test_the_real_getattr_that_others_allow_is_not_let_in(tmp_path):
    path = unwrapped(tmp_path / "lora.pkl", small_adapter(), Bound)
    with torch.serialization.safe_globals([getattr]):
        assert "builtins.getattr', which no weights need" in refused(checkpoint.read_adapter, path)
        assert getattr in torch.serialization.get_safe_globals()


def test_torch_finds_the_same_names_in_the_released_layout():
    ours = {
        name for name in checkpoint.named_classes(ADAPTER) if name.startswith(("torch.nn.modules.", "diffusers.", "models."))
    }
    assert ours == set(torch.serialization.get_unsafe_globals_in_checkpoint(ADAPTER))


def test_another_thread_loads_its_own_meanwhile(tmp_path, monkeypatch):
    """A class that it has allowed, and that the adapter names too."""
    torch.save({"layer": torch.nn.Linear(2, 2)}, tmp_path / "theirs.pt")
    load, seen = torch.load, []

    def load_theirs():
        seen.append(load(tmp_path / "theirs.pt", weights_only=True)["layer"])

    def load_while_they_load(*arguments, **options):
        thread = threading.Thread(target=load_theirs)
        thread.start()
        thread.join()
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", load_while_they_load)
    with torch.serialization.safe_globals([torch.nn.Linear]):
        before = set(torch.serialization.get_safe_globals())
        checkpoint.read_adapter(ADAPTER)
        assert set(torch.serialization.get_safe_globals()) == before
    assert type(seen[0]) is torch.nn.Linear


def test_two_threads_read_at_once():
    """Neither takes the stand-ins away from the other."""
    failures: list[Exception] = []

    def read():
        try:
            for _ in range(2):
                checkpoint.read_adapter(ADAPTER)
        except ValueError as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_training_log_where_comfyui_has_allowed_part_of_it(tmp_path, single):
    """ComfyUI allows numpy's kind of number and one of its sizes; a log with others is read all the same."""
    torch.save({"state_dict": single, "scores": [np.float64(0.5), np.int64(3)]}, tmp_path / "v2-1.ckpt")
    with torch.serialization.safe_globals([np.dtype, type(np.dtype("float64"))]):
        checkpoint.read_base(tmp_path / "v2-1.ckpt")
    checkpoint.read_base(tmp_path / "v2-1.ckpt")


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
        cli.load_renderer(weights, torch.device("cpu"), torch.float32)
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
