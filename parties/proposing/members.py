"""What terms of a federated run or a group say where they say nothing: the fewest members of a sum, who has scores."""

from __future__ import annotations

from parties.agreement.group_terms import GroupTerms
from parties.errors import ConfigError
from parties.settings.consortium import ConsortiumSettings
from vfl.terms import FederatedModel

__all__ = ["with_members"]


def _with_threshold(group: GroupTerms) -> GroupTerms:
    try:
        return group.agreed_for(len(group.members))
    except ValueError as error:
        raise ConfigError(f"group {group.name}: {error}") from None


def with_members(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The terms of a federated run, and of groups, whole; others as they are. Raises :class:`ConfigError`."""
    settings = settings.model_copy(update={"group": tuple(_with_threshold(group) for group in settings.group)})
    if not isinstance(settings.model, FederatedModel):
        return settings
    try:
        agreed = settings.model.agreed_for(len(settings.party))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    everyone = tuple(party.name for party in settings.party)
    return settings.model_copy(update={"model": agreed, "recipients": settings.recipients or everyone})
