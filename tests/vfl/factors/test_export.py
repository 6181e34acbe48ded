"""The bundle: what is in the files, that they repeat byte for byte, and that verification misses nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import subprocess
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.vfl.bundles import METADATA, calendar, instruments, made_up, signer
from vfl.factors.bundle_metadata import FactorMetadata
from vfl.factors.export import Signer, export_bundle, sign_bundle, size_band
from vfl.factors.verify import manifest_of, verify_bundle

SIGNED = export_bundle(made_up(), signer())
TRUSTED = {"bank": signer().public_key}


def frame(files: dict[str, bytes], name: str) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(files[name]))


def test_the_files_of_a_bundle():
    assert (
        sorted(SIGNED)
        == list(SIGNED)
        == [
            "SHA256SUMS",
            "adapters/alphalens.csv",
            "adapters/signals_20240322.csv",
            "adapters/zipline_wide.parquet",
            "factor.parquet",
            "metadata.json",
            "pit.parquet",
            "signatures/bank.pub",
            "signatures/bank.sig",
            "validation.json",
        ]
    )


def test_factor_holds_the_scores_sorted_by_session_and_instrument():
    bundle = made_up()
    factor = frame(SIGNED, "factor.parquet")
    assert list(factor.columns) == ["score"]
    assert factor["score"].dtype == np.float64
    assert factor.index.names == ["datetime", "instrument"]
    assert factor.index.is_monotonic_increasing
    assert factor.index.is_unique
    dates = factor.index.levels[0]
    assert dates.tz is None
    assert {str(d)[:10] for d in dates} == set(bundle.calendar.periods[2:])
    oracle = {
        (pd.Timestamp(period), name): bundle.scores[t, i]
        for t, period in enumerate(bundle.calendar.periods)
        for i, name in enumerate(bundle.instruments)
        if not np.isnan(bundle.scores[t, i])
    }
    assert factor["score"].to_dict() == oracle
    schema = pq.read_schema(io.BytesIO(SIGNED["factor.parquet"]))
    assert {f.name: str(f.type) for f in schema} == {
        "score": "double",
        "datetime": "timestamp[ns]",
        "instrument": "string",
    }


def test_point_in_time_facts():
    factor, pit = frame(SIGNED, "factor.parquet"), frame(SIGNED, "pit.parquet")
    assert list(pit.columns) == ["asof_date", "available_at", "vintage", "fold", "in_sample", "n_parties"]
    assert pit.index.equals(factor.index)
    sessions = pit.index.get_level_values("datetime")
    assert (pit["available_at"].dt.tz_localize(None) == sessions + pd.Timedelta(hours=22, minutes=30)).all()
    assert str(pit["available_at"].dt.tz) == "UTC"
    assert (pit["asof_date"] == sessions).all()
    assert not pit["in_sample"].any()
    assert pit["fold"].groupby(sessions).nunique().eq(1).all()
    assert sorted(pit["fold"].unique()) == list(range(2, 12))
    assert set(pit["n_parties"]) == {3}


def test_given_facts_reach_their_rows():
    bundle = made_up(periods=3, count=4)
    rows = np.arange(12).reshape(3, 4)
    asof = bundle.calendar.ends[:, None] - rows.astype("timedelta64[D]")
    embeddings = np.stack([rows, rows + 100.0], axis=2)
    flags = np.array([False, False, True])
    given_ = dataclasses.replace(
        bundle, asof=asof, embeddings=embeddings, n_parties=rows, in_sample=flags, vintage=2, computing_lag=timedelta(0)
    )
    files = export_bundle(given_)
    factor, pit = frame(files, "factor.parquet"), frame(files, "pit.parquet")
    for (when, name), row in factor.join(pit).iterrows():
        t, i = bundle.calendar.periods.index(str(when)[:10]), bundle.instruments.index(name)
        assert (row["f0"], row["f1"], row["n_parties"]) == (rows[t, i], rows[t, i] + 100, rows[t, i])
        assert row["asof_date"] == pd.Timestamp(asof[t, i])
        assert row["available_at"] == pd.Timestamp(bundle.calendar.cutoffs[t], tz="UTC")
        assert (row["fold"], row["in_sample"], row["vintage"]) == (t, t == 2, 2)
    assert json.loads(files["validation.json"])["out_of_sample"].startswith("no:")


def test_metadata_says_what_was_made():
    record = json.loads(SIGNED["metadata.json"])
    assert set(FactorMetadata.model_fields) <= set(record)
    assert FactorMetadata.model_validate({k: v for k, v in record.items() if k in FactorMetadata.model_fields})
    assert record["date_range"] == {"first": "2024-01-19", "last": "2024-03-22"}
    assert (record["n_dates"], record["n_rows"], record["n_instruments"]) == (10, 1299, 130)
    assert record["computing_lag_seconds"] == 5400
    assert record["decision_lag_days"] == 0.875
    assert set(record["adapters"].values()) == {"written"}
    assert record["files"]["adapters/signals_20240322.csv"]["lines"] == 130
    assert record["intersection_size_band"] == "128-255"


def test_small_or_flat_periods_have_no_signals_file_and_say_why():
    few = export_bundle(made_up(count=99))
    assert not any("signals" in name for name in few)
    reason = json.loads(few["metadata.json"])["adapters"]["signals"]
    assert reason == "left out: Numerai Signals needs at least 100 ids; the latest period has 98"
    scores = made_up().scores.copy()
    scores[-1] = 0.5
    flat = export_bundle(made_up(scores=scores))
    assert "constant signal" in json.loads(flat["metadata.json"])["adapters"]["signals"]


def test_validation_has_definitions_and_sample_sizes():
    bundle, record = made_up(), json.loads(SIGNED["validation.json"])
    assert record["window"] == {"first": "2024-01-19", "last": "2024-03-15"}
    assert record["n_periods"] == 9
    assert record["n_rows"] == 9 * 130
    joint = record["models"]["joint"]["rank"]
    assert joint["mean"] == bundle.validation.summaries["joint"]["rank"].mean
    assert joint["by_period"][:2] == [None, None]
    assert "Spearman" in joint["definition"]["ic"]
    gain = record["uplift_of_joint_over"]["own"]["rank"]
    assert gain["difference"]["n_periods"] == 9
    assert gain["joint"] - gain["own"] == pytest.approx(gain["difference"]["mean"])


def test_nothing_to_evaluate_is_null_not_nan():
    files = export_bundle(made_up(periods=1, count=5))
    record = json.loads(files["validation.json"])
    assert record["models"]["joint"]["rank"]["mean"] is None
    assert record["window"] == {"first": None, "last": None}


def test_the_same_bundle_gives_the_same_bytes():
    assert export_bundle(made_up(), signer()) == SIGNED
    order = np.random.default_rng(1).permutation(130)
    bundle = made_up()
    shuffled = dataclasses.replace(
        bundle, instruments=tuple(bundle.instruments[i] for i in order), scores=bundle.scores[:, order]
    )
    assert export_bundle(shuffled, signer()) == SIGNED


def scores_with(value: float) -> np.ndarray:
    scores = made_up().scores.copy()
    scores[5, 7] = value
    return scores


def late() -> np.ndarray:
    asof = np.repeat(calendar(12).cutoffs[:, None], 130, axis=1)
    asof[4, 6] += np.timedelta64(1, "ns")
    return asof


BAD = {
    "infinite": ({"scores": scores_with(np.inf)}, f"score of {instruments(130)[7]} in period 2024-02-09 is infinite"),
    "no score": ({"scores": np.full((12, 130), np.nan)}, "no score to export"),
    "shape": ({"scores": np.zeros((12, 129))}, r"scores have shape \(12, 129\)"),
    "repeated": ({"instruments": ("A",) * 130}, "instrument 'A' is empty or repeated"),
    "empty": ({"instruments": ("", *instruments(129))}, "instrument '' is empty"),
    "look-ahead": ({"asof": late()}, f"period 2024-02-02, instrument {instruments(130)[6]}: asof is missing or after"),
    "no asof": ({"asof": np.full((12, 130), np.datetime64("NaT", "ns"))}, "asof is missing"),
    "asof shape": ({"asof": late()[:, 1:]}, "asof has shape"),
    "embeddings": ({"embeddings": np.zeros((12, 130))}, "embeddings have shape"),
    "embedding": ({"embeddings": np.full((12, 130, 2), np.nan)}, "embedding is not finite"),
    "flags": ({"in_sample": np.zeros(3, dtype=bool)}, "in_sample has shape"),
    "lag": ({"computing_lag": timedelta(seconds=-1)}, "before its cutoff"),
    "id column": ({"id_column": "isin"}, "no id column 'isin'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bundles_are_refused_with_the_place(case):
    changes, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        export_bundle(made_up(**changes))


def test_two_cutoffs_on_one_date_are_refused():
    when = calendar(12)
    cutoffs = when.cutoffs.copy()
    cutoffs[3] = cutoffs[2] + np.timedelta64(1, "h")
    with pytest.raises(ValueError, match="2024-01-19 and 2024-01-26 do not have rising decision sessions"):
        export_bundle(made_up(calendar=dataclasses.replace(when, cutoffs=cutoffs)))


def test_metadata_refuses_unknown_fields_and_paths():
    with pytest.raises(ValidationError):
        FactorMetadata.model_validate(METADATA.model_dump() | {"ticker": "x"})
    with pytest.raises(ValidationError):
        FactorMetadata.model_validate(METADATA.model_dump() | {"version": "../1"})


@given(st.integers(0, 10**6))
def test_size_bands_hold_the_size(count):
    low, _, high = size_band(count).partition("-")
    assert int(low) <= count <= int(high or low) <= max(2 * count, 1)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="-1 members"):
        size_band(-1)


# --- signatures and verification


def test_a_signed_bundle_is_sound_and_with_the_key_known_authentic():
    report = verify_bundle(SIGNED)
    assert report.ok
    assert report
    assert not report.faults
    assert not report.authentic
    known = verify_bundle(SIGNED, trusted=TRUSTED)
    assert known.authentic
    assert known.signatures[0].key == TRUSTED["bank"].hex()
    known.require()


def test_other_parties_can_sign_too():
    both = sign_bundle(SIGNED, signer("fund-2", seed=2))
    report = verify_bundle(both, trusted=TRUSTED | {"fund-2": signer(seed=2).public_key})
    assert [s.signer for s in report.signatures] == ["bank", "fund-2"]
    assert report.authentic
    stranger = verify_bundle(both, trusted=TRUSTED)
    assert not stranger
    assert [str(f) for f in stranger.faults] == ["signatures/fund-2.pub: is not the key that 'fund-2' is known by"]


def test_unsigned_bundles_fail_closed():
    report = verify_bundle(export_bundle(made_up()))
    assert not report.ok
    assert [str(fault) for fault in report.faults] == ["signatures/: no valid signature over SHA256SUMS"]
    with pytest.raises(ValueError, match="not as signed: signatures/: no valid signature"):
        report.require()
    assert not verify_bundle({})


def test_a_resigned_forgery_is_not_authentic():
    forged = {n: c for n, c in export_bundle(made_up(seed=9)).items() if not n.startswith("signatures/")}
    report = verify_bundle(sign_bundle(forged, signer(seed=3)), trusted=TRUSTED)
    assert not report.ok
    assert not report.authentic
    assert "is not the key that 'bank' is known by" in str(report.faults[0])


def test_a_signature_that_does_not_fit_its_key_is_never_written():
    wrong = Signer("bank", signer().public_key, signer(seed=2).sign)
    with pytest.raises(ValueError, match="'bank' does not fit its public key"):
        export_bundle(made_up(), wrong)
    for name in ("", "a/b", "..", "ä", "a b"):
        with pytest.raises(ValueError, match="cannot be a file name"):
            sign_bundle(SIGNED, dataclasses.replace(signer(), name=name))


@pytest.mark.parametrize(
    ("name", "change", "fact"),
    [
        ("factor.parquet", lambda b: b[:-1], f"{len(SIGNED['factor.parquet']) - 1} bytes, "),
        ("factor.parquet", lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:], "SHA-256 "),
        ("adapters/alphalens.csv", lambda b: b + b"2024-03-22,X,1.0\n", "1301 lines, 1300 were signed"),
        ("metadata.json", lambda b: b.replace(b'"seed": 0', b'"seed": 1'), "SHA-256 "),
        ("validation.json", lambda b: b.replace(b"0.", b"1.", 1), "SHA-256 "),
    ],
)
def test_a_changed_file_is_named_with_the_first_fact(name, change, fact):
    report = verify_bundle({**SIGNED, name: change(SIGNED[name])})
    assert not report
    assert [f.file for f in report.faults] == [name]
    assert report.faults[0].fact.startswith("was changed: ")
    assert fact in report.faults[0].fact


def test_missing_and_extra_files_are_named():
    without = {name: content for name, content in SIGNED.items() if name != "pit.parquet"}
    report = verify_bundle({**without, "pit2.parquet": b"", "signatures/readme.txt": b""})
    assert {str(fault) for fault in report.faults} >= {
        "pit.parquet: is missing, though SHA256SUMS lists it",
        "pit2.parquet: is not listed in SHA256SUMS",
        "signatures/readme.txt: is neither a signature (.sig) nor a public key (.pub)",
    }


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        (b"0" * 64 + b"  ../secret\n", "line 8 is not a SHA-256 and a file name"),
        (b"0" * 64 + b"  /etc/passwd\n", "line 8 is not a SHA-256 and a file name"),
        (b"0" * 64 + b"  signatures/bank.sig\n", "line 8 is not a SHA-256 and a file name"),
        (b"0" * 63 + b"  x\n", "line 8 is not a SHA-256 and a file name"),
        (b"0" * 64 + b"  factor.parquet\n", "line 8 lists factor.parquet again"),
        (b"0" * 64 + b"  x", "does not end with a line break"),
    ],
)
def test_a_bad_manifest_is_refused_even_when_signed(line, fact):
    sums = SIGNED["SHA256SUMS"] + line
    report = verify_bundle(sign_bundle({**SIGNED, "SHA256SUMS": sums}, signer()), trusted=TRUSTED)
    assert not report.ok
    assert any(fact in str(fault) for fault in report.faults)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(SIGNED)), st.data())
def test_no_changed_byte_goes_unseen(name, data):
    content = bytearray(SIGNED[name])
    edits = data.draw(st.sampled_from(["flip", "cut", "add", "replace"]))
    place = data.draw(st.integers(0, len(content) - 1))
    if edits == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif edits == "cut":
        del content[place]
    elif edits == "add":
        content.insert(place, data.draw(st.integers(0, 255)))
    else:
        content = bytearray(data.draw(st.binary(max_size=200)))
    if bytes(content) == SIGNED[name]:
        return
    report = verify_bundle({**SIGNED, name: bytes(content)}, trusted=TRUSTED)
    if report.ok:  # PEM ignores what surrounds the key, but the key must be the same
        assert name == "signatures/bank.pub"
        assert report.signatures[0].key == TRUSTED["bank"].hex()


def test_the_manifest_is_what_coreutils_writes():
    lines = SIGNED["SHA256SUMS"].decode().splitlines()
    assert lines == [
        f"{hashlib.sha256(SIGNED[name]).hexdigest()}  {name}"
        for name in sorted(SIGNED)
        if name != "SHA256SUMS" and not name.startswith("signatures/")
    ]
    assert manifest_of(SIGNED) == SIGNED["SHA256SUMS"]


def test_standard_tools_verify_the_bundle(tmp_path):
    if not (shutil.which("sha256sum") and shutil.which("openssl")):
        pytest.skip("needs sha256sum and openssl")
    for name, content in SIGNED.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)
    check = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "signatures/bank.pub",
        "-rawin",
        "-in",
        "SHA256SUMS",
        "-sigfile",
        "signatures/bank.sig",
    ]
    subprocess.run(check, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "SHA256SUMS").write_bytes(SIGNED["SHA256SUMS"] + b"\n")
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode != 0
