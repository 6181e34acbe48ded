"""The wheel is whole, and every Python that its classifiers name compiles what is in it, as far as they are at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("parties", "psi", "ui", "vfl")
BESIDE = (
    "docs",
    "examples",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
)
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
COMPILE = """
import pathlib, sys, warnings
warnings.simplefilter("error")
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.py")):
    compile(path.read_bytes(), str(path), "exec")
print("%d.%d" % sys.version_info[:2])
"""


def others() -> dict[str, str]:
    """Other Pythons at hand from 3.11 on, by minor version: on the path, and those that pyenv keeps."""
    found: dict[str, str] = {}
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [(path.parent.parent.name, str(path)) for path in sorted(kept.glob("3.*/bin/python"))]
    places += [(f"3.{minor}", shutil.which(f"python3.{minor}") or "") for minor in range(11, 20)]
    for version, python in places:
        named = re.match(r"3\.(\d+)", version)
        if python and named and int(named[1]) >= 11 and int(named[1]) != sys.version_info.minor:
            found.setdefault(f"3.{named[1]}", python)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout; unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__", "img"))
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=folder / "source", capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    (made,) = folder.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_holds_every_module_and_says_which_pythons_it_was_tried_on(wheel: Path) -> None:
    for name in SOURCES:
        inside = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*.py") if "__pycache__" not in path.parts}
        assert {path for path in inside if not (wheel / path).is_file()} == set()
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    said = Parser().parsestr(metadata.read_text(encoding="utf-8"))
    named = set(re.findall(r"Python :: 3\.(\d+)", "\n".join(said.get_all("Classifier", []))))
    assert str(sys.version_info.minor) in named
    least = re.fullmatch(r">=3\.(\d+)", said["Requires-Python"])
    assert least is not None
    assert min(map(int, named)) == int(least[1]), "the oldest that is named is the oldest that may install it"
    assert list(wheel.glob("*.data/data/share/man/man1/entente.1"))


def test_every_other_python_at_hand_compiles_the_wheel(wheel: Path) -> None:
    at_hand = others()
    if not at_hand:
        pytest.skip("no other Python from 3.11 on is on the path or kept by pyenv")
    for version, python in at_hand.items():
        done = subprocess.run([python, "-I", "-c", COMPILE, str(wheel)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, version), done.stderr[-2000:]
