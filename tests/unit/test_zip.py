"""What the registry's zip holds."""

import ast
from pathlib import PurePosixPath

from tests.support.registry_zip import PACK, git_files, shipped_files, write_zip

LEFT_OUT = ("cli/", "deep_pictures.py", "exr.py", "files.py", "renderer.py", "evaluation/", "synthesis/", "training/", "video/")


def test_everything_that_users_need_is_in_and_nothing_else():
    root = {"__init__.py", "pyproject.toml", "requirements.txt", "README.md", "CHANGELOG.md", "LICENSE"}
    folders = ("nodes/", "magicbokeh_ops/", "web/", "locales/", "workflows/", "subgraphs/")
    wanted = {name for name in git_files() if name in root or name.startswith(folders)}
    wanted -= {name for name in wanted if name.removeprefix("magicbokeh_ops/").startswith(LEFT_OUT)}
    assert shipped_files() == wanted


def test_every_import_of_our_own_is_in_the_zip():
    """Also those inside functions, which only a run would miss."""
    shipped = shipped_files()
    imports = [
        (name, node)
        for name in shipped
        if name.endswith(".py")
        for node in ast.walk(ast.parse((PACK / name).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    for name, node in imports:
        source = PurePosixPath(name).parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for alias in node.names:
            places = [source / f"{alias.name}.py", source.with_suffix(".py"), source / "__init__.py"]
            found = next(place for place in places if (PACK / place).exists())
            assert str(found) in shipped, f"{name} needs {found}"


def test_the_zip_is_small(tmp_path):
    assert write_zip(tmp_path / "node.zip").stat().st_size < 30 * 2**20
