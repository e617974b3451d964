"""The page of recipes: its commands run, and its pictures are those that the commands make."""

import re

import click
import pytest

from benchmarks import recipes
from magicbokeh_ops.cli import main

PAGE = recipes.read_page()
PACK = recipes.PAGE.parents[1]


def test_every_recipe_has_a_picture_of_its_own():
    pictures = {path.stem for path in (recipes.PAGE.parent / "images" / "recipes").iterdir()}
    assert set(PAGE) == set(recipes.SHOWN) == pictures
    assert all(blocks for blocks in PAGE.values())


def test_every_template_exists():
    text = recipes.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"templates? `(\w+)`(?:, or `(\w+)`)?", text))
    assert named
    for name in {name for names in named for name in names} - {""}:
        assert (PACK / "workflows" / f"{name}.json").exists(), name


@pytest.mark.long
@pytest.mark.parametrize("name", recipes.SHOWN)
def test_every_recipe_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipes.cook(name, PAGE[name], width=64)
    assert recipes.sheet(name)[:2] == b"\xff\xd8"


@pytest.mark.parametrize("block", ["pip install magicbokeh\n", "magicbokeh lens a.jpg \\\n  -o b.jpg\nrm b.jpg\n"])
def test_only_commands_of_the_pack_are_run(block):
    with pytest.raises(ValueError, match="not magicbokeh's"):
        recipes.commands(block)


@pytest.mark.parametrize("page", ["README.md", "docs/command-line.md", "docs/recipes.md", "docs/nano.md"])
def test_commands_on_pages_have_these_options(page):
    lines = (PACK / page).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    shown = [line.split()[1:] for line in lines if line.startswith("magicbokeh ")]
    assert shown
    for name, *arguments in shown:
        command = main.get_command(click.Context(main), name)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if re.match("--?[a-z]", argument)} <= known, (name, arguments)
