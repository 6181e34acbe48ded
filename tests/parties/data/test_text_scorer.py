"""Scorers of texts: what they say, that they are frozen, and that one that drifted stops a run by name."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from parties.agreement.terms import PartyTerms
from parties.data.plain_text import plain_text
from parties.data.text_scorer import Scorer, ScorerDrift, open_scorer, pin_of, pinned_scorer
from parties.errors import ConfigError, DataError
from parties.settings.text import TextSettings
from tests.parties.data.texts_rig import home_with, panel_of, party, pinned

OWN = "word,score\ngain,1\nloss,-1\nsoars,0.5\n"


def settings(**terms: Any) -> TextSettings:
    return TextSettings.model_validate({"query": "posts.sql"} | terms)


def said(scorer: Scorer, text: str) -> float:
    assert scorer.score is not None
    plain = plain_text(text, 1000)
    return scorer.score(plain, scorer.read(plain))


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("good", 0.4, 0.5),
        ("very good", 0.45, 0.6),
        ("not good", -0.4, -0.3),
        ("a good store and a bad one", -0.2, 0.2),
        ("\U0001f680 wonderful :)", 0.7, 0.9),
        ("nothing of note", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_the_word_list_is_read_with_negations_and_boosters(tmp_path: Path, text: str, low: float, high: float) -> None:
    assert low <= said(open_scorer(settings(), tmp_path), text) <= high


def test_words_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(OWN)
    scorer = open_scorer(settings(scorer="lexicon", path="own.csv", version="2026"), tmp_path)
    assert said(scorer, "A gain, a loss and it soars") == 0.2, "(1 + 0.5 - 1) / 2.5"
    assert said(scorer, "no gain") == said(scorer, "loss") == -1.0
    (tmp_path / "lm.csv").write_text("Word,Seq_num,Negative,Positive\nLOSS,1,2009,0\nGAIN,2,0,2009\nLATE,3,-2020,0\n")
    finance = open_scorer(settings(scorer="lexicon", path="lm.csv"), tmp_path)
    assert said(finance, "gain gain loss") == pytest.approx(1 / 3, abs=1e-4)
    assert said(finance, "late") == 0.0, "a year below zero took the word off the list"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("word,score\ngain,\n", "row 1: the word 'gain' has no score"),
        ("word,score\ngain,1\nGain,2\n", "row 2: the word 'gain' has another score"),
        ("word,score\ngain,0\n", "no word has a score"),
        ("term,value\ngain,0\n", "a lexicon has word and score"),
    ],
)
def test_a_list_that_cannot_be_is_refused(tmp_path: Path, written: str, told: str) -> None:
    (tmp_path / "own.csv").write_text(written)
    with pytest.raises(DataError, match=told):
        open_scorer(settings(scorer="lexicon", path="own.csv"), tmp_path)


def test_the_pin_names_scorer_version_and_bytes(tmp_path: Path) -> None:
    pin = pin_of(open_scorer(settings(), tmp_path))
    assert pin == pin_of(open_scorer(settings(), tmp_path))
    assert pin.startswith(f"vaderSentiment {importlib.metadata.version('vaderSentiment')}, bytes ")
    terms = party(tmp_path)
    assert f"scored by {pin}, for English" in terms.text_declared
    assert terms.output_columns[:2] == ("text_count", "text_surge")
    agreed = PartyTerms(
        name="social",
        role="feature",
        address="a:1",
        identity_key="00",
        certificate_sha256="00",
        columns=terms.output_columns,
        text=terms.text_declared,
    )
    assert agreed.model_dump()["text"] == terms.text_declared
    assert not any(agreed.makes(column) for column in terms.output_columns), "each counts for the budget"
    assert "text" not in agreed.model_copy(update={"text": ""}).model_dump()


def test_a_scorer_without_a_pin_is_told_its_pin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'text.pin is missing; write pin = "vaderSentiment .* under \[party.text\]'):
        pinned_scorer(settings(), tmp_path, "posts.sql")


def test_other_bytes_other_scores_and_another_version_stop_a_run_by_name(tmp_path: Path) -> None:
    home = home_with(tmp_path, [("AA", "2024-03-01", "gain")])
    (home / "own.csv").write_text(OWN)
    agreed = party(home, scorer="lexicon", path="own.csv", version="1", columns=["sentiment"])
    before = panel_of(agreed, home, ("AA",))
    (home / "own.csv").write_text(OWN + "\n")
    with pytest.raises(
        ScorerDrift, match=r"posts.sql: the scorer of \[party.text\] drifted: its bytes changed"
    ) as fault:
        panel_of(agreed, home, ("AA",))
    assert fault.value.column == "text_sentiment"
    (home / "own.csv").write_text(OWN)
    assert (panel_of(agreed, home, ("AA",)).values == before.values).all()
    assert agreed.text is not None
    newer = agreed.text.model_copy(update={"version": "2"})
    with pytest.raises(ScorerDrift, match="its name or version changed"):
        pinned_scorer(newer, home, "posts.sql")
    other = agreed.text.model_copy(update={"pin": agreed.text.pin[:-1] + "x"})
    with pytest.raises(ScorerDrift, match="its scores of the same texts changed"):
        pinned_scorer(other, home, "posts.sql")


def test_the_files_of_the_package_are_what_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word list changed in place, at the same version, is seen."""
    agreed = TextSettings.model_validate(pinned(tmp_path))
    copy = tmp_path / "vaderSentiment"
    shutil.copytree(str(importlib.resources.files("vaderSentiment")), copy)
    with (copy / "vader_lexicon.txt").open("a") as file:
        file.write("shares\t-1.5\t0.5\t[-1]\n")
    monkeypatch.setattr(importlib.resources, "files", lambda _: copy)
    with pytest.raises(ScorerDrift, match="its bytes changed"):
        pinned_scorer(agreed, tmp_path, "posts.sql")


def tiny_model(folder: Path, labels: tuple[str, ...] = ("negative", "neutral", "positive"), seed: int = 1) -> None:
    """A classifier of two layers over a dozen words, saved as transformers saves one."""
    transformers = pytest.importorskip("transformers", reason="the extra transformers is not installed")
    import torch

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "great", "terrible", "quarter", "the", "a"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(seed)
    shape = {"vocab_size": len(words), "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(**shape, intermediate_size=8, max_position_embeddings=32)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: place for place, label in enumerate(labels)}
    model = transformers.BertForSequenceClassification(config)
    for weights in model.parameters():
        weights.data.mul_(20.0)
    model.save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


def test_a_model_in_a_folder_scores_alone_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model(tmp_path / "tone")
    import socket

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a model was looked up elsewhere")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    terms = settings(scorer="transformers", path="tone", version="1")
    scorer = open_scorer(terms, tmp_path)
    texts = ("great quarter", "terrible quarter", "the a " * 500, "")
    scores = [said(scorer, text) for text in texts]
    assert scores[0] != scores[1]
    assert scores[3] == 0.0
    assert all(-1 <= score <= 1 for score in scores)
    again = open_scorer(terms, tmp_path)
    assert [said(again, text) for text in reversed(texts)] == scores[::-1]
    pin = pin_of(scorer)
    assert pin == pin_of(again)
    assert pin.startswith("tone 1 (transformers ")
    (tmp_path / "tone" / "note.txt").write_text("changed")
    with pytest.raises(ScorerDrift, match="its bytes changed"):
        pinned_scorer(terms.model_copy(update={"pin": pin}), tmp_path, "posts.sql")


def test_a_folder_that_is_no_model_of_tone_is_refused(tmp_path: Path) -> None:
    terms = settings(scorer="transformers", path="tone")
    with pytest.raises(ConfigError, match=r"has no config.json: put a saved sequence classifier there"):
        open_scorer(terms, tmp_path)
    tiny_model(tmp_path / "tone", ("LABEL_0", "LABEL_1", "LABEL_2"))
    with pytest.raises(ConfigError, match="positive and negative are needed: name them in id2label"):
        open_scorer(terms, tmp_path)
    config = json.loads((tmp_path / "tone" / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Model", "AutoConfig": "evil.Config"}
    config["model_type"] = "evil"
    (tmp_path / "tone" / "config.json").write_text(json.dumps(config))
    (tmp_path / "tone" / "evil.py").write_text("raise SystemExit('run')\n")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        open_scorer(terms, tmp_path)
