"""Objects in an S3 store as files of a party's query: what can be read, and that nothing else can."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from parties.data.query import read_observations
from parties.data.remote import open_store
from parties.errors import ConfigError, DataError
from parties.settings.consortium import PartySettings
from parties.settings.stores import S3Settings
from tests.parties.s3_store import KEY, SECRET, S3Store

FRAME = pd.DataFrame({"entity": ["AAPL", "MSFT"], "period": pd.to_datetime(["2024-03-31"] * 2), "visits": [1.0, 2.5]})


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    objects = {
        "fund/visits/2024q1.parquet": parquet(FRAME),
        "fund/visits/2024q2.parquet": parquet(FRAME.assign(period=pd.Timestamp("2024-06-30"), visits=[3.0, 4.0])),
        "fund/visits/more.csv": b"entity,period,visits\nNVDA,2024-03-31,9\n",
        "fund/payroll/all.parquet": parquet(FRAME.assign(visits=-1.0)),
        "fund/visits-old/all.parquet": parquet(FRAME.assign(visits=-2.0)),
        "other/all.parquet": parquet(FRAME.assign(visits=-3.0)),
    }
    with S3Store(objects) as made:
        yield made


def party(store: S3Store, **s3: Any) -> PartySettings:
    terms = {"allowed": ("s3://fund/visits/",), "endpoint": store.endpoint, **s3}
    return PartySettings(
        name="sat", role="feature", query="sat.sql", columns=("visits",), lag_days=30, s3=S3Settings(**terms)
    )


def observed(settings: PartySettings, folder: Path, sql: str) -> list[float]:
    (folder / "sat.sql").write_text(sql)
    (folder / "data").mkdir(exist_ok=True)
    return sorted(read_observations(settings, folder, folder / "data").values.ravel().tolist())


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("read_parquet('s3://fund/visits/2024q1.parquet')", [1.0, 2.5]),
        ("'s3://fund/visits/2024q2.parquet'", [3.0, 4.0]),
        ("read_parquet('s3://fund/visits/*.parquet')", [1.0, 2.5, 3.0, 4.0]),
        ("read_csv('s3://fund/visits/more.csv')", [9.0]),
    ],
)
def test_objects_are_read_as_files(tmp_path: Path, store: S3Store, source: str, values: list[float]) -> None:
    assert observed(party(store), tmp_path, f"SELECT * FROM {source}") == values
    assert all(asked.split()[0] in ("GET", "HEAD") for asked in store.asked)
    assert store.refused == 0


FORBIDDEN = [
    "s3://fund/payroll/all.parquet",
    "s3://fund/visits-old/all.parquet",
    "s3://other/all.parquet",
    "s3://fund/visits/../payroll/all.parquet",
    "s3://fund/visits/./../payroll/all.parquet",
    "s3://fund/visits//../payroll/all.parquet",
    "s3://fund/*/all.parquet",
    "s3://*/all.parquet",
    "s3a://other/all.parquet",
    "http://127.0.0.1:1/all.parquet",
    "https://fund.s3.amazonaws.com/visits/2024q1.parquet",
    "/etc/passwd",
]


@pytest.mark.parametrize("path", FORBIDDEN)
def test_no_other_place_is_asked_for(tmp_path: Path, store: S3Store, path: str) -> None:
    with pytest.raises(DataError, match="DuckDB refuses the query"):
        observed(party(store), tmp_path, f"SELECT * FROM read_parquet('{path}')")
    assert not [asked for asked in store.asked if "payroll" in asked or "other" in asked or "old" in asked]


def test_without_the_table_no_object_is_read(tmp_path: Path, store: S3Store) -> None:
    settings = party(store).model_copy(update={"s3": None})
    with pytest.raises(DataError, match="disabled by configuration"):
        observed(settings, tmp_path, "SELECT * FROM read_parquet('s3://fund/visits/2024q1.parquet')")
    assert store.asked == []


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO 's3://fund/visits/out.csv'",
        "SELECT 1; COPY (SELECT 1) TO 's3://fund/visits/out.csv'",
        "SET allowed_directories = ['s3://other/']",
    ],
)
def test_nothing_is_written(tmp_path: Path, store: S3Store, sql: str) -> None:
    with pytest.raises((ConfigError, DataError), match="exactly one SELECT"):
        observed(party(store), tmp_path, sql)
    assert store.asked == []


def test_the_file_system_itself_only_reads_below_its_places(store: S3Store) -> None:
    """What DuckDB would be refused if it asked."""
    files = open_store(S3Settings(allowed=("s3://fund/visits/",), endpoint=store.endpoint))
    with files.open("s3://fund/visits/more.csv") as file:
        assert file.read(6) == b"entity"
    for path in FORBIDDEN[:6]:
        with pytest.raises(PermissionError, match="does not name this place"):
            files.open(path)
        with pytest.raises(PermissionError):
            files.info(path)
    with pytest.raises(PermissionError):
        files.ls("s3://fund")
    for act in (
        lambda: files.open("s3://fund/visits/new.csv", "wb"),
        lambda: files.rm("s3://fund/visits/more.csv"),
        lambda: files.mkdir("s3://fund/visits/new"),
        lambda: files.mv("s3://fund/visits/more.csv", "s3://fund/visits/less.csv"),
    ):
        with pytest.raises(PermissionError, match="may only read"):
            act()


def test_credentials_come_from_the_environment_alone(
    tmp_path: Path, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "SELECT * FROM read_parquet('s3://fund/visits/2024q1.parquet')"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a wrong one")
    with pytest.raises(DataError, match=r"sat\.sql: DuckDB refuses the query") as caught:
        observed(party(store), tmp_path, sql)
    assert store.refused
    assert store.asked == []
    assert "a wrong one" not in str(caught.value)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "credentials").write_text(f"[default]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with pytest.raises(ConfigError, match=r"party\.s3 needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        observed(party(store), tmp_path, sql)


def test_an_object_that_is_not_there_is_named(tmp_path: Path, store: S3Store) -> None:
    with pytest.raises(DataError, match=r"sat\.sql: DuckDB refuses the query .*2025q1"):
        observed(party(store), tmp_path, "SELECT * FROM read_parquet('s3://fund/visits/2025q1.parquet')")


@pytest.mark.parametrize(
    "wrong",
    [
        {"allowed": ()},
        {"allowed": ("s3://fund/visits",)},
        {"allowed": ("fund/visits/",)},
        {"allowed": ("s3://fund/*/",)},
        {"allowed": ("s3://fund/../",)},
        {"allowed": ("s3://",)},
        {"allowed": ("/etc/",)},
        {"endpoint": "http://store.example:9000"},
        {"endpoint": "https://key:secret@store.example"},
        {"endpoint": "store.example"},
    ],
)
def test_settings_that_are_too_wide_or_unsafe_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"allowed needs places|endpoint must be"):
        S3Settings(**{"allowed": ("s3://fund/visits/",), **wrong})
