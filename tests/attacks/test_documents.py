"""The pages on protocols and threats say what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import vfl.register  # noqa: F401 - every message type of the product is declared
from psi.flow import REGISTER
from tests.places import ROOT

PROTOCOLS = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
THREATS = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")


def test_the_table_of_messages_equals_the_register() -> None:
    wanted = {
        f"| `{name}` | {k.sender} | {k.receiver} | {k.payload} | {k.reveals} | {k.source} |"
        for name, k in REGISTER.items()
        if k.cls.__module__.partition(".")[0] in ("psi", "vfl", "parties")
    }
    written = {line for line in PROTOCOLS.splitlines() if re.match(r"\| `[a-z-]+\.[a-z.-]+` \| \w+( party)? \|", line)}
    assert sorted(wanted - written) == [], "lines that docs/protocols.md lacks"
    assert sorted(written - wanted) == [], "lines that docs/protocols.md should not have"


def test_every_claim_names_a_test_that_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", THREATS)
    assert len(named) > 20
    for file, function in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in found, f"{file}::{function}"


def test_every_attack_that_succeeded_once_names_its_tests() -> None:
    section = THREATS.partition("\n## Attacks that succeeded once\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 20
    for row in rows:
        named = re.findall(r"`tests/attacks/test_\w+\.py::test_\w+`", row)
        assert named, f"no test that carries it out: {row}"


def test_every_attack_is_in_the_threat_model() -> None:
    for path in sorted((ROOT / "tests" / "attacks").glob("test_*.py")):
        if path.name != Path(__file__).name:
            assert path.name in THREATS or path.name in PROTOCOLS, f"{path.name} is named nowhere in the documents"


def test_files_that_the_pages_name_exist() -> None:
    for text in (PROTOCOLS, THREATS):
        for name in re.findall(r"`((?:vfl|psi|parties|tests)/[\w/]+(?:\.py)?)`", text):
            assert (ROOT / name).exists(), name
        for name in re.findall(r"\]\(([\w/.-]+\.md)\)", text):
            assert (ROOT / "docs" / name).exists(), name
