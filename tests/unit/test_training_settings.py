"""Settings of training: what is read from a file, and what is refused in one line."""

from pathlib import Path

import pytest

from magicbokeh_ops.training import train as training
from magicbokeh_ops.training.settings import Settings, read_settings
from magicbokeh_ops.training.trainee import build
from tests.support.training_runs import folder_with, settings_of

STAGE = "kind: base, steps: 1e2, size: 64, batch: 1, rate: 5e-5"


def settings_in(tmp_path, text: str) -> Settings:
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    return read_settings(tmp_path / "run.yaml")


def test_numbers_are_numbers_however_they_are_written(tmp_path):
    """PyYAML takes 5e-5 and 1e2 for text, and a bare no for false."""
    text = f"stages: [{{{STAGE}, restoration_rate: '5e-6'}}]\nprecision: no\ndata: {{scale: [1, 15e-1], k_limit: .5e1}}\nlpips: 2E0"
    settings = settings_in(tmp_path, text)
    stage = settings.stages[0]
    assert (stage.steps, stage.rate, stage.restoration_rate) == (100, 5e-5, 5e-6) and isinstance(stage.steps, int)
    assert (settings.precision, settings.data.scale, settings.data.k_limit, settings.lpips) == ("no", (1, 1.5), 5, 2)


def test_the_example_in_the_docs_and_all_files_that_come_along_can_be_read(tmp_path):
    root = Path(__file__).parents[2]
    example = (root / "docs" / "training.md").read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    settings = settings_in(tmp_path, example)
    assert [stage.rate for stage in settings.stages] == [5e-5, 5e-5] and settings.lpips == 2
    for file in (root / "magicbokeh_ops" / "training" / "nano.yaml", root / "benchmarks" / "ablations.yaml"):
        assert read_settings(file).network.channels[0] in (48, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: []", "has no stages"),
        ("", "has no stages"),
        ("stages: [", "is no YAML"),
        ("stages: abc", "stages is 'abc' but should be"),
        ("stages: [{%s, kind: magic}]", "has a stage 'magic' .choose among encoder"),
        ("stages: [{kind: base, steps: 1, size: 64, batch: 1}]", "rate is missing in stage 1"),
        ("stages: [{%s}, {%s, rate: fast}]", "rate in stage 2 is 'fast' but should be a valid number"),
        ("stages: [{%s, rate: 0}]", "rate in stage 1 is 0 but should be greater than 0"),
        ("stages: [{%s, steps: 1.5}]", "steps in stage 1 is 1.5 but should be a valid integer"),
        ("stages: [{%s, turns: [0, 0]}]", "turns are 0 and 0"),
        ("stages: [{%s, speed: 1}]", "unknown entry 'speed' in stage 1 .known are kind, "),
        ("stages: [{%s}]\ncolour: 1", "unknown entry 'colour' .known are stages, "),
        ("stages: [{%s}]\nseed: yes", "seed is True but should be a number"),
        ("stages: [{%s}]\nseed: -1", "seed is -1 but should be greater"),
        ("stages: [{%s}]\nclip: .nan", "clip is nan but should be a finite number"),
        ("stages: [{%s}]\nseed: 100000000000000000", "seed is 100000000000000000 but should be less than 9007"),
        ("stages: [{%s}]\ndata: {k_limit: 1e9}", "k_limit in data is 1000000000.0 but should be less than or equal to 1000"),
        ("stages: [{%s}]\nnetwork: {channels: [8, 8], heads: [0, 0], groups: 4}", "as many heads as channels, and not only 0"),
        ("stages: [{%s}]\nnetwork: {channels: [8, 8], heads: [1], groups: 4}", "as many heads as channels"),
        ("stages: [{%s}]\nnetwork: {channels: [8, 8], heads: [3, 0], groups: 4}", "8 channels for 4 groups and 3 heads"),
        ("stages: [{%s}]\nnetwork: {channels: [8, 8], heads: [1, 0], groups: 7}", "8 channels for 7 groups"),
        (
            "stages: [{%s}]\nnetwork: {hint_channels: [4, 4, 4, 4]}",
            "network has 4 hint_channels, which don't lead to patches of 4 pixels",
        ),
        ("stages: [{%s}]\nseed: 2020-13-45", "is no YAML"),
        ("stages: [{%s}]\nseed: !!bool abc", "is no YAML"),
        ("stages: [{%s}]\nprecision: half", "precision is 'half' but should be 'no', 'bf16' or 'fp16'"),
        ("stages: [{%s}]\nnetwork: {chanels: [8]}", "unknown entry 'chanels' in network .known are channels, "),
        ("stages: [{%s}]\ndata: {scale: [1, 9]}", "it goes from 1 to 8"),
        ("stages: [{%s}]\ndata: {scale: [1, x]}", "scale in data is 'x' but should be a valid number"),
        ("stages: [{%s}]\ndata: {images: photos}", "images and cutouts go together"),
    ],
)
def test_bad_settings_are_named_in_one_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        settings_in(tmp_path, text.replace("%s", STAGE))
    assert str(caught.value).startswith("run.yaml") and "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("size", [50, 97, 1])
def test_a_size_that_the_networks_can_not_halve_is_refused(drawn, tmp_path, size):
    with pytest.raises(ValueError, match=f"size in stage 1 is {size}; these networks need a multiple of 8"):
        training.train(settings_of(tmp_path, {"kind": "base", "size": size}), folder_with(drawn, tmp_path), build)
