"""What a run has shown so far: its factor by period, contributions, openings, bytes, memory."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from parties.client import EvaluationView, RunView, ViewerView
from ui.battery_words import measure_title
from ui.charts import runs as run_charts
from ui.charts.drawn_once import draw
from ui.charts.thinned_series import MOST_POINTS
from ui.empty_states import empty
from ui.tables import run as run_tables
from ui.text_table import show_text_table
from ui.views.run_rounds import round_tiles, rounds
from ui.views.screen_result import is_screen, screen_opened, screen_result
from ui.wording import HELP, MISSING, amount, correlation, count, data_size, plain, t_value, things

__all__ = ["contribution", "numbers", "quality", "revealed", "trees_of"]

_WAYS = {
    "masked": "Coalitions were valued from masked sums: one more opening of a row for each.",
    "retrain": "Every coalition trained anew with the lead, and was valued by its rank IC over all members' rows.",
    "moments": "Valued by each coalition's Pearson IC: two numbers per coalition and period opened.",
}


def numbers(run: RunView) -> None:
    """The numbers that matter most, side by side."""
    evaluation = run.evaluation
    if is_screen(run):
        _formulas(run)
        return
    if evaluation is not None and evaluation.static is not None:
        _test_rows(run, evaluation)
        return
    joint = evaluation.ic_joint if evaluation else run.ic_joint
    own = evaluation.ic_own if evaluation else run.ic_own
    uplift = evaluation.uplift if evaluation else None
    used = max((o.max_used for o in run.openings), default=None)
    limit = min((o.limit for o in run.openings), default=None)
    t_joint = f"t = {t_value(evaluation.t_joint)}" if evaluation and evaluation.t_joint is not None else None
    t_uplift = f"t = {t_value(evaluation.t_uplift)}" if evaluation and evaluation.t_uplift is not None else None
    openings = MISSING if used is None or limit is None else f"{used} of {limit}"
    label, meaning = ("Scores per row", "scores") if run.score_bits else ("Openings per row", "openings")
    alone, gained = ("ic_own", "uplift") if run.federated is None else ("ic_alone", "gained")
    tiles = (
        ("Rank IC, joint", correlation(joint), f"{HELP['rank_ic']} {HELP['t']}", t_joint),
        ("Rank IC, own", correlation(own), HELP[alone], None),
        ("Uplift", correlation(uplift), f"{HELP[gained]} {HELP['t']}", t_uplift),
        ("Common entities", count(run.n_common), HELP["common"], None),
        (label, openings, HELP[meaning], None),
        *round_tiles(run.federated),
        *(tile for found in run.groups for tile in round_tiles(found)),
    )
    known = [tile for tile in tiles if tile[1] != MISSING]
    for cell, tile in zip(st.columns(max(1, len(known))), known, strict=False):
        _number(cell, *tile)


def _formulas(run: RunView) -> None:
    """What a screen has in place of ICs: how many formulas were tried and are named."""
    used = max((o.max_used for o in run.openings), default=None)
    limit = min((o.limit for o in run.openings), default=None)
    found = run.screen
    tiles = [
        ("Formulas tried", count(found.tried.all), HELP["screen_trials"]),
        ("Chosen", count(found.chosen.all), HELP["screen_chosen"]),
        ("Named", count(found.named.all), HELP["screen_named"]),
    ] if found is not None else []  # fmt: skip
    tiles.append(("Common entities", count(run.n_common), HELP["common"]))
    if used is not None and limit is not None:
        tiles.append(("Label vectors", f"{used} of {limit}", HELP["label_vectors"]))
    known = [tile for tile in tiles if tile[1] != MISSING]
    for cell, tile in zip(st.columns(max(1, len(known))), known, strict=False):
        _number(cell, *tile)


def _test_rows(run: RunView, evaluation: EvaluationView) -> None:
    """What static data has in place of ICs: the first measures of the joint scores, and of the label party's own."""
    found = evaluation.static
    assert found is not None
    joint, own = found.measures.get("joint", {}), found.measures.get("own", {})
    cells = st.columns(max(1, len(joint)) + 1)
    for cell, (name, value) in zip(cells, joint.items(), strict=False):
        note = f"own {_figure(own[name])}" if name in own else None
        _number(cell, plain(measure_title(name)), _figure(value), HELP["test_rows"], note)
    _number(cells[-1], "Common entities", count(run.n_common), HELP["common"])


def _figure(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"


def _number(cell: DeltaGenerator, label: str, value: str, meaning: str, note: str | None = None) -> None:
    cell.metric(label, value, note, help=meaning, border=True, delta_color="off", delta_arrow="off", height="stretch")


def quality(run: RunView, viewer: ViewerView) -> None:
    """Rank IC and loss, period by period, as far as they are known; static data has no periods."""
    if run.agreement.get("static"):
        return
    if is_screen(run):
        screen_result(run, viewer)
        return
    st.subheader("The factor, period by period", help=HELP["rank_ic"])
    if any(p.ic_joint is not None or p.ic_own is not None for p in run.series):
        if run.evaluation and run.evaluation.n_periods:
            st.caption(f"{things(run.evaluation.n_periods, 'periods')} out of sample.")
        if len(run.series) > MOST_POINTS:
            st.caption(f"Each point is the mean of {-(-len(run.series) // MOST_POINTS)} periods; sums are exact.")
        left, right = st.columns(2)
        alone = "label party alone" if run.federated is None else "members alone"
        told = f"Rank IC per period, joint factor and {alone}"
        draw(run_charts.ic_chart, run.series, alone, alt=told, place=left)
        draw(run_charts.cumulative_chart, run.series, alone, alt="Running sum of the rank ICs", place=right)
    elif run.ended:
        empty("Not measured", "The run ended before its evaluation, or its agreement keeps the numbers private.")
    else:
        empty("Not measured yet", "The label party measures the factor once training is over.")
    if any(p.gain is not None for p in run.series):
        with st.expander("Gain of the latest tree", icon=":material/trending_down:", expanded=not run.ended):
            st.caption(HELP["tree_gain"])
            draw(run_charts.gain_chart, run.series, alt="Training gain of a tree per period")
    elif run.score_bits and not trees_of(run):
        st.caption(f"There is no loss to draw. {HELP['no_loss']}")
    elif any(p.loss is not None for p in run.series):
        with st.expander("Training loss", icon=":material/trending_down:", expanded=not run.ended):
            st.caption(HELP["loss"])
            draw(run_charts.loss_chart, run.series, alt="Training loss per period")


def trees_of(run: RunView) -> bool:
    """Whether the run grows trees."""
    model = run.agreement.get("model")
    return isinstance(model, dict) and model.get("kind") in ("trees", "ensemble")


def contribution(run: RunView) -> None:
    """Who contributed what, and what it earned."""
    if is_screen(run):
        empty("No contributions", "A screen makes no factor: it values nobody, and pays nothing.")
        return
    if not run.contributions:
        how = (
            "Coalitions are valued after the evaluation."
            if not run.ended
            else "The run ended before anybody was valued, or was to value nobody."
        )
        empty("No contributions", how)
        return
    st.subheader("Who contributed what", help=HELP["shapley"])
    if run.contribution_way:
        way = _WAYS.get(run.contribution_way, f"Coalitions valued the {plain(run.contribution_way)} way.")
        st.caption(f"{way} {HELP['standard_error']}")
    draw(run_charts.shapley_chart, run.contributions, alt="Shapley values by party")
    table = run_tables.contributions_table(run.contributions, run.unit, run.scale)
    show_text_table(table, alt="Shapley values, shares and rewards", right=list(table.columns[1:]))
    st.caption(f"Reward pot: {plain(amount(run.pot, run.unit, run.scale))}.")


def revealed(run: RunView) -> None:
    """Openings against the limit, bytes by message, memory."""
    if run.federated is not None:
        rounds(run.federated)
    elif not run.groups and not run.openings and not run.bytes_by_message:
        empty(
            "Nothing was opened" if run.ended else "Nothing yet", "No opening and no byte of this run has been counted."
        )
        return
    for found in run.groups:
        rounds(found)
    st.subheader("What was revealed and sent", help=HELP["bytes"])
    left, right = st.columns([2, 3])
    with left:
        if run.score_bits:
            _scores(run)
        elif run.federated is not None:
            st.markdown("**No row opens**", help=HELP["federated"])
        elif is_screen(run):
            screen_opened(run)
        else:
            st.markdown("**Openings of the most opened row**", help=HELP["openings"])
        counted = tuple(one for one in run.openings if not run.score_bits or one.party == run.anchor)
        if run.federated is not None:
            st.caption("What opens are sums over members, of weights and of rank ICs; the terms say which.")
        elif counted:
            what = "label vectors" if is_screen(run) else "scores" if run.score_bits else "openings"
            draw(run_charts.openings_chart, counted, what, alt=f"{what.capitalize()} used against the limit")
        else:
            st.caption("Nothing has been opened yet.")
        if run.peak_rss_mb:
            st.markdown("**Peak memory**", help=HELP["peak"])
            memory = sorted(run.peak_rss_mb.items())
            st.caption(" · ".join(f"{plain(name)} {count(size)} MB" for name, size in memory))
    with right:
        st.markdown("**Bytes by message type**", help=HELP["bytes"])
        if run.bytes_by_message:
            draw(run_charts.bytes_chart, run.bytes_by_message, alt="Megabytes sent by message type")
        else:
            st.caption("Nothing has been counted yet.")
        if run.relayed:
            st.markdown("**Led through the coordinator**", help=HELP["relayed"])
            pairs = (f"{plain(v.sender)} to {plain(v.receiver)} {data_size(v.bytes)}" for v in run.relayed)
            st.caption(" · ".join(pairs))
    if run.bytes_by_message:  # of six columns: as wide as the page
        total = sum(view.bytes for view in run.bytes_by_message)
        with st.expander(f"{data_size(total)} sent in all, by sender"):
            table = run_tables.bytes_table(run.bytes_by_message)
            show_text_table(table, alt="Bytes by sender and type", right=("Size", "Messages"), tall=True)


def _scores(run: RunView) -> None:
    """What opened of the rows of a run on shares."""
    st.markdown("**Scores of the most opened row**", help=HELP["scores"])
    opened = f": {things(run.factor.rows, 'rows')}" if run.factor is not None and run.factor.rows else ""
    trained, held = (
        (
            "Training opened counts and sums of anonymous splits, 16 bits each.",
            HELP["trees_anchor"],
        )
        if trees_of(run)
        else ("Training opened nothing.", HELP["anchor"])
    )
    model = run.agreement.get("model")
    static = run.agreement.get("static")
    classes = static.get("classes") if isinstance(static, dict) else None
    scores, each = "One score", ""
    if isinstance(model, dict) and model.get("kind") == "ensemble":
        scores, each = "Two scores, of the network and of the trees,", " each"
    elif isinstance(classes, int):
        scores, each = f"{things(classes, 'scores')}, one of each class,", " each"
    st.caption(f"{scores} of {run.score_bits} bits{each} per predicted row{opened}. {trained}")
    st.caption(f"Anchor: {plain(run.anchor)}. Its node counts the scores. {held}")
