"""An auditor's replay of a screen: what opened, held against committed labels and logged terminals.

Nothing that the label party shows is believed. Its labels and own terminals must be those that it committed to before
the screen, the sums those of these labels and of the terminals that feature parties logged, and the report what the
rule makes of the sums.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.audit.committed_labels import COMMITMENT, LabelCommitment
from parties.audit.heads import check_inclusion, why_malformed
from parties.errors import DataError
from parties.node.label_commitment import commitment_of, panel_of
from parties.node.screen_evidence import (
    TERMINALS,
    ScreenLabelEvidence,
    ScreenPartyEvidence,
    terminals_digest,
)
from parties.node.screen_label import screen_labels
from parties.node.screen_report import report_lines
from vfl.models.screen.checking import sum_faults
from vfl.models.screen.formulas import trials_of
from vfl.models.screen.judge import judged
from vfl.terms import ScreenModel

__all__ = ["ScreenVerdict", "replay_screen"]

I64 = NDArray[np.int64]

_CLOSE = 1e-6
_COMPARED = ("mean_first", "t_first", "mean_second", "t_second", "p_bhy", "p_second", "deflated_sharpe")


@dataclass(frozen=True)
class ScreenVerdict:
    """faults: what the label party shows that does not fit, none where all does. checked: who showed its terminals."""

    run_id: str
    label_party: str
    formulas: int
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    faults: tuple[str, ...]


def replay_screen(label: ScreenLabelEvidence, parties: Sequence[ScreenPartyEvidence]) -> ScreenVerdict:
    """Replay a screen and say what the label party shows that does not fit.

    Raises :class:`DataError` where a feature party's file proves nothing, by its name.
    """
    agreement = label.agreement
    if not isinstance(agreement.model, ScreenModel):
        raise DataError(f"run {agreement.run_id[:12]} is no screen: use entente audit replay")
    if not parties:
        raise DataError("a replay needs the evidence of one feature party at least: nothing else was fixed in time")
    order = [party.name for party in agreement.features]
    logged = {shown.party: _logged(agreement, shown) for shown in parties}
    terminals = {shown.party: shown.ranks for shown in sorted(parties, key=lambda one: order.index(one.party))}
    faults = list(_faults(label, logged, terminals))
    return ScreenVerdict(
        run_id=agreement.run_id,
        label_party=agreement.label.party,
        formulas=sum(sums[0].size for sums in _tables(label)),
        checked=tuple(terminals),
        unchecked=tuple(name for name in order if name not in terminals),
        faults=tuple(fault[:1000] for fault in faults),
    )


def _tables(label: ScreenLabelEvidence) -> Iterator[NDArray[np.float64]]:
    for group in (label.sums.alone, label.sums.own, label.sums.pairs):
        yield from (sums for sums in group.values() if len(sums))


def _logged(agreement: Agreement, shown: ScreenPartyEvidence) -> LabelCommitment:
    """The label party's commitment as a feature party logged it, whose terminals are those that it logged too."""
    name, run_id = shown.party, agreement.run_id
    wrong = DataError(f"the evidence of {name!r} proves nothing: it is not of this run, or its log did not hold it")
    member = next((party for party in agreement.features if party.name == name), None)
    if member is None or shown.run_id != run_id:
        raise wrong
    commitments: list[LabelCommitment] = []
    digests: list[Any] = []
    for entry in shown.entries:
        if entry.head.log != name or not check_inclusion(entry, bytes.fromhex(member.identity_key)):
            raise wrong
        try:
            said = json.loads(entry.entry)
            if said["run"] == run_id and said["kind"] == COMMITMENT:
                commitments.append(LabelCommitment.model_validate({**said["body"], "run_id": run_id}))
            elif said["run"] == run_id and said["kind"] == TERMINALS:
                digests.append(said["body"]["sha256"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"{shown.source or 'the evidence'}: entry {entry.index} of {name}'s log is malformed "
                f"({why_malformed(error)}), so it proves nothing: ask {name} to make the file anew with "
                "entente audit evidence"
            ) from None
    if not commitments or terminals_digest(shown.salt, shown.ranks.astype(np.int8)) not in digests:
        raise DataError(
            f"the evidence of {name!r} proves nothing: its log has no such terminals, or no commitment to labels"
        )
    made = commitments[0]
    label = agreement.label.party
    if made.party != label or not made.signed_by(agreement.party(label).identity_key):
        raise DataError(f"the evidence of {name!r} proves nothing: the commitment in its log is not {label}'s")
    return made


def _faults(
    label: ScreenLabelEvidence, logged: Mapping[str, LabelCommitment], terminals: Mapping[str, I64]
) -> Iterator[str]:
    """What the label party shows that does not fit, in words that follow its name."""
    agreement = label.agreement
    try:
        shown = commitment_of(label.inputs)
        panel = panel_of(label.inputs)
        for name, made in logged.items():
            parts = ("rows", "entities", "labels", "columns")
            if differing := [part for part in parts if getattr(made, part) != getattr(shown, part)]:
                yield f"shows {' and '.join(differing)} that are not what it committed to towards {name!r}"
                return
        labels = screen_labels(agreement, panel)
        own = panel.features.values.astype(np.int64)
        for name, ranks in terminals.items():
            if ranks.shape[:2] != labels.shape:
                raise DataError(f"the evidence of {name!r} proves nothing: its terminals are of other rows")
        yield from sum_faults(labels, own, terminals, label.sums)
        yield from _report_faults(label, labels)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        yield f"shows a side that cannot be replayed: {error!r}"


def _report_faults(label: ScreenLabelEvidence, labels: I64) -> Iterator[str]:
    """Whether the report is what the rule makes of the sums that are shown."""
    agreement, terms = label.agreement, label.agreement.model
    assert isinstance(terms, ScreenModel)
    trials = trials_of(label.sums, agreement.label.party, labels)
    walk, report = agreement.walk_forward, label.report
    found = judged(trials, terms, horizon=walk.horizon, embargo=walk.embargo)
    if report["n_trials"] != len(trials.formulas):
        yield f"reports {report['n_trials']} formulas where {len(trials.formulas)} were tried"
    for group in ("named", "chosen"):
        made = {_key(line): line for line in report_lines(found, group)}
        told = {_key(line): line for line in report[group]}
        if made.keys() != told.keys():
            yield f"reports {len(told)} formulas as {group} where the rule makes {len(made)} of its sums"
            return
        for key, line in made.items():
            if not all(_near(line[name], told[key][name]) for name in _COMPARED):
                yield f"reports other figures of {line['formula']} than its sums have"
                return


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("party", "number", "other", "other_number"))


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)
