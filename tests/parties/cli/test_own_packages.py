"""A package of another distribution under one of our names: the command line ends with the remedy, and runs nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from parties.cli.own_packages import FIRST_LINES, recorded, stranger
from tests.places import ROOT


def ended(*path: Path, words: tuple[str, ...] = ("-m", "parties.cli", "--version")) -> tuple[int, str]:
    """A process whose Python looks into these folders first: its exit code and all that it wrote."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-P", *words], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The four packages as an installation has them, as far as this looks at them, with their record."""
    place = tmp_path / "site"
    for name in FIRST_LINES:
        (place / name).mkdir(parents=True)
        shutil.copy(ROOT / name / "__init__.py", place / name)
    (place / "parties" / "cli").mkdir()
    (place / "parties" / "cli" / "__init__.py").write_text("import parties.cli.own_packages\n")
    (place / "parties" / "cli" / "__main__.py").write_text("print('it ran')\n")
    shutil.copy(ROOT / "parties" / "cli" / "own_packages.py", place / "parties" / "cli")
    (place / "entente-9.dist-info").mkdir()
    (place / "entente-9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: entente\nVersion: 9\n")
    lines = []
    for path in sorted(place.rglob("*.py")):
        digest = urlsafe_b64encode(sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
        lines.append(f"{path.relative_to(place)},sha256={digest},{path.stat().st_size}")
    (place / "entente-9.dist-info" / "RECORD").write_text("\n".join(lines) + "\n")
    return place


def test_each_package_begins_as_the_check_expects_it() -> None:
    assert stranger() == ""
    for name, line in FIRST_LINES.items():
        assert (ROOT / name / "__init__.py").read_bytes().startswith(line + b"\n")


@pytest.mark.parametrize("name", ["ui", "psi"])
def test_a_package_that_is_found_before_ours_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("print('it ran')\n")
    code, said = ended(tmp_path, ROOT)
    assert code == 2
    assert f"error: Python finds {tmp_path / name / '__init__.py'} where Entente's package {name} should be" in said
    assert "environment of its own" in said
    assert said.count("\n") == 1, "one sentence"


def test_a_package_that_was_installed_over_ours_is_refused_with_whose_it_is(installed: Path) -> None:
    assert ended(installed) == (0, "it ran\n")
    (installed / "ui" / "__init__.py").write_text('"""Widgets."""\n')
    (installed / "widgets-1.dist-info").mkdir()
    (installed / "widgets-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: widgets\nVersion: 1\n")
    (installed / "widgets-1.dist-info" / "top_level.txt").write_text("ui\n")
    code, said = ended(installed)
    assert code == 2
    assert f"{installed / 'ui' / '__init__.py'}, of Entente's package ui, was overwritten" in said
    assert "the distribution widgets has one too" in said
    (installed / "ui" / "__init__.py").unlink()
    code, said = ended(installed)
    assert code == 2, "what is left of a package when the other distribution was removed"


def test_the_doctor_compares_every_file_with_the_record(installed: Path) -> None:
    asked = ("-c", "from parties.cli.own_packages import recorded; print(recorded())")
    assert "all 7 of its files are as Entente 9 was installed" in ended(installed, words=asked)[1]
    with (installed / "parties" / "cli" / "__main__.py").open("a") as file:
        file.write("# another version's\n")
    said = ended(installed, words=asked)[1]
    assert "(False, '1 of 7 files are not those of Entente 9, the first parties/cli/__main__.py: install" in said
    assert recorded()[0]
