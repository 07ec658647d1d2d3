"""Scripts that know nothing of holdfast, and an interpreter that does not have it."""

from __future__ import annotations

import shutil
import sysconfig
import venv
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "scripts/unmodified"


def interpreter_without_holdfast(folder: Path) -> str:
    """An environment that has what this one has, but for holdfast, which is not installed as a folder of packages."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))  # the .pth files in there are not read
    return str(folder / "bin/python")


def console_script(interpreter: str) -> str:
    """``train-wine``, as an installer leaves it beside the interpreter, with its package among the others."""
    environment = Path(interpreter).parents[1]
    (packages,) = environment.glob("lib/*/site-packages")
    shutil.copytree(SCRIPTS / "wine_trainer", packages / "wine_trainer", dirs_exist_ok=True)
    script = environment / "bin/train-wine"
    script.write_text(f"#!{interpreter}\nimport sys\nfrom wine_trainer.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return str(script)
