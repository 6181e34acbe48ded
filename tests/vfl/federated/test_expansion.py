"""An expansion that members fit together: as one fitted on all rows, the same at everyone, refused where unfit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from psi.flow import Message, ProtocolError, RemoteProtocolError, UnattributedError
from tests.vfl.federated.rig import COORDINATOR, RUN, play, secret
from vfl.expansion_terms import ExpansionSettings, ExpansionShape, declared_expansion
from vfl.federated.expansion import (
    CELLS,
    REACH,
    ExpansionPlan,
    UnfitRows,
    UnfitSums,
    counts_of,
    join_expansion,
    moments_of,
    serve_expansion,
    whitened,
)
from vfl.federated.group import JointEncoder
from vfl.federated.messages import CountsAdded, CountsShare, EncoderPassed, SumPart, SumTotal
from vfl.federated.secure_sum import SumTerms
from vfl.federated.updates import RING

F64 = NDArray[np.float64]
NAMES = ("n", "s", "e", "w")


def plan(run: str = RUN, **shape: Any) -> ExpansionPlan:
    terms = {"fourier": 6, "bins": 4, "outputs": 5, "fit_periods": 4, **shape}
    return ExpansionPlan(ExpansionShape.model_validate(terms), 3, SumTerms(NAMES, COORDINATOR, 3, RING, run), 7)


def rows_of(seed: int, count: int = 320) -> F64:
    return np.clip(np.random.default_rng(seed).standard_t(4, size=(count, 3)), -REACH, REACH)


ROWS = {name: rows_of(place) for place, name in enumerate(NAMES)}


def fitted(
    terms: ExpansionPlan, held: dict[str, F64] | None = None, **playing: Any
) -> tuple[dict[str, Any], list[tuple[str, str, Message]]]:
    flows: dict[str, Any] = {
        name: join_expansion(terms, name, ROWS[name], secret(name), (held or {}).get(name)) for name in NAMES
    }
    return play({**flows, COORDINATOR: serve_expansion(terms, set())}, **playing)


def sums(found: Any) -> F64:
    assert isinstance(found, JointEncoder), found
    return found.weights


def test_it_is_what_the_pooled_rows_give_and_the_same_at_everyone() -> None:
    terms, pooled = plan(), np.concatenate(list(ROWS.values()))
    found, _ = fitted(terms)
    for name in NAMES:
        np.testing.assert_array_equal(sums(found[name]), sums(found["n"]))
    edges, means, directions = whitened(terms, sums(found["n"]))
    width = 2 * REACH / CELLS
    for column in range(3):
        np.testing.assert_allclose(edges[column], np.quantile(pooled[:, column], [0.25, 0.5, 0.75]), atol=2 * width)
    features = terms.features(pooled, edges)
    ours = (features - means) @ directions
    theirs = PCA(5, whiten=True, svd_solver="full").fit_transform(features)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-4)


def test_who_was_lost_is_given_the_sums_and_nothing_is_added_up_again() -> None:
    first, _ = fitted(plan())
    held = {name: sums(first[name]) for name in ("n", "s", "w")}
    found, sent = fitted(plan(), held)
    for name in NAMES:
        np.testing.assert_array_equal(sums(found[name]), held["n"])
    assert [(one, to) for one, to, message in sent if isinstance(message, EncoderPassed)] == [("n", "e")]
    assert not any(isinstance(message, SumPart) for _, _, message in sent)


def test_no_sum_opens_without_a_member() -> None:
    def drops(sender: str, _: str, message: Message) -> bool:
        return sender == "e" and isinstance(message, SumPart) and message.number == 7

    found, sent = fitted(plan(), drops=drops)
    assert all(isinstance(found[name], Exception) for name in ("n", "s", "w", COORDINATOR))
    assert not any(isinstance(message, SumTotal) for _, _, message in sent)


@pytest.mark.parametrize("kind", [CountsShare, CountsAdded])
def test_counts_of_another_length_are_refused_by_name(kind: type[CountsShare | CountsAdded]) -> None:
    def change(sender: str, to: str, message: Message) -> Message:
        return replace(message, values=b"short") if isinstance(message, kind) and sender == "s" else message

    found, _ = fitted(plan(), change=change)
    assert isinstance(found["n"], RemoteProtocolError)
    assert found["n"].peer == "s"
    assert "its share of the members' counts: expected" in str(found["n"])


def test_who_is_told_other_sums_finds_out_before_it_uses_them() -> None:
    def change(sender: str, to: str, message: Message) -> Message:
        if isinstance(message, SumTotal) and to == "w":
            return replace(message, values=b"\1" + message.values[1:])
        return message

    found, _ = fitted(plan(), change=change)
    assert all(isinstance(found[name], UnattributedError) for name in NAMES)
    assert "the members end with different expansions, w with another than n: the moments" in str(found["n"])


def test_made_up_counts_too_few_rows_and_too_few_directions_are_refused() -> None:
    terms, edges = plan(), np.zeros((3, 3))
    counts = counts_of(terms, rows_of(0, 300))
    terms.check(counts)
    with pytest.raises(UnfitSums, match="counts are of no rows"):
        terms.check(counts + np.eye(len(counts))[1])
    with pytest.raises(UnfitSums, match=r"hold too few rows for 5 directions: raise group.expand.fit_periods"):
        terms.check(counts_of(terms, rows_of(0, 5)))
    terms.check_own(rows_of(0, 252))
    with pytest.raises(UnfitRows, match=r"hold 251 different rows of 3 columns, and 189 sums .* raise group.expand"):
        terms.check_own(np.repeat(rows_of(0, 251), 2, axis=0))
    alike = plan(fourier=0, bins=4, outputs=11)
    made = np.concatenate([counts, moments_of(alike, rows_of(0, 300), edges)])
    with pytest.raises(UnfitSums, match="fewer than 11 directions"):
        whitened(alike, made)
    assert issubclass(UnfitSums, ProtocolError)


def test_another_run_has_other_frequencies() -> None:
    one, two = plan(bins=0), plan("00" * 32, bins=0)
    assert not np.allclose(one.features(ROWS["n"], np.zeros((3, 0))), two.features(ROWS["n"], np.zeros((3, 0))))


@pytest.mark.parametrize(
    "shape",
    [
        {"fourier": 32, "outputs": 8, "fit_periods": 28},
        {"bins": 8, "hinges": True, "outputs": 4},
        {"fourier": 3, "bins": 2, "outputs": 2, "columns": ("a", "b")},
        {"hinges": True},
    ],
)
def test_what_a_member_declares_of_its_groups_expansion_is_read_back(shape: dict[str, Any]) -> None:
    settings = ExpansionSettings(group="lenders", **shape)
    meant = settings.shape.model_copy(update={"columns": shape.get("columns", ("a", "b", "c"))})
    assert declared_expansion(settings.declared(("a", "b", "c"))) == ("lenders", meant)
    alone = ExpansionSettings(**shape).declared(("a", "b", "c"))
    assert declared_expansion(alone) is None, "its own, which no group fits"
    trees = ExpansionSettings(group="lenders", **shape | {"trees": 3}).declared(("a", "b", "c"))
    assert declared_expansion(trees) is None, "which no group may have"
