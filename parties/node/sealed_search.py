"""A sealed run's search at a feature party: which trials it takes part in, and which choice it was told."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from parties.agreement.document import Agreement
from parties.errors import AgreementError
from parties.node.checkpoints import CheckpointStore
from psi.flow import Flow, Recv, RecvAny, RemoteProtocolError
from vfl.models.sealed.trials import ConfigurationChosen, TrialBegins

__all__ = ["kept_choice", "serve_search"]

_CHOSEN = "chosen"


def serve_search(agreement: Agreement, store: CheckpointStore, trial: Callable[[int], Flow[None]]) -> Flow[None]:
    """Take part in the agreed trials until the label party says what it chose; keep that, once and for all.

    trial: this party's part of one. Raises RemoteProtocolError for a trial that was not agreed, and another choice.

    Learns: which configurations are tried when, and which was chosen.
    Leaks: as ``trial``.
    Model: a label party that cheats has no more trials than were agreed, each once.
    Source: docs/protocols/sealed.md#trials.
    """
    label, count, last = agreement.label.party, len(agreement.configurations), -1
    while True:
        which, got = yield RecvAny((Recv(label, TrialBegins), Recv(label, ConfigurationChosen)))
        if which == 1:
            break
        number = cast("TrialBegins", got).number
        if not last < number < count:
            raise RemoteProtocolError(f"begins trial {number} after trial {last}, of {count} that were agreed", label)
        if _CHOSEN in store.names():
            raise RemoteProtocolError(f"begins trial {number} after it has chosen", label)
        last = number
        yield from trial(number)
    chosen = cast("ConfigurationChosen", got).number
    if not 0 <= chosen < count:
        raise RemoteProtocolError(f"chose configuration {chosen} of {count} that were agreed", label)
    if _CHOSEN not in store.names():
        store.put(_CHOSEN, {"number": np.array(chosen)})
    elif kept_choice(store, count) != chosen:
        raise RemoteProtocolError("goes on with another configuration than the one it had chosen", label)


def kept_choice(store: CheckpointStore, count: int) -> int:
    """What was chosen, of ``count`` configurations. Raises :class:`AgreementError` where it is not known."""
    kept = store.get(_CHOSEN) if _CHOSEN in store.names() else None
    chosen = -1 if kept is None else int(kept["number"])
    if not 0 <= chosen < count:
        raise AgreementError("what the search chose is not among this node's records: propose the run again")
    return chosen
