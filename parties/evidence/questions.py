"""The questions that a model-risk committee and a regulator ask, each answered from the parts of a pack. Pure.

docs/evidence.md has the same questions. An answer says on which parts it rests; whether these are sound is the check's
business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from parties.agreement.text import agreement_text
from parties.agreement.who_learns import alignment_line, label_lines
from parties.evidence.opened import opened_bits
from parties.evidence.parts import Parts
from parties.names import COORDINATOR
from vfl.models.opens import in_words

__all__ = ["QUESTIONS", "Answer", "Question"]

Audience = Literal["A model-risk committee", "A regulator"]


@dataclass(frozen=True)
class Answer:
    """Sentences, and the parts that they rest on; no sentence: this pack does not answer it."""

    lines: tuple[str, ...]
    rests_on: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """``number`` as docs/evidence.md has it."""

    number: str
    audience: Audience
    text: str
    answer: Callable[[Parts], Answer]


def _purpose(parts: Parts) -> Answer:
    agreement, label = parts.agreement, parts.agreement.label
    owner = agreement.party(label.party).legal_entity
    named = f"{label.party} ({owner})" if owner else label.party
    others = ", ".join(party.name for party in agreement.features)
    if parts.federated:
        roles = (
            f"{named}, the lead, and {others} each bring columns and labels of entities of their own, and sign the "
            "factor of these.",
            f"{label.party} reports what the run found, and signs the contributions.",
        )
    else:
        roles = (f"{named} holds the labels, evaluates the scores and signs the factor.", f"{others} bring columns.")
    return Answer(
        (
            f"{agreement.purpose} (consortium {agreement.consortium}).",
            f"It predicts {label.name}: {label.definition}.",
            in_words(agreement.model),
            *roles,
        ),
        ("agreement.json",),
    )


def _data(parts: Parts) -> Answer:
    agreement = parts.agreement
    lines = [f"{party.name}: {len(party.columns)} columns." for party in agreement.parties if party.columns]
    if agreement.calendar is not None:
        first, last = agreement.periods[0], agreement.periods[-1]
        lines.append(
            f"{len(agreement.periods)} periods, {first} to {last}; a value enters a period only if it was available at "
            "the period's agreed cutoff."
        )
    else:
        lines.append("Static data: one row an entity, in training or test as the agreement says.")
    if parts.labels is not None:
        lines.append(
            f"Labels and the label party's columns were fixed by signed roots over {parts.labels.rows:,} rows."
        )
    batches = parts.logged("rows")
    if batches:
        lines.append(
            f"{len(batches)} commitments to rows as they arrived are logged here, {batches[0].at} to {batches[-1].at}: "
            "periods before them show nothing of when their rows were known."
        )
    given = parts.factor_metadata.get("input_commitments")
    if isinstance(given, dict) and given:
        lines.append(f"The factor names a commitment to the input of {', '.join(sorted(map(str, given)))}.")
    return Answer(tuple(lines), ("agreement.json", "labels.json", "log.jsonl", "factor/metadata.json"))


_TESTED = (
    ("ic", "rank_ic", "Rank IC out of sample"),
    ("ic", "rank_ic_t", "Its Newey-West t"),
    ("test_rows", "auc", "AUC on the test rows"),
    ("test_rows", "r2", "R2 on the test rows"),
    ("long_short", "break_even_cost", "Break-even cost, bp"),
    ("stability", "turnover", "Turnover"),
)
_COUNTED = (
    ("search", "n_trials", "Trials counted"),
    ("search", "deflated_sharpe", "Deflated Sharpe, counting every trial"),
    ("search", "pbo", "Probability of backtest overfitting"),
)
_JOINED = (
    ("uplift", "rank_ic_difference", "Rank IC over the label party's own model"),
    ("uplift", "rank_ic_difference_t", "Its Newey-West t"),
    ("uplift", "auc_difference", "AUC over the label party's own model"),
    ("uplift", "r2_difference", "R2 over the label party's own model"),
)


def _numbers(parts: Parts, wanted: tuple[tuple[str, str, str], ...]) -> Iterator[str]:
    if parts.findings is None:
        return
    for section, name, words in wanted:
        number = parts.findings.numbers.get(section, {}).get(name)
        if number is not None and not math.isnan(number.value):
            yield f"{words}: {number.value:.4g} (n {number.n:,}; {number.definition})."


def _tested(parts: Parts) -> Answer:
    terms = parts.agreement.evaluation
    lines = list(_numbers(parts, _TESTED))
    told = [one.report["evaluation"] for one in parts.reports if isinstance(one.report.get("evaluation"), dict)]
    for numbers in told:
        lines.extend(
            f"{parts.agreement.label.party} reported {name.replace('_', ' ')} {value:.4g}."
            for name, value in sorted(numbers.items())
            if isinstance(value, int | float)
        )
    if lines:
        window = str(parts.validation.get("out_of_sample", "")).removeprefix("yes: ") or (
            f"periods from {terms.first or 'the first prediction'} to {terms.last or 'the last label'} count"
        )
        lines.insert(0, f"Out of sample: {window}.")
    return Answer(tuple(lines), ("factor/validation.json", "reports.jsonl"))


def _trials(parts: Parts) -> Answer:
    lines = list(_numbers(parts, _COUNTED))
    if parts.trials:
        kinds = sorted({trial.kind for trial in parts.trials})
        chosen = sum(trial.selected for trial in parts.trials)
        lines.insert(
            0,
            f"{len(parts.trials)} trials ({', '.join(kinds)}) are listed with their rank IC of every period; {chosen} "
            "made the factor.",
        )
    if parts.agreement.search is not None:
        lines.append(
            f"The agreement allowed a search; it is reported from {parts.agreement.evaluation.first} on alone."
        )
    return Answer(tuple(lines), ("factor/trials.parquet", "factor/validation.json"))


def _joining(parts: Parts) -> Answer:
    lines = list(_numbers(parts, _JOINED))
    if parts.contribution is not None:
        record = parts.contribution.record
        lines.append(f"Contributions were measured by: {record.definition}")
        anew = (
            "Nobody can compute it anew: members' rank ICs open in sums alone."
            if parts.federated
            else f"To compute it anew, each party runs: entente audit evidence {parts.about.run_id[:12]} --home NODE "
            "--out FILE. An auditor then runs: entente audit replay LABEL_FILE PARTY_FILE..."
        )
        signer = parts.agreement.label.party
        lines.append(f"What each party gave is in contribution.json, signed by {signer}. {anew}")
    if parts.verdict is not None:
        lines.append(f"A replay is in this pack: {parts.verdict.sentence}.")
    return Answer(tuple(lines), ("factor/validation.json", "contribution.json", "replay.json"))


def _limits(parts: Parts) -> Answer:
    if parts.findings is None:
        return Answer((), ("factor/validation.json",))
    lines = [f"{warning.name}: {warning.text}" for warning in parts.findings.warnings]
    lines += [f"Not tested: {name} ({why})." for name, why in sorted(parts.findings.left_out.items())]
    return Answer(tuple(lines or ["The validation gave no warning and left nothing out."]), ("factor/validation.json",))


def _repeat(parts: Parts) -> Answer:
    about, told = parts.about, parts.factor_metadata
    lines = [
        f"The agreement names version {parts.agreement.code_version}; {about.writer} wrote this pack with "
        f"{about.code_version}{f', revision {about.git_sha}' if about.git_sha else ''}.",
    ]
    if about.lockfile_sha256:
        lines.append(f"SHA-256 of the lock file: {about.lockfile_sha256}.")
    if about.libraries:
        lines.append(
            "Libraries: " + ", ".join(f"{name} {made}" for name, made in sorted(about.libraries.items())) + "."
        )
    if "seed" in told:
        lines.append(f"The factor was trained with seed {told['seed']}.")
    lines.append(
        "Training is repeated by a run of the same terms that loses the same members in the same rounds; masks come "
        "off whole, and noise, where it is agreed, is fresh."
        if parts.federated
        else "Training is repeated by a run of the same terms; keys and masks are fresh, scores agree to 1e-3 sd."
    )
    return Answer(tuple(lines), ("metadata.json", "agreement.json", "factor/metadata.json"))


def _changes(parts: Parts) -> Answer:
    told = parts.factor_metadata
    lines = []
    if told:
        lines.append(f"Factor {told.get('factor_id')}, version {told.get('version')}: no version is ever overwritten.")
        before = told.get("supersedes")
        if isinstance(before, dict):
            lines.append(f"It supersedes version {before.get('version')}: {before.get('why')}.")
        lines.append("Live scores are watched with: entente factors monitor DIR --labels FILE.")
    return Answer(tuple(lines), ("factor/metadata.json",))


def _consent(parts: Parts) -> Answer:
    agreement = parts.agreement
    lines = [
        f"Run {parts.about.run_id}: proposed {agreement.proposed_at:%Y-%m-%d %H:%M} UTC, to be signed by "
        f"{agreement.expires_at:%Y-%m-%d %H:%M} UTC."
    ]
    lines += [
        f"{party.name}{f' ({party.legal_entity})' if party.legal_entity else ''}, {party.role} party: "
        + ("signed." if party.name in parts.approvals else "its signature is not in this pack.")
        for party in agreement.parties
    ]
    lines += [
        f"Logged {entry.at}: {entry.body.get('party', parts.about.writer)} signed."
        for entry in parts.logged("approval", "signed")
    ]
    return Answer(tuple(lines), ("agreement.json", "approvals.json", "log.jsonl"))


def _left(parts: Parts) -> Answer:
    lines = [alignment_line(parts.agreement), *label_lines(parts.agreement)]
    sessions = parts.logged("session")
    if sessions:
        links = {(one.get("from"), one.get("to")) for entry in sessions for one in entry.body.get("transcripts") or ()}
        moved = sum(
            int(one.get("bytes", 0))
            for entry in sessions
            for one in entry.body.get("traffic") or ()
            if one.get("way") == "sent"
        )
        lines.append(
            f"{parts.about.writer} logged {len(sessions)} sessions over {len(links)} links, with the hash of every "
            f"transcript, and sent {moved:,} bytes; entente audit report lists them by message type."
        )
    return Answer(tuple(lines), ("agreement.json", "log.jsonl"))


def _bits(parts: Parts) -> Answer:
    lines = [
        f"{one.openings:,} openings of {one.what}: {one.numbers:,} numbers of {one.each:.3g} bits at most, "
        f"{one.bits:,.0f} bits in all."
        for one in opened_bits(parts.agreement, parts.log)
    ]
    lines += [
        f"{one.by} counted {used.get('max_used')} openings of the most opened row in {one.phase}; "
        f"{used.get('limit')} are agreed."
        for one in parts.reports
        if isinstance(used := one.report.get("openings"), dict)
    ]
    if lines:
        most = parts.agreement.row_limit
        ends = {
            "screen": f"No row opens; none may enter more than {most} screens over all runs.",
            "federated": "No row opens, and no score leaves a member.",
        }
        lines.append(
            ends.get(parts.agreement.model.kind, f"No row may be opened more than {most} times over all runs.")
        )
    return Answer(tuple(lines), ("log.jsonl", "reports.jsonl", "agreement.json"))


def _people(parts: Parts) -> Answer:
    agreement = parts.agreement
    lines = [
        alignment_line(agreement),
        "Rows are entities of an agreed identifier; no person's record is a row by itself.",
    ]
    found = next((entry.body["n_common"] for entry in parts.log if "n_common" in entry.body), None)
    if found is not None:
        lines.append(f"{found} entities were common to all parties.")
    lines.append("This pack holds counts, hashes and signatures of rows, and no value of any row.")
    return Answer(tuple(lines), ("agreement.json", "log.jsonl"))


def _records(parts: Parts) -> Answer:
    logs = sorted({head.log for head in parts.heads})
    return Answer(
        (
            f"Every party keeps an append-only log; signed heads of {', '.join(logs)} are in this pack.",
            f"{len(parts.log)} entries of {parts.about.writer}'s log are proved to be under its signed head. That none "
            "was left out is shown by the other parties' packs, checked together with this one.",
        ),
        ("heads.jsonl", "log.jsonl"),
    )


def _money(parts: Parts) -> Answer:
    lines = [line for section in agreement_text(parts.agreement) if section.title == _MONEY for line in section.lines]
    for one in parts.reports:
        rewards = one.report.get("rewards")
        if one.phase == "settle" and isinstance(rewards, dict):
            lines.append(
                "At the close: "
                + ", ".join(f"{name} {amount}" for name, amount in sorted(rewards.items()))
                + " minor units."
            )
    if parts.ledger:
        lines.append(f"{len(parts.ledger)} entries of the journal are of this run.")
    for dossier in parts.dossiers.values():
        who = ", ".join(one.name for one in dossier.approvals) or "nobody"
        lines.append(f"{dossier.kind}, proposed by {dossier.proposer}: approved by {who}. {' '.join(dossier.reasons)}")
    lines += [
        f"The settlement that {parts.about.writer} was told has SHA-256 {e.body.get('settlement_sha256')}."
        for e in parts.logged("settled")
    ]
    return Answer(tuple(lines), ("agreement.json", "ledger.jsonl", "settlements/", "reports.jsonl", "log.jsonl"))


_MONEY = "Money"


def _receivers(parts: Parts) -> Answer:
    agreement = parts.agreement
    receivers = ", ".join((*agreement.recipients, *agreement.readers)) or "nobody"
    lines = [
        f"Each of {receivers} keeps the factor of its own entities, and sends it to nobody."
        if parts.federated
        else f"The factor goes to {receivers}; it is sealed to each one's key."
    ]
    if COORDINATOR not in agreement.recipients:
        lines.append("The coordinator holds no score.")
    delivered = parts.logged("export", "received", "sealed")
    lines += [
        f"Logged {entry.at}: {entry.kind} {entry.body.get('factor_id')} {entry.body.get('version')}."
        for entry in delivered
    ]
    return Answer(tuple(lines), ("agreement.json", "log.jsonl"))


def _missing(parts: Parts) -> Answer:
    lines = [f"{one.what}: {one.why}." for one in parts.about.left_out]
    lines.append(
        "No pack shows that what a party brought is true, that its software is unchanged, or that a log entry happened "
        "as it says: it shows what was signed, when others were shown it, and that nothing was changed since."
    )
    return Answer(tuple(lines), ("metadata.json",))


_COMMITTEE: Audience = "A model-risk committee"
_REGULATOR: Audience = "A regulator"

QUESTIONS: tuple[Question, ...] = (
    Question("M1", _COMMITTEE, "What is the model, what is it for, and who owns it?", _purpose),
    Question("M2", _COMMITTEE, "Which data went in, and was it known at the time?", _data),
    Question("M3", _COMMITTEE, "How was it tested out of sample, and how good is it?", _tested),
    Question("M4", _COMMITTEE, "How many trials were there, and what remains when all are counted?", _trials),
    Question(
        "M5", _COMMITTEE, "Is the joint model better than what the label party had alone, and who made it so?", _joining
    ),
    Question("M6", _COMMITTEE, "What are its limits, and what was not tested?", _limits),
    Question("M7", _COMMITTEE, "Can somebody else repeat it, and with which code?", _repeat),
    Question("M8", _COMMITTEE, "How is it watched, and how does a change show?", _changes),
    Question("R1", _REGULATOR, "Who agreed to what, and when?", _consent),
    Question("R2", _REGULATOR, "What did each party's data tell the others?", _left),
    Question("R3", _REGULATOR, "How much opened, in bits?", _bits),
    Question("R4", _REGULATOR, "Could persons or holdings be recognised?", _people),
    Question("R5", _REGULATOR, "Are the records whole and unchanged?", _records),
    Question("R6", _REGULATOR, "Who was paid what, by which rule, and who approved it?", _money),
    Question("R7", _REGULATOR, "Who received the result?", _receivers),
    Question("R8", _REGULATOR, "What does this file not show?", _missing),
)
"""In the order of the report."""
