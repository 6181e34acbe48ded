"""The four packages that Python finds are Entente's, and of one installation: else the command line ends at once.

``psi``, ``vfl``, ``parties`` and ``ui`` are names that other distributions may have too. One that is installed over
ours, or stands before it on the path, would be imported without a word. Imported before all else of the command line.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

__all__ = ["FIRST_LINES", "recorded", "stranger"]

FIRST_LINES = {
    "psi": b'"""Entity alignment: private set intersection over ristretto255."""',
    "vfl": b'"""Secure arithmetic, split models, factors and contribution; no I/O."""',
    "parties": b'"""Everything that touches the world: nodes, transports, data, coordinator, ledger, audit."""',
    "ui": b'"""The consortium web UI."""',
}
"""What each package's ``__init__.py`` begins with."""

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_REMEDY = (
    "install Entente in an environment of its own: python3 -m venv entente-env, and its pip; or pipx install, with the "
    "same arguments as pip"
)


def stranger() -> str:
    """Why one of the packages that Python finds is not ours, with the remedy; "" where all are."""
    for name, line in FIRST_LINES.items():
        spec = find_spec(name)
        found = "nothing" if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), "")
        ours = os.path.join(_ROOT, name, "__init__.py")
        if not _same(found, ours):
            return f"Python finds {found} where Entente's package {name} should be{_whose(name)}: {_REMEDY}"
        if not _begins(ours, line):
            return f"{ours}, of Entente's package {name}, was overwritten{_whose(name)}: {_REMEDY}"
    return ""


def recorded() -> tuple[bool, str]:
    """Whether the packages' files are those that the distribution recorded when it was installed; and in words."""
    from base64 import urlsafe_b64encode
    from hashlib import sha256
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path

    where = f"{', '.join(FIRST_LINES)} of {_ROOT}"
    try:
        installed = distribution("entente")
    except PackageNotFoundError:
        return True, f"{where}, which is no installation: there is no record to compare with"
    files = [one for one in installed.files or () if one.parts[0] in FIRST_LINES and one.hash is not None]
    if not files:
        return True, f"{where}, which is a checkout: there is no record to compare with"
    version = f"Entente {installed.version}"
    if not _same(str(installed.locate_file("")), _ROOT):
        return False, f"{where}, while {version} is installed elsewhere: {_REMEDY}"
    other = []
    for one in files:
        assert one.hash is not None
        try:
            made = urlsafe_b64encode(sha256(Path(str(one.locate())).read_bytes()).digest()).rstrip(b"=").decode()
        except OSError:
            made = ""
        if made != one.hash.value:
            other.append(str(one))
    if other:
        return False, f"{len(other)} of {len(files)} files are not those of {version}, the first {other[0]}: {_REMEDY}"
    return True, f"{where}: all {len(files):,} of its files are as {version} was installed"


def _same(found: str, ours: str) -> bool:
    return found == ours or os.path.realpath(found) == os.path.realpath(ours)


def _begins(path: str, line: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(line)) == line
    except OSError:
        return not os.path.exists(path)  # packed in an archive, which nobody installs into


def _whose(name: str) -> str:
    """Which other distributions have a package of this name, where they say so."""
    from importlib.metadata import packages_distributions

    others = sorted(set(packages_distributions().get(name, ())) - {"entente"})
    return f" (the distribution {', '.join(others)} has one too)" if others else ""


_SAID = stranger()
if _SAID:
    print(f"error: {_SAID}", file=sys.stderr)
    raise SystemExit(2)
