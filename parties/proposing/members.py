"""What terms of a federated run say where they say nothing: the fewest members of a sum, and who has scores."""

from __future__ import annotations

from parties.errors import ConfigError
from parties.settings.consortium import ConsortiumSettings
from vfl.terms import FederatedModel

__all__ = ["with_members"]


def with_members(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The terms of a federated run whole; those of any other kind as they are. Raises :class:`ConfigError`."""
    if not isinstance(settings.model, FederatedModel):
        return settings
    try:
        agreed = settings.model.agreed_for(len(settings.party))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    everyone = tuple(party.name for party in settings.party)
    return settings.model_copy(update={"model": agreed, "recipients": settings.recipients or everyone})
