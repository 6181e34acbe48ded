"""Entries of the coordinator's audit log as sentences: what happened, who did it, and in which phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ui.wording import PHASE_NOUNS, count, listed, short_id, things

__all__ = ["facts", "sentence"]

_LONGEST = 240
_HASH = 64  # what is as long as a hash or a signature is read in the entry itself

_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "proposed": lambda body: f"{body['by']} proposed the run.",
    "signed": lambda body: f"{body['party']} signed the agreement.",
    "rejected": lambda body: f"{body['party']} refused to sign: {body['why']}",
    "phase_done": lambda body: f"{body['party']} finished {_phase(body)}{_found(body)}.",
    "phase_failed": lambda body: f"{body['party']} stopped in {_phase(body)}{_blamed(body)}: {body['reason']}",
    "phase_held": lambda body: f"{body['party']} stopped in {_phase(body)}, as the run is paused.",
    "party_lost": lambda body: f"{body['party']} has been silent for {body['silent_for']:.0f} s.",
    "party_back": lambda body: f"{body['party']} is back.",
    "party_restarted": lambda body: f"The node of {body['party']} restarted.",
    "coordinator_done": lambda body: f"The coordinator finished {_phase(body)}{_found(body)}.",
    "coordinator_failed": lambda body: f"The coordinator stopped in {_phase(body)}{_blamed(body)}: {body['reason']}",
    "paused": lambda body: f"{body['by']} paused the run{_why(body)}.",
    "resumed": lambda body: f"{body['by']} resumed the run.",
    "cancelled": lambda body: f"{body['by']} cancelled the run{_why(body)}.",
    "continued": lambda body: f"The others go on without {listed(body['without'])}, as run {short_id(body['as_run'])}.",
    "expired": lambda _: "The agreement expired before everybody had signed.",
    "interrupted": lambda body: f"Interrupted: {body['why']}",
    "rows": lambda body: f"{body['by']} committed to its rows up to {body['through'][:10]}.",
    "live": lambda body: f"{body['by']} attested {things(len(body['periods']), 'live periods')}.",
    "settlement": lambda body: (
        f"{body['by']}: {body['what']} (step {body['step']}, dossier {short_id(body['digest'])})."
    ),
    "desk": lambda body: f"{body['name']} ({_role(body)}) asked to {body['what']}{_about(body)}: {body['outcome']}.",
}


def sentence(kind: str, body: Mapping[str, Any]) -> str:
    """What an entry says; the facts themselves where it is of a kind, or of a shape, that has no sentence here."""
    try:
        text = _SENTENCES[kind](body)
    except (KeyError, TypeError, ValueError):
        text = facts(body)
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"


def facts(body: Mapping[str, Any]) -> str:
    """The short facts of an entry in one line; what is long is in the entry itself."""
    short = {name: value for name, value in body.items() if isinstance(value, str | int | float) and value != ""}
    words = [f"{name.replace('_', ' ')} {str(value)[:40]}" for name, value in short.items() if len(str(value)) < _HASH]
    groups = ((name, value) for name, value in body.items() if isinstance(value, list | dict) and value)
    words += [f"{len(value)} {name.replace('_', ' ')}" for name, value in groups]
    return ", ".join(words)


def _phase(body: Mapping[str, Any]) -> str:
    """The phase, and which attempt where it is not the first."""
    name = PHASE_NOUNS.get(body["phase"], str(body["phase"]))
    return f"{name} at attempt {body['attempt']}" if body.get("attempt", 1) != 1 else name


def _found(body: Mapping[str, Any]) -> str:
    """What came out of the phase, where the entry has it."""
    told = []
    if isinstance(common := body.get("n_common"), int):
        told.append(things(common, "common entities"))
    if isinstance(rewards := body.get("rewards"), dict):
        told.append(
            f"rewards to {count(sum(1 for one in rewards.values() if one))} of {things(len(rewards), 'parties')}"
        )
    if body.get("rolled_over"):
        told.append("a part rolled over to the next run")
    return f" ({', '.join(told)})" if told else ""


def _blamed(body: Mapping[str, Any]) -> str:
    return f", held against {body['peer']}" if body.get("peer") else ""


def _why(body: Mapping[str, Any]) -> str:
    return f": {body['why']}" if body.get("why") else ""


def _role(body: Mapping[str, Any]) -> str:
    return f"{body['role']} of {body['party']}" if body.get("party") else str(body["role"])


def _about(body: Mapping[str, Any]) -> str:
    """What it was about; a whole hash is cut to what tells runs apart."""
    about = str(body.get("about", ""))
    return f" {short_id(about) if len(about) == _HASH else about}" if about else ""
