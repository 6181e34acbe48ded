"""What lies around tables: settings with a mark, droppings, a full disk, odd paths, old locales, undefined numbers."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from parties.cli import run
from parties.cli.joining import _token_text
from parties.errors import ConfigError, DataError
from parties.factor.tables import bundle_files, find_folders, open_folder
from parties.files.text import read_text
from parties.files.toml import read_toml
from parties.private_files import whole_or_nothing
from parties.settings.consortium import load_consortium
from parties.settlement.payees import load_payees
from parties.terminal.console import correlation, figure, pasted
from tests.vfl.bundles import made_up, signer
from ui.wording import MISSING, percent
from vfl.factors.export import export_bundle

TOML = 'name = "Fönds"\n[a]\nb = 1\n'
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_settings_are_read_with_any_mark_and_line_end(tmp_path: Path, encoding: str, end: str) -> None:
    (tmp_path / "x.toml").write_bytes(TOML.replace("\n", end).encode(encoding))
    assert read_toml(tmp_path / "x.toml") == {"name": "Fönds", "a": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (TOML.encode("latin-1"), r"x\.toml: is not UTF-8 \(line 1 has the byte 0xF6\); save it as UTF-8"),
        (TOML.encode("utf-16-le"), r"x\.toml: has zero bytes"),
        (b"name = 1 2\n", r"x\.toml: not valid TOML \(.*line 1.*\); mend that line"),
        (b"\xff\xfen", r"x\.toml: its mark says utf-16-le, and it is not"),
    ],
)
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    for reader in (read_toml, load_consortium, load_payees):
        with pytest.raises(ConfigError, match=said) as caught:
            reader(tmp_path / "x.toml")
        assert "\n" not in str(caught.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none: no such file"):
        read_text(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"is a folder; name a file"):
        read_text(tmp_path)
    (tmp_path / "book.csv").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(DataError, match=r"is a workbook or archive; save the sheet as CSV"):
        read_text(tmp_path / "book.csv", fault=DataError)


def test_a_token_is_read_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes("entente1-abc\r\n".encode("utf-8-sig"))
    assert _token_text(str(tmp_path / "token")).strip() == "entente1-abc"
    with pytest.raises(ConfigError, match="is neither a token nor a file that holds one"):
        _token_text(str(tmp_path / "nothing"))


DROPPINGS = (".DS_Store", "adapters/.DS_Store", "._factor.parquet", "Thumbs.db", "desktop.ini", "report.html.swp")


def test_droppings_in_a_bundle_are_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo" / "1"
    for name, content in export_bundle(made_up(), signer()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for name in DROPPINGS:
        (folder / name).write_bytes(b"\0\0")
    copies = folder / ".ipynb_checkpoints"
    copies.mkdir()
    for path in list(folder.glob("*.json")):
        (copies / f"{path.stem}-checkpoint.json").write_bytes(path.read_bytes())
    (copies / "SHA256SUMS").write_bytes((folder / "SHA256SUMS").read_bytes())
    assert run(["factors", "verify", str(folder)]) == 0
    open_folder(folder)
    assert find_folders(tmp_path) == [folder]
    assert not any(name in bundle_files(folder) for name in DROPPINGS)
    (folder / "extra.csv").write_text("a\n")
    assert run(["factors", "verify", str(folder)]) == 3
    assert "extra.csv: is not listed in SHA256SUMS" in capsys.readouterr().err


def founded(home: Path) -> int:
    return run(
        ["coordinator", "init", "--home", str(home), "--name", "x", "--listen", "127.0.0.1:7477", "--plain-keys"]
    )


def test_what_fails_half_way_leaves_nothing_and_a_second_try_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "hub"
    home.mkdir()
    (home / "desk").write_text("in the way")
    assert founded(home) in (2, 7)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in home.iterdir()] == ["desk"]
    (home / "desk").unlink()
    assert founded(home) == 0


def test_a_full_disk_is_exit_code_7_and_a_second_try_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        (small / "fill").write_bytes(b"x" * 8192)
        assert founded(small / "hub") == 7
        assert "hub: cannot be written (No space left on device); free space, then repeat" in capsys.readouterr().err
        assert not (small / "hub").exists()
        (small / "fill").unlink()
        subprocess.run(["mount", "-o", "remount,size=1m", small], check=True)
        assert founded(small / "hub") == 0
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        assert run(["factors", "key", "--out", str(small / "k"), "--plain-keys"]) == 7
        assert "cannot be written (Read-only file system); name another place" in capsys.readouterr().err
    finally:
        subprocess.run(["umount", small], check=True)


def test_whole_or_nothing_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    with pytest.raises(KeyError), whole_or_nothing(tmp_path):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "file").write_text("")
        (tmp_path / "more").write_text("")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(KeyError), whole_or_nothing(tmp_path / "made"):
        (tmp_path / "made").mkdir()
        raise KeyError
    assert not (tmp_path / "made").exists()


def test_lines_to_copy_run_as_they_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "it's my data" / "s"
    assert run(["simulate", "--out", str(out), "--entities", "30", "--periods", "10", "--parties", "1"]) == 0
    told = shlex.split(capsys.readouterr().out.splitlines()[-1].partition("Run it: ")[2])
    assert told[:2] == ["entente", "demo"]
    assert all(Path(told[told.index(option) + 1]).exists() for option in ("--config", "--data"))
    assert pasted("plain/path") == "plain/path"


def test_a_path_that_the_locale_cannot_spell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    given = os.fsencode("Fönds").decode("ascii", errors="surrogateescape")
    assert run(["simulate", "--out", given]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: Fönds: this path cannot be read under the locale ")
    assert "set LC_ALL=C.UTF-8" in said


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_an_undefined_number_is_a_dash(value: float | None) -> None:
    assert figure(value, ".0%") == correlation(value) == "-"
    assert percent(value) == MISSING
