"""Depth distillation at a size that takes seconds."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from magicbokeh_ops import depth
from magicbokeh_ops.synthesis.dataset import Sample
from magicbokeh_ops.training import distill
from magicbokeh_ops.training.distill import read_depth_settings, relative

NETWORK = {
    "width": 24,
    "blocks": 4,
    "heads": 3,
    "out_indices": [0, 1, 2, 3],
    "mlp_ratio": 2,
    "patch": 14,
    "image_size": 84,
    "neck": [4, 4, 8, 8],
    "fusion": 4,
    "head_width": 4,
}
CONFIG = {
    "network": NETWORK,
    "steps": 30,
    "teacher_steps": 30,
    "size": 84,
    "batch": 2,
    "rate": 1e-3,
    "warmup": 2,
    "data": {"pool": 2, "workers": 0},
}


def settings_of(folder: Path, **changes):
    file = folder / "depth.yaml"
    file.write_text(yaml.safe_dump({**CONFIG, **changes}), encoding="utf-8")
    return read_depth_settings(file)


def losses(file: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.long
def test_a_teacher_and_its_student(tmp_path):
    settings = settings_of(tmp_path)
    file = distill.distill(settings, tmp_path / "run")
    teacher, student = (
        depth.build(*depth.read_depth(path), path.name) for path in (tmp_path / "run" / "teacher.safetensors", file)
    )
    photo = torch.rand(1, 3, 84, 84)
    with torch.inference_mode():
        seen = [depth.estimate(model, photo, 84) for model in (teacher, student)]
    assert seen[0].shape == (1, 1, 84, 84) and not torch.equal(*seen)
    assert (tmp_path / "run" / "student.json").exists()


@pytest.mark.long
def test_a_stopped_student_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch):
    whole = distill.distill(settings_of(tmp_path, save_seconds=0.0), tmp_path / "whole")
    stopped = settings_of(tmp_path, save_seconds=0.0)
    make, calls = distill.student_loss, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return make(*arguments)

    monkeypatch.setattr(distill, "student_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distill.distill(stopped, tmp_path / "stopped")
    again = distill.distill(stopped, tmp_path / "stopped")
    assert losses(whole.with_name("student.jsonl")) == pytest.approx(losses(again.with_name("student.jsonl")), rel=1e-4)
    a, b = (depth.read_depth(path)[0] for path in (whole, again))
    assert all(torch.allclose(a[key], b[key], atol=1e-5) for key in a)


@pytest.mark.long
def test_student_starts_as_its_teacher_and_learns_the_bad_photos(tmp_path):
    """Fed with the teacher's own photos there is nothing to learn; a batch of bad ones is learned by heart."""
    torch.manual_seed(0)
    config = depth.DepthConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in NETWORK.items()})
    teacher = depth.build_untrained(config).eval()
    photos = torch.rand(2, 3, 84, 84)
    sample = type("Sample", (), {"sharp": photos, "lq": photos})
    assert distill.student_loss(
        distill.WithFeatures(teacher), distill.WithFeatures(teacher), sample, 1.0
    ).item() == pytest.approx(0, abs=1e-6)
    sample.lq = torch.nn.functional.avg_pool2d(photos, 9, 1, 4)
    student = depth.build_untrained(config)
    student.load_state_dict(teacher.state_dict())
    optimizer = torch.optim.AdamW(student.parameters(), 1e-3)
    before = distill.student_loss(distill.WithFeatures(student), distill.WithFeatures(teacher), sample, 1.0).item()
    for _ in range(30):
        loss = distill.student_loss(distill.WithFeatures(student), distill.WithFeatures(teacher), sample, 1.0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.7 * before


def test_looking_is_the_model_itself(tmp_path):
    config = depth.DepthConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in NETWORK.items()})
    model = depth.build_untrained(config).eval()
    photos = torch.rand(1, 3, 84, 112)
    found, features = distill.WithFeatures(model)(photos)
    assert torch.allclose(found, model(depth.standardize(photos)).predicted_depth, atol=1e-6) and len(features) == 4


def test_the_teacher_is_held_to_disparity_as_it_is():
    """Scale and shift cost something, or everything could sink below 0, where the network's output is cut; the right shape costs less."""
    truth = torch.rand(2, 1, 8, 8)
    sample = Sample(*[torch.zeros(2, 3, 8, 8)] * 3, truth, *[torch.zeros(2)] * 4)

    def loss(disparity):
        return distill.teacher_loss(lambda _photos: (disparity, []), sample)

    assert loss(truth[:, 0]) == 0
    assert 0 < loss(truth[:, 0] + 0.1) < loss(truth[:, 0] + 0.2) < loss(1 - truth[:, 0])


def test_relative_disparity_has_no_scale_and_shift():
    values = torch.rand(2, 5, 7)
    assert torch.allclose(relative(values), relative(3 * values + 2), atol=1e-5)


@pytest.mark.long
def test_teacher_and_student_see_scenes_of_their_own(tmp_path, monkeypatch):
    seeds = []
    load = distill.run.load_batches
    monkeypatch.setattr(distill.run, "load_batches", lambda batches, *_: seeds.append(batches.seed) or load(batches, *_))
    for seed in (0, 1):
        distill.distill(settings_of(tmp_path, steps=1, teacher_steps=1, seed=seed), tmp_path / str(seed))
    assert len(set(seeds)) == len(seeds) == 4


@pytest.mark.long
def test_what_was_made_with_other_settings_is_refused(tmp_path):
    short = {"steps": 1, "teacher_steps": 1, "data": {"pool": 1, "workers": 0}}
    distill.distill(settings_of(tmp_path, **short), tmp_path / "run")
    for changes, message in (
        ({"teacher_steps": 2}, "teacher.safetensors was made when teacher_steps was 1, now it is 2"),
        ({"network": {**NETWORK, "mlp_ratio": 3}}, "teacher.safetensors was made when mlp_ratio in network was 2"),
        ({"data": {"pool": 1, "k_limit": 8}}, "teacher.safetensors was made when k_limit in data was 32.0, now it is 8.0"),
        ({"features": 0.5}, "student.pt was made when features was 1.0, now it is 0.5"),
        ({"steps": 2}, "student.pt was made when steps was 1, now it is 2"),
    ):
        with pytest.raises(ValueError, match=message):
            distill.distill(settings_of(tmp_path, **{**short, **changes}), tmp_path / "run")
    again = distill.distill(settings_of(tmp_path, **short, save_seconds=1.0), tmp_path / "run")
    assert again.exists()


def test_a_teacher_that_is_not_there_is_not_made_up(tmp_path):
    teacher = tmp_path / "depth_anything.safetensors"
    with pytest.raises(ValueError, match="depth_anything.safetensors is not there"):
        distill.distill(settings_of(tmp_path, teacher=str(teacher), steps=1), tmp_path / "run")
    assert not teacher.exists()


@pytest.mark.long
def test_half_precision_is_what_it_says(tmp_path):
    file = distill.distill(settings_of(tmp_path, steps=2, teacher_steps=2, precision="fp16"), tmp_path / "run")
    state = torch.load(file.with_suffix(".pt"), weights_only=True)
    assert state["scaler"]["scale"] > 0
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in state["model"].values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "unknown entry 'colour' .known are steps, "),
        ({"rate": "fast"}, "rate is 'fast' but should be a valid number"),
        ({"network": {**NETWORK, "colour": 1}}, "unknown entry 'colour' in network .known are width, "),
        ({"network": {"width": 24}}, "patch is missing in network"),
        ({"network": {**NETWORK, "patch": 0}}, "network has .* and a patch of 0"),
        ({"network": {**NETWORK, "out_indices": [0, 1, 2, 9]}}, r"network has out_indices \[0, 1, 2, 9\]; of \d blocks"),
        ({"network": {**NETWORK, "heads": 5}}, "network has 5 heads for a width of"),
        ({"teacher_steps": 0}, "there is no teacher, so network and teacher_steps are needed"),
        ({"data": {"pool": 0}}, "pool in data is 0 but should be greater than or equal to 1"),
    ],
)
def test_bad_settings_are_named_in_one_line(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        settings_of(tmp_path, **changes)
    assert str(caught.value).startswith("depth.yaml") and "\n" not in str(caught.value)


def test_a_rate_may_be_written_with_an_exponent(tmp_path):
    file = tmp_path / "depth.yaml"
    file.write_text("{steps: 2e5, size: 518, batch: 8, rate: 5e-6, teacher: depth.pth}", encoding="utf-8")
    settings = read_depth_settings(file)
    assert (settings.steps, settings.rate) == (200_000, 5e-6)
    nano = read_depth_settings(Path(distill.__file__).with_name("nano_depth.yaml"))
    assert nano.network == depth.DepthConfig(96, 4, 3, (0, 1, 2, 3), 4, 14, 126, (16, 32, 64, 96), 16, 16)


def test_a_size_that_the_network_can_not_see_is_refused(tmp_path):
    with pytest.raises(ValueError, match="size is 80; the depth model needs a multiple of 14"):
        distill.distill(settings_of(tmp_path, size=80), tmp_path / "run")
