"""The command `magicbokeh lens`, run in this process."""

from click.testing import CliRunner

from magicbokeh_ops.cli import main


def call(*arguments, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["lens", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output
