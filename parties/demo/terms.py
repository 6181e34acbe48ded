"""From ``consortium.toml`` and a roster to the agreement that an admin proposes."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from pydantic import ValidationError

from parties import __version__
from parties.agreement import COORDINATOR, Agreement, LabelTerms, PartyTerms
from parties.data.calendar import calendar_terms
from parties.errors import ConfigError
from parties.identity import Roster
from parties.settings import ConsortiumSettings

__all__ = ["agreement_of"]

_VALIDITY = timedelta(days=1)


def agreement_of(settings: ConsortiumSettings, roster: Roster, now: datetime) -> Agreement:
    """The terms of one run, to be signed within a day. Raises :class:`ConfigError` for terms that contradict."""
    label = next(party.name for party in settings.party if party.role == "label")
    coordinator = roster.member(COORDINATOR)
    try:
        return Agreement(
            consortium=settings.name,
            purpose=settings.purpose,
            proposed_at=now,
            expires_at=now + _VALIDITY,
            nonce=secrets.token_hex(16),
            coordinator_certificate_sha256=coordinator.certificate_sha256,
            coordinator_address=coordinator.address,
            parties=tuple(
                PartyTerms(
                    name=party.name,
                    role=party.role,
                    legal_entity=party.legal_entity,
                    address=roster.member(party.name).address,
                    identity_key=roster.member(party.name).identity_key,
                    certificate_sha256=roster.member(party.name).certificate_sha256,
                    columns=party.output_columns,
                )
                for party in settings.party
            ),
            label=LabelTerms(name=settings.label.name, definition=settings.label.definition, party=label),
            calendar=calendar_terms(settings.calendar),
            alignment=settings.alignment,
            fixed_point=settings.fixed_point,
            parameter_set=settings.parameter_set,
            model=settings.model,
            walk_forward=settings.walk_forward,
            openings=settings.openings,
            evaluation=settings.evaluation,
            reward=settings.reward,
            recipients=settings.recipients or (label,),
            code_version=__version__,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"the consortium's terms do not hold together: {first['msg']}") from None
