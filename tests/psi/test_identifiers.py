from __future__ import annotations

import csv
import gzip

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from psi.identifiers import (
    AliasConflict,
    DuplicateIdentifier,
    EmptyIdentifier,
    IdentifierError,
    IdentifierNotText,
    NotNormalised,
    canonical_ids,
    check_canonical,
    normalise,
    universe_alignment,
    universe_digest,
)
from tests.places import SHARED_DATA
from tests.psi.rig import align

FOLDER = SHARED_DATA / "psi_identifiers"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no public identifier lists at {FOLDER}")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("AAPL", "AAPL"),
        (" aapl\t\n", "AAPL"),
        ("$aapl", "AAPL"),
        ("$RDS-B", "RDS.B"),
        ("BRK.B", "BRK.B"),
        ("BRK-B", "BRK.B"),
        ("brk/b", "BRK.B"),
        ("BRK B", "BRK.B"),
        ("BRK\u00a0B", "BRK.B"),
        ("BRK\u2013B", "BRK.B"),
        ("BRK\u2044B", "BRK.B"),
        ("\uff22\uff32\uff2b\uff0e\uff22", "BRK.B"),
        ("BRK - B", "BRK.B"),
        ("BAC-PR-L", "BAC.PR.L"),
        ("600519-SS", "600519.SS"),
        ("NA", "NA"),
        ("NAN", "NAN"),
        ("TRUE", "TRUE"),
        ("null", "NULL"),
        ("01001", "01001"),
        ("1001.0", "1001.0"),
        ("1001-0", "1001-0"),
        ("1e5", "1E5"),
        ("0700.HK", "0700.HK"),
        ("apt | alluri  sitharama raju", "APT|ALLURI SITHARAMA RAJU"),
        ("jammu and kashmir|leh", "JAMMU AND KASHMIR|LEH"),
        ("new york", "NEW YORK"),
        ("andaman & nicobar islands|north", "ANDAMAN & NICOBAR ISLANDS|NORTH"),
        ("JANJGIR-CHAMPA", "JANJGIR-CHAMPA"),
        ("Stra\u00dfe", "STRASSE"),
        ("cafe\u0301", "CAF\u00c9"),
        ("caf\u00e9", "CAF\u00c9"),
        ("cafe\u200b\u0301", "CAF\u00c9"),
        ("\ufeffMSFT\u200b", "MSFT"),
    ],
)
def test_normal_forms(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


@given(st.text())
@example("e\u200b\u0301|$ b")
@example("$ $-A")
def test_normalising_twice_changes_nothing(raw: str) -> None:
    try:
        once = normalise(raw)
    except EmptyIdentifier:
        return
    assert normalise(once) == once
    assert once == once.strip()
    once.encode()


@given(st.text(st.characters(codec="latin-1")))
def test_case_makes_no_difference(raw: str) -> None:
    forms = set()
    for spelling in (raw, raw.lower(), raw.upper()):
        try:
            forms.add(normalise(spelling))
        except EmptyIdentifier:
            forms.add("")
    assert len(forms) == 1


@pytest.mark.parametrize("raw", ["", "  ", "\u200b", "$", " $ ", "\n"])
def test_empty_identifiers_are_named_errors(raw: str) -> None:
    with pytest.raises(EmptyIdentifier, match="is empty: leave out rows"):
        normalise(raw)


@pytest.mark.parametrize("raw", [1001, 1001.0, float("nan"), None, True, b"AAPL"])
def test_what_is_not_text_is_a_named_error(raw: object) -> None:
    with pytest.raises(IdentifierNotText, match="must be text"):
        normalise(raw)


def test_aliases_are_applied_in_normal_form_on_both_sides_and_chains_are_followed() -> None:
    aliases = {"symc": "NLOK", "$NLOK": "gen", "BRK-A": "brk/b", "AAPL": "aapl"}
    assert canonical_ids(["Symc", "BRK A", "aapl", "NA"], aliases) == {
        "Symc": "GEN",
        "BRK A": "BRK.B",
        "aapl": "AAPL",
        "NA": "NA",
    }


@pytest.mark.parametrize("many_to_one", [False, True])
@pytest.mark.parametrize("pair", [("BRK.B", "brk-b"), ("AAPL", "$AAPL"), ("AAPL", "AAPL")])
def test_two_spellings_of_one_entity_are_duplicates(pair: tuple[str, str], many_to_one: bool) -> None:
    with pytest.raises(DuplicateIdentifier) as caught:
        canonical_ids(["XOM", *pair], many_to_one=many_to_one)
    assert all(repr(raw) in str(caught.value) for raw in pair)
    assert "XOM" not in str(caught.value)


def test_many_to_one_through_the_alias_table_must_be_meant() -> None:
    aliases = [("FB", "META")]
    with pytest.raises(DuplicateIdentifier, match="'FB' and 'META' to 'META'"):
        canonical_ids(["FB", "META", "XOM"], aliases)
    assert canonical_ids(["FB", "META"], aliases, many_to_one=True) == {"FB": "META", "META": "META"}


def test_errors_name_a_few_offenders_and_count_the_rest() -> None:
    raws = [spelling for i in range(10) for spelling in (f"T{i}X", f"t{i}x")]
    with pytest.raises(DuplicateIdentifier, match="and 7 more") as caught:
        canonical_ids(raws)
    assert len(str(caught.value)) < 250


def test_alias_conflicts() -> None:
    with pytest.raises(AliasConflict, match="'FI' stands for both 'FISV' and 'FIX'"):
        canonical_ids([], [("FI", "FISV"), ("fi", "FIX")])
    with pytest.raises(AliasConflict, match="circle: FISV -> FI -> FISV"):
        canonical_ids([], [("FISV", "FI"), ("FI", "FISV")])
    with pytest.raises(EmptyIdentifier):
        canonical_ids([], {"": "META"})


def test_canonical_lists_are_checked() -> None:
    assert check_canonical(iter(["B", "A"])) == ("B", "A")
    with pytest.raises(NotNormalised, match="'brk-b'"):
        check_canonical(["A", "brk-b"])
    with pytest.raises(DuplicateIdentifier, match="'A'"):
        check_canonical(["A", "B", "A"])


def test_every_identifier_error_is_a_value_error() -> None:
    kinds = (IdentifierNotText, EmptyIdentifier, DuplicateIdentifier, AliasConflict, NotNormalised)
    assert all(issubclass(kind, IdentifierError) and issubclass(kind, ValueError) for kind in kinds)


def test_the_universe_has_one_order_whoever_lists_it() -> None:
    assert universe_alignment(["XOM", "BRK.B", "NA"]) == ("BRK.B", "NA", "XOM")
    assert universe_digest(["XOM", "NA"]) == universe_digest(["NA", "XOM"])
    assert universe_digest(["XOM", "NA"]) != universe_digest(["XOMN", "A"])
    with pytest.raises(EmptyIdentifier):
        universe_alignment([])
    with pytest.raises(DuplicateIdentifier):
        universe_alignment(["XOM", "XOM"])


def column(name: str, *columns: str) -> list[tuple[str, ...]]:
    """Distinct rows of a CSV file of the data folder, as the text they are."""
    path = FOLDER / name
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return list(dict.fromkeys(tuple(row[key] for key in columns) for row in csv.DictReader(file)))


@needs_data
@pytest.mark.data
def test_real_tickers_meet_across_styles() -> None:
    sec = {ticker for (ticker,) in column("sec_cik_ticker_map.csv.gz", "Ticker")}
    dots = {ticker for (ticker,) in column("tickers_2012_2017_dot_style.csv", "ticker")}
    cashtags = {symbol for (symbol,) in column("tickers_cashtag_style_stocknet.csv", "Symbol")}
    assert {"NA", "NAN", "TRUE"} <= set(canonical_ids(sec).values())
    assert len(set(canonical_ids(sec).values())) == len(sec)
    assert len(dots & sec) == 416
    assert len(set(canonical_ids(dots).values()) & set(canonical_ids(sec).values())) == 418
    assert not cashtags & dots
    assert len(set(canonical_ids(cashtags).values()) & set(canonical_ids(dots).values())) >= 57


@needs_data
@pytest.mark.data
def test_real_renames() -> None:
    renames = column("ticker_renames_handmade.csv", "old", "new")
    with pytest.raises(AliasConflict, match="FISV -> FI -> FISV"):
        canonical_ids([], renames)
    table = [pair for pair in renames if pair[0] != "FI"]
    names = list(dict.fromkeys(name for pair in table for name in pair))
    with pytest.raises(DuplicateIdentifier, match="many-to-one"):
        canonical_ids(names, table)
    mapping = canonical_ids(names, table, many_to_one=True)
    assert mapping["SYMC"] == mapping["NLOK"] == "GEN"


@needs_data
@pytest.mark.data
def test_real_leading_zeros_stay() -> None:
    rows = column("us_county_ids_by_party.csv.gz", "party", "raw_id")
    padded = [raw for party, raw in rows if party == "claims_dol"]
    assert [normalise(raw) for raw in padded] == padded
    assert any(raw.startswith("0") for raw in padded)


@needs_data
@pytest.mark.data
def test_real_districts_align_to_the_truth_through_the_protocol() -> None:
    rows = column("india_district_names_truth.csv", "source", "raw_state", "raw_district", "entity_id")
    sets = {}
    for source in ("rbi", "pulse", "viirs"):
        raws = {f"{state}|{district}": entity for name, state, district, entity in rows if name == source}
        mapping = canonical_ids(raws, raws, many_to_one=True)
        sets[source] = sorted(set(mapping.values()))
    results = align(sets)
    truth = [{entity for name, _, _, entity in rows if name == source} for source in sets]
    assert set(results["rbi"].ids) == {normalise(entity) for entity in set.intersection(*truth)}
    assert len(results["rbi"].ids) >= 650
