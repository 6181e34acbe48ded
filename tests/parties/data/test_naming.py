"""Identifiers as vendors have them: profiles, check digits, days of aliases, repeats, link files, and real lists."""

from __future__ import annotations

import gzip
import json
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.delistings import delisting_notes
from parties.data.entities import party_entities
from parties.data.identifier_profiles import LONGEST, profiled, unprofiled
from parties.data.link_files import read_links, write_links
from parties.data.naming import Alias, Naming
from parties.data.query import LabelRows, Observations
from parties.data.repeats import without_repeats
from parties.errors import ConfigError, DataError
from parties.settings.consortium import CalendarSettings, load_consortium
from psi.identifiers import DuplicateIdentifier, IdentifierError
from tests.places import ROOT, SHARED_DATA

FOLDER = SHARED_DATA / "psi_identifiers"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no public identifier lists at {FOLDER}")


def ids(
    raw: list[str], profile: str = "text", *aliases: Alias, merges: bool = False, days: list[str] | None = None
) -> list[str]:
    when = None if days is None else np.array(days, dtype="datetime64[ns]")
    return Naming(aliases, tuple(profile.split("|")), merges).ids(np.array(raw, dtype=object), when).tolist()


@pytest.mark.parametrize(
    ("profile", "raw", "expected"),
    [
        ("ticker", "$brk-b", "BRK.B"), ("ticker", "NA", "NA"), ("ticker", "TRUE", "TRUE"),
        ("ticker", "0700.HK", "0700.HK"),
        ("isin", " us0378331005 ", "US0378331005"), ("isin", "US-0378331005", "US0378331005"),
        ("figi", "bbg000b9xry4", "BBG000B9XRY4"), ("cusip", "037833100", "037833100"),
        ("cusip", "03783310", "037833100"),
        ("sedol", "0263494", "0263494"), ("lei", "HWUPKR0MPOU8FGXBT394", "HWUPKR0MPOU8FGXBT394"),
        ("cik", "320193", "0000320193"), ("cik", "CIK0000320193", "0000320193"),
        ("fips", "1001", "01001"), ("fips", "01001", "01001"), ("fips", "1001.0", "01001"), ("fips", "6", "06"),
        ("name", "L'Or\u00e9al S.A.", "L OREAL"), ("ticker|fips", "BRK-B | 1001", "BRK.B|01001"),
    ],
)  # fmt: skip
def test_a_profile_gives_one_spelling(profile: str, raw: str, expected: str) -> None:
    assert ids([raw], profile) == [expected]
    assert ids([expected], profile) == [expected]


@pytest.mark.parametrize(
    ("profile", "raw", "reason"),
    [
        ("isin", "US0378331006", "is no isin .an ISIN's check digit is another one"),
        ("figi", "BBG000B9XRY5", "check digit"), ("cusip", "037833101", "check digit"),
        ("sedol", "0263495", "check digit"),
        ("lei", "HWUPKR0MPOU8FGXBT395", "check digit"), ("isin", "AAPL", "is no isin"),
        ("cik", "AAPL", "up to ten digits"),
        ("fips", "101", "five of a county"), ("ticker", "APPLE COMPUTER", "a share class or market"),
        ("ticker|fips", "BRK-B", "has 1 parts where identifier = 'ticker|fips' has 2"),
        ("text", "\u0410PA", "mixes Cyrillic and Latin letters"),
        ("text", "A" * (1 << 20), "of 1,048,576 characters begins with"),
        ("text", "\u200b ", "is empty"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(profile: str, raw: str, reason: str) -> None:
    with pytest.raises(IdentifierError, match=reason.replace("|", r"\|")) as caught:
        ids([raw], profile)
    assert len(str(caught.value)) < 400


def test_one_alphabet_is_no_confusion_and_an_alias_need_not_fit_the_profile() -> None:
    assert unprofiled("\u0413\u0410\u0417\u041f\u0420\u041e\u041c") == "\u0413\u0410\u0417\u041f\u0420\u041e\u041c"
    assert len(unprofiled("A" * LONGEST)) == LONGEST
    assert profiled("0000320193", ("cik",), "x") == "0000320193"
    assert ids(["Apple", "789019"], "cik", Alias("apple", "320193")) == ["0000320193", "0000789019"]


def test_two_spellings_of_one_key_are_a_fault_unless_repeats_have_a_policy() -> None:
    for raw, profile in ((["320193", "0000320193"], "cik"), (["BRK-B", "brk.b"], "text")):
        with pytest.raises(DuplicateIdentifier, match="duplicate identifiers"):
            ids(raw, profile)
        assert len(set(ids(raw, profile, merges=True))) == 1


def test_a_ticker_that_changed_hands_is_two_entities() -> None:
    table = (Alias("FB", "META", "", "2022-06-08"), Alias("FB", "PROSHARES", "2023-02-01", ""))
    days = ["2022-06-08", "2022-06-09", "2023-01-31", "2023-02-01"]
    assert ids(["FB"] * 4, "text", *table, days=days) == ["META", "FB", "FB", "PROSHARES"]
    with pytest.raises(IdentifierError, match="static data has none"):
        ids(["FB"], "text", *table)
    with pytest.raises(IdentifierError, match="stands for both"):
        Naming((Alias("FB", "META", "", "2022-06-08"), Alias("FB", "OTHER", "2022-06-01", ""))).check()


def test_repeated_rows_are_the_last_or_their_mean() -> None:
    day = np.array(["2024-01-31"] * 3 + ["2024-02-29"], dtype="datetime64[ns]")
    rows = Observations(
        "q.sql", np.array(["A", "a", "B", "A"], dtype=object), day, day, ("x", "y"),
        np.array([[1.0, np.nan], [3.0, 5.0], [7.0, 7.0], [9.0, 9.0]]),
    )  # fmt: skip
    names = np.array(["A", "A", "B", "A"], dtype=object)
    latest, kept = without_repeats(rows, names, "latest")
    assert (kept.tolist(), latest.values.tolist()) == (["A", "B", "A"], [[3, 5], [7, 7], [9, 9]])
    assert without_repeats(rows, names, "aggregate")[0].values.tolist() == [[2, 5], [7, 7], [9, 9]]
    assert without_repeats(rows, names, "error")[0] is rows


def test_link_files_become_alias_tables(tmp_path: Path) -> None:
    sec = tmp_path / "company_tickers.json"
    sec.write_text(json.dumps({"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}}))
    assert read_links("sec", sec) == (Alias("AAPL", "0000320193"),)
    figi = tmp_path / "figi.json"
    found = {"figi": "BBG000B9XRY4", "compositeFIGI": "BBG000B9XRY4", "shareClassFIGI": "BBG001S5N8V8"}
    figi.write_text(
        json.dumps([{"idValue": "AAPL", "data": [found]}, {"idValue": "NONE", "warning": "No identifier found."}])
    )
    assert read_links("openfigi", figi) == (Alias("AAPL", "BBG001S5N8V8"), Alias("BBG000B9XRY4", "BBG001S5N8V8"))
    crsp = tmp_path / "stocknames.csv"
    crsp.write_text(
        "PERMNO,NAMEDT,NAMEENDDT,TICKER\n13407,2012-05-18,2022-06-08,FB\n13407,2022-06-09,2024-12-31,META\n"
    )
    links = read_links("crsp", crsp)
    assert links == (
        Alias("FB", "13407", "2012-05-18", "2022-06-08"),
        Alias("META", "13407", "2022-06-09", "2024-12-31"),
    )
    out = tmp_path / "aliases.csv"
    write_links(out, links)
    assert out.read_text().splitlines()[:2] == ["alias,entity,from,until", "FB,13407,2012-05-18,2022-06-08"]
    with pytest.raises(ConfigError, match="exists already"):
        write_links(out, links)
    figi.write_text(json.dumps([{"idValue": "A", "data": [found, {**found, "shareClassFIGI": "BBG001S5N8V9"}]}]))
    with pytest.raises(DataError, match=r"answer 1 \('A'\) names 2 share classes"):
        read_links("openfigi", figi)
    sec.write_text("{}")
    with pytest.raises(DataError, match="names no link"):
        read_links("sec", sec)


@needs_data
@pytest.mark.data
def test_real_listings_meet_as_often_as_the_truth_says_for_the_key_used() -> None:
    listings = pd.read_parquet(FOLDER / "listings_financedatabase.parquet")
    truth = json.loads((FOLDER / "overlap_truth_stats.json").read_text())
    keys = {
        mic: set(ids(sorted(set(rows["shareclass_figi"].dropna()) - {""}), "figi"))
        for mic, rows in listings.groupby("exchange")
    }
    for one, other in (("BER", "MUN"), ("BER", "LSE"), ("GER", "LSE"), ("VIE", "MIL"), ("TOR", "VAN")):
        assert len(keys[one] & keys[other]) == truth[f"listings {one}x{other}"]["truth_shareclass_figi"]
    isins = sorted(set(listings["isin"].dropna()) - {""})
    assert len(ids(isins, "isin")) == len(isins) > 4000


@needs_data
@pytest.mark.data
def test_real_counties_meet_in_three_formats_and_sec_tickers_lead_to_ciks(tmp_path: Path) -> None:
    with gzip.open(FOLDER / "us_county_ids_by_party.csv.gz", "rt") as file:
        rows = pd.read_csv(file, dtype=str)
    sets = {party: set(ids(raw.tolist(), "fips", merges=True)) for party, raw in rows.groupby("party")["raw_id"]}
    truth = {party: set(raw.astype(float).astype(int)) for party, raw in rows.groupby("party")["raw_id"]}
    for one, other in combinations(sets, 2):
        assert len(sets[one] & sets[other]) == len(truth[one] & truth[other])
    assert {len(key) for keys in sets.values() for key in keys} == {5}
    listed = tmp_path / "sec.csv"
    listed.write_bytes(gzip.decompress((FOLDER / "sec_cik_ticker_map.csv.gz").read_bytes()))
    links = {one.alias: one.entity for one in read_links("sec", listed)}
    assert {"NA", "NAN", "TRUE"} <= set(links)


@pytest.mark.skipif(not (SHARED_DATA / "india_districts").is_dir(), reason="no district data")
@pytest.mark.data
def test_real_districts_of_four_parties_meet_by_their_alias_tables() -> None:
    folder = ROOT / "examples" / "india_districts"
    consortium = load_consortium(folder / "consortium.toml")
    sets = []
    for party in consortium.party:
        label = consortium.label if party.role == "label" else None
        sets.append(set(party_entities(party, folder, SHARED_DATA / "india_districts", label)))
    assert len(set.intersection(*sets)) == 652


def test_entities_that_leave_without_a_last_label_are_named() -> None:
    months = ["2024-01-31", "2024-02-29", "2024-03-31"]
    terms = CalendarSettings(frequency="M", first=date(2024, 1, 1), last=date(2024, 3, 31))
    calendar = calendar_of(calendar_terms(terms))
    held = [("STAYS", at, 1.0) for at in range(3)]
    held += [("LATE", 2, 1.0), ("PRICED", 0, -1.0), ("GONE", 0, 1.0), ("GONE", 1, np.nan)]
    days = np.array([months[at] for _, at, _ in held], dtype="datetime64[ns]")
    names = np.array([name for name, _, _ in held], dtype=object)
    rows = LabelRows("label.sql", names, days, days, np.array([label for *_, label in held]), None)
    [note] = delisting_notes(rows, rows.entity, calendar)
    assert note.startswith(
        "1 of 2 entities that leave before 2024-03 have no label in their last period: GONE (2024-02)"
    )
    assert "(1 start late)" in note
    rows.label[-1] = -1.0
    assert delisting_notes(rows, rows.entity, calendar) == []
