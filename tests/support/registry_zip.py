"""The pack as the registry hands it out."""

import subprocess
import zipfile
from pathlib import Path

PACK = Path(__file__).parents[2]


def git_files(*options: str) -> set[str]:
    done = subprocess.run(["git", "ls-files", "-z", *options], cwd=PACK, capture_output=True, text=True, check=True)
    return set(done.stdout.split("\0")) - {""}


def shipped_files() -> set[str]:
    """What `comfy node publish` packs: what git knows, less what .comfyignore names by the rules of .gitignore."""
    return git_files() - git_files("--cached", "--ignored", "--exclude-from=.comfyignore")


def write_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(shipped_files()):
            packed.write(PACK / name, name)
    return path
