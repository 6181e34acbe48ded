"""``entente run search``: how far the opening budget goes, and a run that searches within it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.joining import duration
from parties.cli.proposals import offered, put
from parties.cli.runs import Coordinator, Credentials, connect
from parties.errors import ConfigError
from parties.plurals import things
from parties.terminal.console import say, table

if TYPE_CHECKING:
    from parties.agreement.document import Agreement
    from parties.proposing.drafting import Node
    from parties.settings.consortium import ConsortiumSettings
    from vfl.walk.search import Choice, SearchTerms

__all__ = ["run_search", "searching"]


def run_search(
    file: Annotated[Path, typer.Argument(help="The terms: a consortium.toml, or one without queries.")],
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", min=1, help="Top models, or a sealed network's configurations, to try; for the file's."
        ),
    ] = None,
    source_trials: Annotated[
        int | None, typer.Option("--source-trials", min=0, help="Trainings of the source layer to try; for the file's.")
    ] = None,
    report_from: Annotated[
        str, typer.Option("--report-from", metavar="PERIOD", help="First reported period; those before choose.")
    ] = "",
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    valid: Annotated[str, typer.Option("--valid", help="How long it can be signed, such as 8h or 2d.")] = "1d",
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=3600, help="Seconds to wait for nodes that are still to start.")
    ] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show how many trials the opening budget allows, and put a run that searches before its parties.

    The run tries settings of its model inside the encrypted protocol and chooses by periods before the reported ones.
    Without [search] in FILE a small default space is used. Every party signs the space and the number of trials; of a
    sealed network the very configurations, which are drawn here.
    """
    from parties.members.roster import Roster
    from parties.names import COORDINATOR
    from parties.proposing.drafting import agreement_of

    with connect(coordinator, credentials) as client:
        assert credentials is not None
        views, settings = offered(client, file, wait)
        terms = searching(settings, trials, source_trials, report_from)
        nodes: dict[str, Node] = {COORDINATOR: Roster.load(credentials / "roster.json").member(COORDINATOR), **views}
        plain = agreement_of(terms.model_copy(update={"search": None}), nodes, datetime.now(UTC))
        agreement = agreement_of(terms, nodes, datetime.now(UTC), duration(valid))
        if agreement.split_search is not None:
            _show(agreement.split_search, plain.possible_source_trials, 1 + plain.model.epochs, plain.row_limit)
        else:
            _show_configurations(agreement)
        put(client, agreement, credentials, yes=yes)


def searching(
    settings: ConsortiumSettings, trials: int | None, source_trials: int | None, report_from: str
) -> ConsortiumSettings:
    """The terms with a search: the file's or the default one, and what the command line says instead."""
    from pydantic import ValidationError

    from vfl.terms import SealedModel
    from vfl.walk.configurations import SearchDraft
    from vfl.walk.search import SearchTerms

    sealed = isinstance(settings.model, SealedModel)
    if sealed and source_trials is not None:
        raise ConfigError("a sealed network has no source layer to try: use --trials, which trains all of it")
    told = settings.search.model_dump() if settings.search is not None else {}
    told |= {} if trials is None else {"trials": trials}
    told |= {} if source_trials is None else {"source_trials": source_trials}
    if sealed and trials is not None and told.get("configurations"):
        raise ConfigError("the file lists its search.configurations: leave --trials out, or the list")
    try:
        search = SearchDraft.model_validate(told) if sealed else SearchTerms.model_validate(told)
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    first = report_from or settings.evaluation.first
    if not first:
        raise ConfigError("name the first reported period with --report-from, or as evaluation.first in the terms")
    evaluation = settings.evaluation.model_copy(update={"first": first})
    return settings.model_copy(update={"search": search, "evaluation": evaluation})


def _show(terms: SearchTerms, possible: int, each: int, limit: int) -> None:
    """The space, and what the budget allows."""
    table(
        "Search space",
        ("key", "from", "trial costs"),
        (
            *((key, _range(choice), "no opening") for key, choice in terms.top_space.items()),
            *(
                (key, _range(choice), f"{things(each, 'openings')} of a row")
                for key, choice in terms.source_space.items()
            ),
        ),
    )
    table(
        "Trials",
        ("of", ">asked for", ">the budget allows"),
        (("the top model", terms.trials, "any number"), ("the source layer", terms.source_trials, possible)),
    )
    say(f"A row may be opened {limit} times in all.")


def _show_configurations(agreement: Agreement) -> None:
    """What is tried, what it opens, and how far the count of rows goes."""
    from vfl.walk.configurations import SealedSearchTerms

    assert isinstance(agreement.search, SealedSearchTerms)
    listed = agreement.search.configurations
    table("Configurations", (">trial", "of [model]"), tuple((n, c.words) for n, c in enumerate(listed, start=1)))
    say(
        f"Each opens two numbers for each predicted period before {agreement.evaluation.first}, and no score. A row "
        f"enters the numbers of {len(listed)} trials, of {agreement.openings_left} left."
    )


def _range(choice: Choice) -> str:
    if choice.values:
        return ", ".join(str(value) for value in choice.values)
    return f"{choice.low:g} to {choice.high:g}" + (", logarithmic" if choice.log else "")
