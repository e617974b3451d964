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
    file.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return read_depth_settings(file)


def losses(file: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in file.read_text().splitlines()]


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


def test_student_starts_as_its_teacher_and_learns_the_bad_photos(tmp_path):
    """Fed with the teacher's own photos there is nothing to learn; a batch of bad ones is learned by heart."""
    torch.manual_seed(0)
    config = depth.DepthConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in NETWORK.items()})
    teacher = depth.build_untrained(config).eval()
    photos = torch.rand(2, 3, 84, 84)
    sample = type("Sample", (), {"sharp": photos, "lq": photos})
    assert distill.student_loss(teacher, teacher, sample, 1.0).item() == pytest.approx(0, abs=1e-6)
    sample.lq = torch.nn.functional.avg_pool2d(photos, 9, 1, 4)
    student = depth.build_untrained(config)
    student.load_state_dict(teacher.state_dict())
    optimizer = torch.optim.AdamW(student.parameters(), 1e-3)
    before = distill.student_loss(student, teacher, sample, 1.0).item()
    for _ in range(30):
        loss = distill.student_loss(student, teacher, sample, 1.0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.7 * before


def test_looking_is_the_model_itself(tmp_path):
    config = depth.DepthConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in NETWORK.items()})
    model = depth.build_untrained(config).eval()
    photos = torch.rand(1, 3, 84, 112)
    found, features = distill.look(model, photos)
    assert torch.allclose(found, model(depth.standardize(photos)).predicted_depth, atol=1e-6) and len(features) == 4


def test_the_teacher_is_held_to_disparity_as_it_is(monkeypatch):
    """Scale and shift cost something, or everything could sink below 0, where the network's output is cut; the right shape costs less."""
    truth = torch.rand(2, 1, 8, 8)
    sample = Sample(*[torch.zeros(2, 3, 8, 8)] * 3, truth, *[torch.zeros(2)] * 4)

    def loss(disparity):
        monkeypatch.setattr(distill, "look", lambda _model, _photos: (disparity, []))
        return distill.teacher_loss(None, sample)

    assert loss(truth[:, 0]) == 0
    assert 0 < loss(truth[:, 0] + 0.1) < loss(truth[:, 0] + 0.2) < loss(1 - truth[:, 0])


def test_relative_disparity_has_no_scale_and_shift():
    values = torch.rand(2, 5, 7)
    assert torch.allclose(relative(values), relative(3 * values + 2), atol=1e-5)


def test_bad_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match="unknown entry 'colour'"):
        settings_of(tmp_path, colour=1)
