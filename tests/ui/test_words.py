"""One form of numbers and nouns everywhere: 1 party, 3 parties, in the page and on the terminal."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from parties.plurals import singular, things
from ui.paging import page_words
from ui.wording import as_sentence, marked, with_commands
from ui.wording import things as shown

ROOT = Path(__file__).parents[2]
NOUNS = (
    "parties|entities|periods|rows|runs|members|transactions|postings|entries|checks|files|factors|trials|instruments|"
    "approvals|columns|labels|accounts|dates|heads|openings"
)
BARE = re.compile(rf"^ (?:(?:common|live|signed|new|more|test|audit|other) )?(?:{NOUNS})\b")
COUNTED = ("things(", "_counted(", "pasted(")
PLACES = ("ui", "parties/cli", "parties/terminal", "parties/agreement/text.py", "parties/node/own_data.py")


def bare_plurals(path: Path) -> list[str]:
    """Numbers that stand before a plural whatever they are; "2 of 60 periods" is a part of a whole."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        values = node.values if isinstance(node, ast.JoinedStr) else []
        for before, number, after in zip([None, *values], values, values[1:], strict=False):
            said = before.value if isinstance(before, ast.Constant) else ""
            if not isinstance(number, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            if ast.unparse(number.value).startswith(COUNTED):
                continue
            if BARE.match(str(after.value)) and not str(said).endswith((" of ", " of the ", "to ")):
                found.append(f"{path.relative_to(ROOT)}:{number.lineno}: {ast.unparse(number.value)}{after.value}")
    return found


@pytest.mark.parametrize("place", PLACES)
def test_no_number_stands_before_a_plural_whatever_it_is(place: str) -> None:
    files = sorted((ROOT / place).rglob("*.py")) or [ROOT / place]
    assert [told for path in files if path.name != "bench.py" for told in bare_plurals(path)] == []


def test_one_is_singular_and_many_have_thousands() -> None:
    assert [singular(word) for word in ("parties", "rows", "classes", "live periods")] == [
        "party", "row", "class", "live period",
    ]  # fmt: skip
    assert (things(1, "parties"), things(0, "rows"), things(12_000, "rows")) == ("1 party", "0 rows", "12,000 rows")
    assert shown(1, "files") == "1 file"
    assert shown(12_000, "files") == "12\N{NARROW NO-BREAK SPACE}000 files"
    assert page_words(1, 0, 25, "runs") == "1 run"
    assert page_words(30, 25, 25, "runs") == "26 to 30 of 30 runs"


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("up to 60000: of 2,308,800 bits", "up to 60 000: of 2 308 800 bits"),
        ("Reward pot: 2500.00 USD (250000 minor units)", "Reward pot: 2 500.00 USD (250 000 minor units)"),
        ("98765, 1,234.5 and 0.12345", "98 765, 1 234.5 and 0.12345"),
        ("2024-02-29 at 127.0.0.1:50051, 4000 rows of W-12345", ""),
        ("run 123456789012, y_12345, seed 1234567, 12345ab, 10000/2", ""),
    ],
)
def test_numbers_within_sentences_are_marked_and_names_are_not(text: str, shown_as: str) -> None:
    narrow = "\N{NARROW NO-BREAK SPACE}"
    words = shown_as or text
    for number in ("60 000", "2 308 800", "2 500", "250 000", "98 765", "1 234"):
        words = words.replace(number, number.replace(" ", narrow))
    assert marked(text) == words


def test_what_a_program_says_in_passing_becomes_a_sentence() -> None:
    assert as_sentence("say why: everybody reads it") == "Say why: everybody reads it."
    assert as_sentence("Whole already.") == "Whole already."
    assert as_sentence("") == ""
    assert with_commands("run `entente\n\n# x`, *then*") == "run `entente # x`\\, \\*then\\*", "code stays on its line"
