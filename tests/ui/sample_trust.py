"""The sample's answers about trust: a log of three hundred entries, heads, one run's report and agreement."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from parties.agreement.document import Agreement
from parties.agreement.every_term import every_term
from parties.client import (
    AgreementText,
    AuditEntryView,
    AuditPage,
    HeadExchange,
    HeadsView,
    LogCheckView,
    MemberHeads,
    MinimisationView,
    OpeningsView,
    RevealedLine,
    SignerCheck,
    TermView,
)
from parties.coordinator.desk.agreement_views import caution_lines, section_views
from parties.errors import ConfigError

__all__ = ["agreement", "agreement_in_words", "check", "doors", "report"]

HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[red] $x^2$ [link](http://x)"
SETTLED = "a1" * 32
_AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
_KINDS = ("proposed", "signed", "phase_done", "coordinator_done")


def _entry(index: int) -> AuditEntryView:
    kind = _KINDS[index % 4]
    body = {"party": "orbit", "phase": "train", "by": "admin", "reason": HOSTILE, "report_sha256": "ab" * 32}
    text = json.dumps({"at": _AT.isoformat(), "body": body, "kind": kind, "run": SETTLED})
    return AuditEntryView(
        index=index, at=_AT.isoformat(), kind=kind, run_id=SETTLED, body=body, text=text, leaf=f"{index:064x}"
    )


def check(**changes: Any) -> LogCheckView:
    told: dict[str, Any] = {
        "sound": True, "size": 300, "root": "cd" * 32, "own_heads": 12, "unlinked": 1,
        "others": {"orbit": 4}, "checked_at": _AT,
    }  # fmt: skip
    return LogCheckView.model_validate(told | changes)


def report(**changes: Any) -> MinimisationView:
    lines = (
        RevealedLine(
            sender="harbor", receiver="orbit", message="product.operand", payload="ciphertext", bytes=41_200_000,
            reveals="shape of the encrypted matrix; nothing of its values", source="BFV",
        ),
        RevealedLine(sender="orbit", receiver="", message="source.sum", payload="masked sum", bytes=2_310_000),
        RevealedLine(sender="till", receiver="harbor", message="odd.kind", payload="unheard of", bytes=12),
    )  # fmt: skip
    told: dict[str, Any] = {
        "run_id": SETTLED, "lines": lines, "openings": (OpeningsView(party="orbit", limit=6, max_used=5),),
        "n_common": 463, "factor_to": ("harbor", "coordinator"),
    }  # fmt: skip
    return MinimisationView.model_validate(told | changes)


def _document(names: Sequence[str] = ("harbor", "orbit", "till"), said: str = HOSTILE) -> Agreement:
    """``said``: what every party says of itself, of its label and of the purpose; the real names where it is empty."""
    parties = [
        {
            "name": name, "role": "feature" if i else "label",
            "legal_entity": said or f"{name.title()} Capital LLC", "address": "127.0.0.1:1",
            "identity_key": "ab" * 32, "certificate_sha256": "cd" * 32, "columns": [f"{name}_{k}" for k in range(12)],
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    periods = [f"2024-{i:02d}" for i in range(1, 13)]
    ends = [_AT - timedelta(days=400 - 30 * i) for i in range(12)]
    return Agreement.model_validate(
        {
            "consortium": "Harbour consortium", "purpose": said or "Weekly factor, large caps", "proposed_at": _AT,
            "expires_at": _AT + timedelta(days=1), "nonce": "1",
            "coordinator_certificate_sha256": "ef" * 32, "coordinator_address": "127.0.0.1:1", "parties": parties,
            "label": {"name": "y", "definition": said or "return of the week after the decision", "party": "harbor"},
            "calendar": {"frequency": "M", "periods": periods, "period_ends": ends, "cutoffs": ends},
            "reward": {"pot": 250_000}, "recipients": ["orbit", "coordinator"], "code_version": "0.1.0",
        }
    )  # fmt: skip


def agreement_in_words(names: Sequence[str]) -> AgreementText:
    """The same of so many parties, with names as parties have them, and under the id of the sample's run."""
    document = _document(names, "")
    found, real = agreement(document), document.run_id
    text = tuple(
        part.model_copy(update={"lines": tuple(line.replace(real, SETTLED) for line in part.lines)})
        for part in found.text
    )
    return found.model_copy(update={"text": text})


def agreement(document: Agreement | None = None, **changes: Any) -> AgreementText:
    """Words of a real agreement, with a label definition and a legal entity that try to be markup."""
    document = document or _document()
    signers = tuple(
        SignerCheck(
            party=party.name,
            legal_entity=party.legal_entity,
            role=party.role,
            key="ab" * 32,
            signature="cd" * 64,
            signed_at=_AT,
        )
        for party in document.parties
    )
    told: dict[str, Any] = {
        "run_id": SETTLED, "faithful": True, "text": section_views(document),
        "cautions": caution_lines(document), "signers": signers,
        "terms": tuple(
            TermView(section=t.section, name=t.name, value=t.value, meaning=t.meaning) for t in every_term(document)
        ),
    }  # fmt: skip
    return AgreementText.model_validate(told | changes)


def doors(size: int = 300) -> dict[str, Callable[[Any], Any]]:
    """The doors about trust."""

    def log(asked: Any) -> AuditPage:
        found = [
            entry
            for entry in map(_entry, reversed(range(size)))
            if asked.kind in ("", entry.kind)
            and all(word.casefold() in entry.text.casefold() for word in asked.text.split())
            and entry.run_id.startswith(asked.run_id)
        ]
        page = tuple(found[asked.offset :][: asked.limit])
        return AuditPage(
            total=len(found), offset=asked.offset, entries=page, kinds=tuple(sorted(_KINDS)) if size else ()
        )

    def heads(_: Any) -> HeadsView:
        given = HeadExchange(
            run_id=SETTLED, phase="export", party="orbit", size=245, root="ef" * 32, signed_at=_AT.isoformat(),
            received_at=_AT, fits=True,
        )  # fmt: skip
        orbit = MemberHeads(
            name="orbit", heads=4, size=245, root="ef" * 32, signed_at=_AT.isoformat(), fits=True, run_id=SETTLED,
            phase="export", received_at=_AT,
        )  # fmt: skip
        return HeadsView(members=(orbit, MemberHeads(name="till")) if size else (), exchanges=(given,) if size else ())

    def known(answer: Callable[[], Any]) -> Callable[[Any], Any]:
        def find(asked: Any) -> Any:
            if set(asked.run_id) - set("0123456789abcdef"):
                raise ConfigError(f"there is no run {asked.run_id[:12]!r} here: list the runs for their ids")
            return answer()

        return find

    return {
        "trust/log": log,
        "trust/check": lambda _: check(),
        "trust/proof": lambda asked: f'{{"index":{asked.index}}}'.encode(),
        "trust/heads": heads,
        "trust/minimisation": known(report),
        "trust/agreement": known(agreement),
        "trust/agreement-file": known(lambda: b"{}"),
    }
