"""A file of terms to start from: the members as they are, a calendar, and what most runs change, each with a word."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import date
from typing import Literal, Protocol

from parties.errors import ConfigError

__all__ = ["Kind", "Offered", "terms_template"]

Kind = Literal["sealed", "trees", "split", "ridge", "screen", "federated"]


class Offered(Protocol):
    """What a member's node says of it."""

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...


def terms_template(
    consortium: str,
    members: Sequence[Offered],
    kind: Kind,
    frequency: str,
    first: date,
    last: date,
    *,
    without: Collection[str] = (),
) -> str:
    """Terms for all members but those left out, as TOML with comments. They can be proposed as they are.

    Raises :class:`ConfigError` where members are missing: one label party, and a feature party or more, and whoever has
    joined and not started, since nobody knows yet what such a member brings.
    """
    unknown = sorted(set(without) - {member.name for member in members})
    if unknown:
        raise ConfigError(f"no member is called {unknown[0]}: {', '.join(sorted(one.name for one in members))}")
    members = [member for member in members if member.name not in without]
    there = [member for member in members if member.role]
    silent = sorted(member.name for member in members if not member.role)
    labels = [member.name for member in there if member.role == "label"]
    features = [member.name for member in there if member.role == "feature"]
    if len(labels) != 1 or not features:
        away = f"; {', '.join(silent)} {'has' if len(silent) == 1 else 'have'} not started yet" if silent else ""
        raise ConfigError(
            f"a run needs one label party and a feature party or more; here are {len(labels)} and {len(features)}{away}"
        )
    if silent:
        raise ConfigError(
            f"{', '.join(silent)} {'has' if len(silent) == 1 else 'have'} not started yet, so these terms cannot say "
            f"what such a member brings: entente party start there, or leave it out with --without {','.join(silent)}"
        )
    names, width, limit = [*labels, *features], 0, 0
    if kind == "split":
        width, limit = _width_and_limit(sum(len(member.columns) for member in there if member.role == "feature"))
    parties = "".join(
        f'\n[[party]]\nname = "{member.name}"\nrole = "{member.role}"\n'
        f"# columns = {json.dumps(list(member.columns))}   # all that its node offers; name fewer to use fewer\n"
        for member in sorted(there, key=lambda one: names.index(one.name))
    )
    if kind == "federated":
        _check_same_columns(there)
    return _TEMPLATE.format(
        alignment=_OWN if kind == "federated" else _COMMON,
        evaluation=_TRAINED_ONCE.format(first=_reported(frequency, first, last)) if kind == "federated" else _REPORTED,
        name=json.dumps(consortium, ensure_ascii=False),
        recipients=json.dumps(names),
        frequency=json.dumps(frequency),
        first=first,
        last=last,
        kind=kind + '"\nembedding_width = ' + str(width) if kind == "split" else kind + '"',
        openings=_OPENINGS[kind].format(limit=limit),
        parties=parties,
    )


def _reported(frequency: str, first: date, last: date) -> str:
    """The period from which a model that is trained once is reported: three fifths are before it."""
    # the command line starts without pandas and pydantic
    from parties.data.calendar import calendar_terms
    from parties.settings.consortium import CalendarSettings

    periods = calendar_terms(CalendarSettings(frequency=frequency, first=first, last=last)).periods
    return periods[len(periods) * 3 // 5]


def _check_same_columns(members: Sequence[Offered]) -> None:
    """Raise ConfigError unless all members offer the same columns, as a federated model needs."""
    first = members[0]
    for member in members:
        if not member.columns:
            raise ConfigError(
                f"{member.name} offers no columns, and every member of a federated model has the same: name them in "
                "its node.toml, or take --kind sealed"
            )
        if set(member.columns) != set(first.columns):
            other = sorted(set(member.columns) ^ set(first.columns))[0]
            raise ConfigError(
                f"{first.name} and {member.name} offer other columns, {other} among them, and every member of a "
                "federated model has the same: name them alike in each node.toml, or take --kind sealed"
            )


def _width_and_limit(columns: int) -> tuple[int, int]:
    """The widest embedding of which a row's budget allows a prediction and three passes, and that many openings."""
    from vfl.terms import OpeningTerms

    share = OpeningTerms().largest_fraction
    width = max((width for width in range(1, 9) if int(share * columns / width) >= 4), default=1)
    limit = min(6, int(share * columns / width))
    if limit < 2:
        raise ConfigError(
            f"{columns} feature columns leave a split network no opening to train on: take --kind sealed, which opens "
            "nothing of a row but its score"
        )
    return width, limit


_COMMON = """\
# psi: only common entities become known to all. With fewer than this many the run stops and no row is shown.
policy = "psi"
minimum_common = 30
# For sets of 100,000 and more, or to do without the coordinator's help: docs/protocols/transfer.md
# protocol = "ot\""""

_REPORTED = """\
# What is reported and paid: all predicted periods, or those between two days that were named beforehand.
# [evaluation]
# first = "2024-01-05\""""

_TRAINED_ONCE = """\
# The model is trained once, on labels known before this day, and reported from it on.
[evaluation]
first = "{first}\""""

_OWN = """\
# own: members train on entities of their own; nobody learns which these are.
policy = "own\""""

_OPENINGS: dict[Kind, str] = {
    "sealed": "# Scores of a row that may open over all runs; nothing else of a row opens.\nlimit_per_row = 4",
    "trees": "# Scores of a row that may open over all runs; of training, rounded sums of anonymous candidates open.\n"
    "limit_per_row = 4",
    "split": "# Sums of embeddings that may open of a row, over all runs. entente run propose prints the table of\n"
    "# widths and passes that the members' columns allow.\n"
    'limit_per_row = {limit}\ncontribution = "none"',
    "ridge": "# Joint scores that may open of a row, over all runs; moments of all rows open too.\nlimit_per_row = 2\n"
    'contribution = "none"',
    "screen": "# Label vectors whose sums a row may enter, over all screens; no row opens.\nlimit_per_row = 4",
    "federated": '# Coalitions train anew: what each member brings. Nothing of a row opens.\ncontribution = "retrain"',
}

_TEMPLATE = """\
# Terms of a run. Propose them: entente run propose THIS-FILE. Every key: docs/configuration.md.
name = {name}
purpose = "say what the factor is for: everybody reads this before signing"
recipients = {recipients}

# The decision periods: Q, M, W-FRI, B (Monday to Friday), D, or an exchange's code such as XNYS.
[calendar]
frequency = {frequency}
first = {first}
last = {last}
# Days after a period's end until features are cut off.
decision_lag_days = 0

[alignment]
{alignment}

[walk_forward]
# Periods until a label is known, periods held out beyond that, and periods of labels before the first prediction.
horizon = 1
embargo = 0
warmup = 12

{evaluation}

[model]
# sealed, trees, split or ridge: docs/models.md says when to take which; screen: docs/screen.md.
kind = "{kind}

[openings]
{openings}

# Without a pot nothing is paid. unit: a currency; scale: its decimals; pot: in its smallest unit.
# [reward]
# unit = "USD"
# scale = 2
# pot = 1000000
# Rows earn that a node committed to before what followed was known, so history earns nothing; "any" pays for it too.
# rows = "any"
{parties}"""
