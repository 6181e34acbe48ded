"""All that a node looks at before its key signs an agreement, so that a signature means that the run can run.

Its limits, its roster, its earlier runs, its own data over the agreed calendar, what was opened of these rows before,
what the plan tells of them, the links to its peers, and the encrypted products of its kind on this machine. The node
does this when it is asked, and ``entente run review`` does it again before a person signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from parties.agreement.document import Agreement
from parties.control.reports import LinkState
from parties.errors import ConfigError, DataError
from parties.node.alignment_history import check_repeats
from parties.node.context import node_secret
from parties.node.counted_before import check_counted, counted_lines
from parties.node.earlier_runs import check_earlier
from parties.node.home import NodeHome
from parties.node.link_check import try_links
from parties.node.openings import OpeningStore
from parties.node.own_data import read_own_data
from parties.node.own_rows import OwnRows, check_own_rows
from parties.node.policy import check_agreement
from parties.node.product_halves import check_halves
from parties.node.rehearsal import rehearse
from parties.node.scoring_run import check_session
from parties.node.signed_data import SignedData, data_stamp, signed_data
from parties.node.slow_columns import slow_lines
from parties.proposing.placebo import check_placebo

__all__ = ["Ready", "check_ready"]


@dataclass(frozen=True)
class Ready:
    """own: what this party's rows hold, where rows open. lines: what was looked at, for its operators.

    links: what answered at each peer's address, for everybody who is to sign. seen: what the data held, for the start.
    """

    own: OwnRows | None
    lines: tuple[str, ...]
    links: Mapping[str, LinkState] = field(default_factory=dict)
    seen: SignedData | None = None


def check_ready(agreement: Agreement, home: NodeHome, openings: OpeningStore, now: datetime) -> Ready:
    """Raise unless this node may sign and its part of the run can be done as far as can be known before.

    Raises :class:`AgreementError` or :class:`ConfigError` with words for everybody, and
    :class:`DataError` with words for this party's operators alone.
    """
    me, folder = home.identity.name, home.folder
    check_agreement(agreement, home.settings, home.identity, home.roster, now)
    check_halves(agreement, folder, me, home.settings.party)
    if agreement.scores is not None:
        return Ready(None, check_session(agreement, home, partial(node_secret, home.seed)))
    if agreement.alignment.compares and not agreement.rows_kept:
        peers = {party.name for party in agreement.parties} - {me}
        check_repeats(folder, peers, home.settings.limits.alignments, now)
    secret = partial(node_secret, home.seed)
    check_earlier(agreement, folder, me, secret, openings.begun())
    check_placebo(agreement, folder / "runs")
    stamp = data_stamp(home.settings, folder)
    try:
        data = read_own_data(agreement, home.settings, folder)
    except ConfigError as error:  # paths and names of this party's files are nobody else's
        raise DataError(str(error)) from None
    check_counted(agreement, folder, me, data.entities, openings)
    own = check_own_rows(agreement, home.settings, data, openings, secret("contents"))
    links = try_links(agreement, me, home.settings.transport.relay)
    seconds = rehearse(agreement)
    counted = counted_lines(agreement, folder, me, data.entities, openings)
    step = f"Encrypted products of this kind come out right on this machine ({seconds:.1f} s)."
    party = home.settings.party
    slow = slow_lines(agreement, data.panel if party.role == "feature" else None, len(party.columns))
    seen = signed_data(agreement, data, stamp, now, secret(f"signed-data/{agreement.run_id}"))
    return Ready(own, (*data.lines(agreement), *counted, *slow, *links.lines, step), links.states, seen)
