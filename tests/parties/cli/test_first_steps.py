"""What a newcomer meets: slips in settings, tables in a narrow terminal, and documents that lead somewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from parties.cli import run
from parties.coordinator.settings import load_coordinator_settings
from parties.data.simulate import simulate
from parties.errors import ConfigError
from parties.node.settings import load_node_settings
from parties.settings.consortium import load_consortium
from parties.terminal import console
from tests.places import ROOT

FOLDERS = (ROOT / "docs", ROOT / "examples")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *(path for folder in FOLDERS for path in sorted(folder.rglob("*.md")))]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("purpose =", "porpose =", "porpose"),
        ("[model]", "[model]\nepoch = 3", "model.epoch"),
        ("frequency =", "frequencies =", "calendar.frequencies"),
    ],
)
def test_an_unknown_key_is_named_as_it_stands_in_the_file(tmp_path: Path, old: str, new: str, place: str) -> None:
    simulate(tmp_path, entities=40, periods=12, parties=2, model="split")
    path = tmp_path / "consortium.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as fault:
        load_consortium(path)
    assert str(fault.value).startswith(f"{path}: {place}: no such key: ")
    assert "docs/configuration.md" in str(fault.value)


def test_an_unknown_kind_of_model_is_named_beside_those_there_are(tmp_path: Path) -> None:
    simulate(tmp_path, entities=40, periods=12, parties=2, model="split")
    path = tmp_path / "consortium.toml"
    path.write_text(path.read_text().replace('kind = "split"', 'kind = "splitt"', 1))
    with pytest.raises(ConfigError, match=r"model: kind is 'splitt', which is none of sealed, split, ridge, trees"):
        load_consortium(path)


def test_a_day_in_another_form_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", "--home", "x", "--frequency", "D", "--from", "5.1.2024", "--to", "2024-06-28"]) == 2
    assert "'--from': '5.1.2024' is no day written as YYYY-MM-DD; see entente" in capsys.readouterr().err


def test_unknown_keys_of_a_coordinator_read_alike(tmp_path: Path) -> None:
    (tmp_path / "coordinator.toml").write_text('[transport]\nrelais = "never"\n')
    with pytest.raises(ConfigError, match=r"coordinator\.toml: transport\.relais: no such key: "):
        load_coordinator_settings(tmp_path)


def test_unknown_keys_of_a_node_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('listen = "127.0.0.1:1"\nrelais = "never"\n')
    with pytest.raises(ConfigError) as fault:
        load_node_settings(path)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("width", [60, None])
def test_a_long_definition_cuts_no_number(monkeypatch: pytest.MonkeyPatch, width: int | None) -> None:
    out = io.StringIO()
    monkeypatch.setattr(
        console, "screen", lambda: Console(file=out, width=width, force_terminal=width is not None, no_color=True)
    )
    words = "mean over its Newey-West standard error " * 8
    console.table("", ("number", ">value", "definition"), [("rank ic difference t", "-12.3456", words.strip())])
    said = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert "-12.3456" in said
    assert "rank ic difference t" in said
    assert said.count("Newey-West") == 8 or width is not None
    assert "…" not in said


def test_a_long_purpose_cuts_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(console, "screen", lambda: Console(file=out, width=80, force_terminal=True, no_color=True))
    row = ("3e3f2bc7704e", "2026-11-30 17:49", "waits for you", "say what the factor is for " * 3, "1 to approve, " * 3)
    console.table("", ("run", "asked (UTC)", "here", "purpose", ""), [row])
    said = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert all(cell in said for cell in row[:3])
    assert said.count("factor") == said.count("approve") == 3
    assert max(map(len, said.splitlines())) <= 80


def test_what_has_no_room_beside_ids_stands_below(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(console, "screen", lambda: Console(file=out, width=72, force_terminal=True, no_color=True))
    rows = [
        (
            "3e3f2bc7704e",
            "2026-11-30 17:49",
            "aborted",
            "-",
            "Quatre maisons",
            "web rejected the agreement: " + "why " * 30,
        ),
        ("8f66e006734e", "2026-11-30 17:40", "settled", "+0.1560", "Quatre maisons", ""),
    ]
    console.table("", ("run", "proposed (UTC)", "status", ">joint IC", "consortium", "reason"), rows)
    said = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert all(cell in said for row in rows for cell in row[:5])
    assert said.count("why") == 30
    assert "…" not in said
    assert re.search(r"^ reason:\n 3e3f2bc7704e  web rejected", said, re.MULTILINE)
    assert max(map(len, said.splitlines())) <= 72


def test_a_long_sentence_is_broken_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    console.tell("note: no row is known by the cutoff of its own period, so each is used later")
    assert capsys.readouterr().out == (
        "note: no row is known by the cutoff of\n  its own period, so each is used later\n"
    )


def heading_anchors(text: str) -> set[str]:
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number = sum(1 for known in found if re.fullmatch(rf"{re.escape(words)}(-\d+)?", known))
        found.add(f"{words}-{number}" if number else words)
    return found


def test_every_relative_link_and_anchor_leads_somewhere() -> None:
    dead = []
    for path in DOCUMENTS:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            meant = path.parent / file if file else path
            if not meant.exists() or (anchor and anchor not in heading_anchors(meant.read_text(encoding="utf-8"))):
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert dead == []


def test_the_readme_leads_to_every_guide() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in sorted((ROOT / "docs").glob("*.md")) if f"(docs/{path.name})" not in readme] == []


def test_every_command_in_a_block_can_be_typed_as_it_stands() -> None:
    """Outside docs/commands.md, which lists forms: the command is there, its options too, and none is missing."""
    import shlex

    import typer.main

    from parties.cli import app

    command = re.compile(r"(?:^|[;|(]|&&|until |do |\$ )\s*entente ((?:[^;|&>#()\"\n]|\"[^\"]*\")*)", re.MULTILINE)
    refused, count, whole = [], 0, typer.main.get_command(app)
    for path in DOCUMENTS:
        if path.name in ("commands.md", "CHANGELOG.md"):
            continue
        for block in re.findall(r"```[a-z]*\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            for line in command.findall(block.replace("\\\n", " ")):
                words, meant, count = shlex.split(line), whole, count + 1
                while words and words[0] in getattr(meant, "commands", {}):
                    meant = meant.commands[words.pop(0)]
                try:
                    meant.make_context("entente", words)
                except typer.Exit:
                    pass  # --version
                except Exception as fault:  # whatever click says of it
                    if type(fault).__name__ != "BadParameter":  # a value such as RUN or DIR stands for another
                        refused.append(f"{path.relative_to(ROOT)}: entente {line}: {fault}")
    assert count > 100
    assert refused == []
