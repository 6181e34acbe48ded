"""The fields of a new run's form: what each is called, when it applies, what it may be. Nothing here draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ui.form_averages import AVERAGES
from ui.wording import HELP

__all__ = ["FEATURES", "FIELDS", "SECTIONS", "Field", "Value", "Values"]

Value = Any
Values = Mapping[str, Value]


def _always(_: Values) -> bool:
    return True


def _kind(*kinds: str) -> Callable[[Values], bool]:
    return lambda values: values.get("model.kind") in kinds


_sealed, _split, _ridge, _opened = _kind("sealed"), _kind("split"), _kind("ridge"), _kind("split", "ridge")
_trees, _anchored, _screen = _kind("trees"), _kind("sealed", "trees", "ensemble"), _kind("screen")
_federated = _kind("federated")


def _factor(values: Values) -> bool:
    """Whether the run makes a factor, which is valued and paid for."""
    return not _screen(values)


def _opens_rows(values: Values) -> bool:
    """Whether anything of a row opens, or enters sums that do."""
    return not _federated(values)


def _compares(values: Values) -> bool:
    """Whether the parties' lists of entities are compared."""
    return values.get("alignment.policy") not in ("universe", "own")


def _hides(values: Values) -> bool:
    """Whether a federated model's sums carry noise."""
    return _federated(values) and bool(values.get("model.noise"))


def _goes_on(values: Values) -> bool:
    """Whether later periods are scored under the weights that the parties keep."""
    return _sealed(values) and bool(values.get("daily.scores"))


def _layered(values: Values) -> bool:
    """Whether there is a tanh layer whose units are counted."""
    return _federated(values) or (_split(values) and values.get("model.top") != "linear")


@dataclass(frozen=True)
class Field:
    """One input. ``when`` says whether it applies; ``unset`` stands in for terms that do not name it.

    ``choices`` may depend on the other values. ``step``: of a number's buttons. ``elsewhere``: label and help for
    kinds of model where it means something else; ``counted``: such kinds for which a number is a count.
    """

    path: str
    label: str
    kind: Literal["text", "whole", "number", "choice", "rate", "switch", "date", "money", "names"]
    section: str
    help: str
    unset: Value | Callable[[Values], Value] = ""
    choices: Mapping[str, str] | Callable[[Values], Mapping[str, str]] | None = None
    low: float | None = None
    high: float | None = None
    when: Callable[[Values], bool] = _always
    step: float = 0.1
    elsewhere: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    counted: tuple[str, ...] = ()

    def words(self, values: Values) -> tuple[str, str]:
        """Its label and its help, for the chosen kind of model."""
        return self.elsewhere.get(str(values.get("model.kind", "")), (self.label, self.help))

    def shape(self, values: Values) -> str:
        """What kind of input it is, for the chosen kind of model."""
        return "whole" if values.get("model.kind") in self.counted else self.kind

    def standing(self, values: Values) -> Value:
        """What stands in where terms do not name it."""
        return self.unset(values) if callable(self.unset) else self.unset

    def offered(self, values: Values) -> Mapping[str, str]:
        """What can be chosen, with its title."""
        return self.choices(values) if callable(self.choices) else self.choices or {}


SECTIONS: Mapping[str, str] = {
    "who": "1 Who",
    "time": "2 Time",
    "model": "3 Model",
    "openings": "4 Openings",
    "reward": "5 Reward",
}

_FREQUENCIES = {"D": "days", "B": "days, Monday to Friday", "W-FRI": "weeks, to Friday", "M": "months", "Q": "quarters"}
_KINDS = {
    "sealed": "sealed network", "trees": "sealed trees", "ensemble": "network and trees (ensemble)",
    "split": "split network", "ridge": "joint ridge", "screen": "screen of formulas",
    "federated": "federated: same columns, own entities",
}  # fmt: skip
_TOPS = {"residual": "line and tanh layer", "mlp": "tanh layer (MLP)", "linear": "line"}
_LOSSES = {
    "regression": "squared error and IC", "mse": "squared error", "ic": "IC", "rank_ic": "rank IC",
    "logistic": "above its period's mean or not",
}  # fmt: skip
_POLICIES = {
    "psi": "private alignment (PSI)", "universe": "a public list", "union": "the union, under random names",
}  # fmt: skip
_OWN = {"own": "none: each member's own entities"}
_COUNTED = {"rows": "by their rows", "equal": "each alike"}
_RULES = {
    "sum": "secure sums: nobody sees an update", "median": "medians: the coordinator sees every update",
    "trimmed": "trimmed means: the coordinator sees every update",
}  # fmt: skip
_COALITIONS = {"retrain": "every coalition trains anew, in this run", "none": "none"}
_RETRAINED = {"none": "none here: runs per coalition (retrain)"}
_MASKED = {"masked": "from masked sums, in this run"}
_MOMENTS = {"moments": "from two numbers per coalition and period, in this run"}
_RETRAINS = {"advice": "when monitoring advises it, by a new proposal", "never": "never"}
_SCHEDULES = {"command": "when somebody asks: entente run score", "due": "the coordinator, when its cutoff has passed"}
_RATES = {str(2.0**-power): f"1/{2**power}" if power else "1" for power in range(17)}
"""A sealed network's rates are powers of two: on shares a rate is a shift."""


def _contributions(values: Values) -> Mapping[str, str]:
    if values.get("model.kind") == "ensemble":
        return _RETRAINED
    if _federated(values):
        return _COALITIONS
    within = _MOMENTS if _anchored(values) else _MASKED
    return within | _RETRAINED


def _policies(values: Values) -> Mapping[str, str]:
    return _OWN if _federated(values) else _POLICIES


def _averaged(values: Values) -> Mapping[str, str]:
    return _COUNTED if _federated(values) else AVERAGES


def _anchors(values: Values) -> Mapping[str, str]:
    return {"": "the one with most columns"} | {name: name for name in values.get(FEATURES, ())}


FEATURES = "feature parties"
"""Where the values carry the names of the feature parties that were chosen."""

FIELDS: tuple[Field, ...] = (
    Field("name", "Consortium", "text", "who", "The name that every party reads on the agreement."),
    Field("purpose", "Purpose", "text", "who", "What the factor is for; every party signs this sentence."),
    Field("calendar.frequency", "Decisions every", "choice", "time", "How long one decision period is.", "W-FRI",
          _FREQUENCIES),
    Field("calendar.decision_lag_days", "Cutoff lag, days", "whole", "time",
          "Days after a period's end up to which data may be used.", 0, low=0),
    Field("calendar.first", "First period contains", "date", "time", "Decision periods begin with that of this day."),
    Field("calendar.last", "Last period contains", "date", "time", "Decision periods end with that of this day."),
    Field("alignment.policy", "Common rows by", "choice", "time",
          "Private alignment shows each party which of its entities all hold. A public list shows nothing. A union "
          "hides which of a party's entities others hold; only rows with labels are used. Members of a "
          "federated model have their own: no lists are compared.",
          lambda values: "own" if _federated(values) else "psi", _policies),
    Field("alignment.protocol", "Compared by", "choice", "time",
          "The ring needs the coordinator, which learns how many entities each group shares. Oblivious transfer does "
          "without it and is faster for many entities; the label party's node finds the common ones, also too few.",
          "ring", {"ring": "a ring, with the coordinator", "ot": "oblivious transfer"},
          when=lambda values: values.get("alignment.policy", "psi") == "psi"),
    Field("alignment.minimum_common", "Fewest in common", "whole", "time",
          "With fewer common entities the run stops, before anyone learns which they are.", 30, low=1,
          elsewhere={"federated": ("Fewest entities", "A member with fewer takes no part.")}),
    Field("alignment.universe_sha256", "SHA-256 of the list", "text", "time",
          "Fingerprint of the public list of entities that every node holds.",
          when=lambda values: values.get("alignment.policy") == "universe"),
    Field("alignment.size_bucket", "Set sizes in steps of", "whole", "time",
          "Lists are filled with random ids to a multiple of it, so that sizes show only as that. 0: exact sizes.",
          lambda values: 256 if values.get("alignment.policy") == "union" else 0, low=0,
          when=_compares),
    Field("walk_forward.horizon", "Horizon, periods", "whole", "time", "Periods until a label is known.", 1, low=0),
    Field("walk_forward.embargo", "Embargo, periods", "whole", "time",
          "Extra periods held out after the horizon, so that neighbours in time cannot leak.", 0, low=0),
    Field("walk_forward.warmup", "Warm-up, periods", "whole", "time",
          "Periods with known labels before the first prediction.", 4, low=1, when=_factor),
    Field("evaluation.first", "First reported period", "text", "time",
          "As the calendar names it; empty: the first that is predicted. Where an average is chosen, periods before it "
          "choose.", elsewhere={"federated": (
              "First reported period", "As the calendar names it. The model is trained once, on labels known before "
              "it, and reported from it on."), "screen": (
              "First period that counts", "As the calendar names it; empty: the first with labels. The first half of "
              "the periods chooses formulas and the second confirms them.")}),
    Field("model.kind", "Model", "choice", "model",
          "Sealed: learns products across parties and opens nothing of a row but its score. Trees: boosted; "
          "they also open sums of anonymous candidates. Ensemble: both, averaged at ranks; two scores of a row open. "
          "Split: a network above opened sums, within a budget. Ridge: "
          "linear and quick. Screen: tries formulas over all parties' columns, and makes no factor. Federated: members "
          "with the same columns train one network, each at home on its own entities.", "split", _KINDS),
    Field("model.rounds", "Rounds", "whole", "model", "Averagings; in each one sum over the members opens.", 12, low=1,
          high=1000, when=_federated),
    Field("model.local_epochs", "Passes at home", "whole", "model", "Over its own rows, of each member in each round.",
          2, low=1, high=100, when=_federated),
    Field("model.rule", "Averaged by", "choice", "model",
          "Secure sums hide every update, and nothing proves that one is within the clip. Medians and trimmed means "
          "bound what a poisoned update does, and the coordinator sees every one.", "sum", _RULES, when=_federated),
    Field("model.trimmed", "Left out at either end", "whole", "model", "Members, weight by weight.", 1, low=1, high=100,
          when=lambda values: _federated(values) and values.get("model.rule") == "trimmed"),
    Field("model.sampled", "Share of members a round", "number", "model", "A hash draws who.", 1.0, low=0.01, high=1.0,
          when=_federated),
    Field("model.learning_rate", "Learning rate", "number", "model", "Of Adam, begun anew in every round.", 0.01,
          low=0.001, high=1.0, when=_federated, step=0.005),
    Field("model.proximal", "Pull to the common weights", "number", "model",
          "mu of FedProx, for members whose data differ.", 0.0, low=0.0, high=100.0, when=_federated),
    Field("model.personal_head", "Last layer stays at home", "switch", "model",
          "It is each member's own, and never sent: for members whose data differ.", False, when=_federated),
    Field("model.clip", "Clip", "number", "model", "Largest norm of an update.", 10.0, low=0.01, high=1000.0,
          when=_federated, step=1.0),
    Field("model.noise", "Noise, in clips", "number", "model",
          "Gaussian noise in every opened sum hides whether a member took part; members must count alike. 0: none, and "
          "nothing is differentially private. Few members drown in it.", 0.0, low=0.0, high=100.0, when=_federated,
          step=0.5),
    Field("model.delta", "Delta", "number", "model", "Of the differential privacy of a member.", 1e-5, low=1e-12,
          high=0.09, when=_hides, step=1e-5),
    Field("model.terminals", "Terminals of a party, at most", "whole", "model",
          "Columns that a party makes of its own at home: ranks, differences, means over windows. Each is tried alone, "
          "and with each of every other party's.", 100, low=1, high=512, when=_screen),
    Field("model.level", "False discoveries", "number", "model",
          "Share of named formulas that may be luck, over all that were tried (Benjamini-Hochberg-Yekutieli); and the "
          "error of confirming.", 0.05, low=0.0001, high=0.5, when=_screen, step=0.01),
    Field("model.hurdle", "Hurdle of |t|", "number", "model",
          f"No formula with a smaller t is named, however few were tried. {HELP['hurdle']}", 3.0, low=0.0, when=_screen,
          step=0.25),
    Field("model.weights", "What is averaged", "choice", "model",
          "Of several averages the one with the best mean rank IC over the periods before the first reported one is "
          "taken, and each counts as a trial. A score of every member opens of a row: three with a line.",
          lambda values: "rows" if _federated(values) else "",
          _averaged, when=_kind("ensemble", "federated"), elsewhere={"federated": (
              "Members count", "By their rows, or each alike: with noise, medians or trimmed means alike.")}),
    Field("model.anchor", "Anchor", "choice", "model",
          f"This feature party holds the other half of every share; where none is named, the one with most columns of "
          f"those that the other terms allow. {HELP['anchor']}", "", _anchors, when=_anchored),
    Field("model.width", "Squared columns", "whole", "model",
          "Beside the linear one. Each is a square of a weighted sum, so it holds products of all parties' columns.", 4,
          low=1, high=64, when=_sealed),
    Field("model.batch_rows", "Rows a batch", "whole", "model", "Of one step: wider batches cost less a row.",
          lambda values: 4096 if _sealed(values) else 256, low=1, high=65536,
          when=_kind("sealed", "split", "federated")),
    Field("model.warmup_steps", "Steps before the first prediction", "whole", "model",
          "Rows may be trained on again and again: training opens nothing.", 8, low=1, when=_sealed),
    Field("model.steps", "Steps a period", "whole", "model", "At each later period, the new rows first.", 1, low=1,
          high=1000, when=_sealed),
    Field("model.linear_rate", "Linear rate", "rate", "model", "A power of two: on shares a rate is a shift.", 2.0**-5,
          _RATES, when=_sealed),
    Field("model.square_rate", "Rate of the squares", "rate", "model",
          "A power of two. Too low and no product is learned in time; too high and training diverges.", 2.0**-2, _RATES,
          when=_sealed),
    Field("model.momentum", "Momentum", "number", "model", "Share of the last step's change that goes on.", 0.75,
          low=0.0, high=0.99, when=_sealed, step=0.05),
    Field("model.alpha", "Penalty", "number", "model", "Ridge penalty of the linear part, as scikit-learn's.",
          lambda values: 1000.0 if _sealed(values) else 300.0, low=0, when=_kind("sealed", "ridge"), step=100.0),
    Field("model.threshold", "Threshold of the squares", "number", "model",
          "A direction that beats the noise by less than this is forgotten; in units of the noise.",
          lambda values: 0 if _federated(values) else 2.25, low=0.0, when=_kind("sealed", "federated"), step=0.25,
          counted=("federated",), elsewhere={"federated": (
              "Fewest members of a sum", "With fewer nothing opens, and the training stops. 0: two thirds and one.")}),
    Field("model.start", "Start", "number", "model", "Deviation of the squared columns' first values.", 0.2, low=0.01,
          high=1.0, when=_sealed, step=0.05),
    Field("model.trees", "Trees", "whole", "model", "Of each fit.", 150, low=1, high=2000, when=_trees),
    Field("model.depth", "Depth", "whole", "model", "Levels of a tree; every leaf of a level takes the same split.", 4,
          low=1, high=6, when=_trees),
    Field("model.candidates", "Candidates", "whole", "model",
          "Random splits that each party brings at each level; of each, counts and sums open.", 8, low=1, high=64,
          when=_trees),
    Field("model.rate", "Rate", "number", "model", "Of a leaf's mean residual that a tree adds.", 0.1, low=0.01,
          high=1.0, when=_trees, step=0.05),
    Field("model.reg_lambda", "Lambda", "number", "model", "Added to the count of a leaf.", 20.0, low=0.0, when=_trees,
          step=5.0),
    Field("model.blocks", "Blocks of rows", "whole", "model",
          "Rows are dealt once into blocks, and each tree draws one: 4 is a quarter of the rows a tree.", 1, low=1,
          high=64, when=_trees),
    Field("model.smallest_leaf", "Smallest leaf", "whole", "model", "Rows; smaller sides gain nothing.", 20, low=1,
          when=_trees),
    Field("model.refit_every", "Periods from fit to fit", "whole", "model", "Old trees age.", 1, low=1, when=_trees),
    Field("model.fits_kept", "Fits kept", "whole", "model",
          "1: all trees are fitted anew; more: the oldest are dropped first; 0: none is ever dropped.", 1, low=0,
          when=_trees),
    Field("model.embedding_width", "Embedding width", "whole", "model",
          "How many numbers of a row are opened at once, as a sum over parties; each counts against the budget.", 2,
          low=1, high=64, when=_split),
    Field("model.top", "Top model", "choice", "model", "The network above the opened sums, at the label party.",
          "residual", _TOPS, when=_split),
    Field("model.loss", "Loss", "choice", "model", "What training makes small.", "regression", _LOSSES, when=_split),
    Field("model.epochs", "Passes", "whole", "model", "Passes over each period's rows; each is one opening of a row.",
          1, low=1, high=50, when=_split),
    Field("model.hidden", "Hidden units", "whole", "model", "Units of the top model's tanh layer.", 16, low=0,
          high=1024, when=_layered),
    Field("model.members", "Members", "whole", "model", "Top models trained side by side; the score is their mean.", 4,
          low=1, high=64, when=_split),
    Field("model.seed", "Seed", "whole", "model", "The same inputs and seed give the same factor.", 0, low=0,
          when=_kind("sealed", "split", "trees", "ensemble", "federated")),
    Field("openings.limit_per_row", "Openings of a row, at most", "whole", "openings",
          "How often one row may be opened, over all runs: its sum, which each feature party's node counts; of a "
          "sealed network its score, which the anchor's node counts.", 4, low=1, when=_opens_rows,
          elsewhere={"screen": (
              "Label vectors of a row, at most", "How many label vectors one row may enter the sums of, over all "
              "screens; a screen takes one, and one more where it is begun again. Each feature party's node counts.")}),
    Field("openings.largest_fraction", "Share of a row's features", "number", "openings",
          "Linear forms that may be shown of a row, over all its features.", 0.6, low=0.0, when=_opened),
    Field("openings.contribution", "Contributions", "choice", "openings",
          "In this run: from masked sums at one opening per coalition, or, sealed, from two numbers per coalition and "
          "period. Retrain: compared over runs of their own.",
          "masked", _contributions, when=_factor),
    Field("openings.attribution", "Attribution", "switch", "openings",
          "One number per feature party and period that explains the factor; it decides no pay.", False, when=_opened),
    Field("openings.single_party", "Consent of a single party", "switch", "openings",
          "With one feature party its own embedding is opened; it must agree to that.", False, when=_opened),
    Field("daily.scores", "Later periods to score", "whole", "openings",
          f"{HELP['daily']} Each once, and nodes sign these sessions by themselves. 0: none, no weights are kept.", 0,
          low=0, high=2600, when=_sealed),
    Field("daily.expires", "Weights kept until", "date", "openings",
          "From this day, UTC, every node erases its share of the weights, and no more is scored.", when=_goes_on),
    Field("daily.schedule", "A later period is proposed by", "choice", "openings",
          "A period can be scored once its cutoff has passed. Nodes refuse it while their own data is late.", "command",
          _SCHEDULES, when=_goes_on),
    Field("daily.retrain", "Trained anew", "choice", "openings",
          "A successor is a run like any other: monitoring may name its terms, and every party signs it, or does not.",
          "advice", _RETRAINS, when=_goes_on),
    Field("evaluation.metrics_to_coordinator", "Coordinator is told losses and ICs", "switch", "openings",
          "Off: the numbers stay with the label party, and these pages cannot show them.", True, when=_opens_rows,
          elsewhere={"screen": (
              "Tell the coordinator counts", "How many formulas stand each hurdle: no formula, and no t. Off: these "
              "pages show nothing of the result.")}),
    Field("reward.unit", "Currency", "text", "reward", "Unit of the pot, such as USD.", "USD", when=_factor),
    Field("reward.scale", "Decimals", "whole", "reward", "Decimal digits of the unit.", 2, low=0, high=8, when=_factor),
    Field("reward.pot", "Pot", "money", "reward", "Split among the feature parties by what each contributed.", 0,
          low=0, when=_factor),
    Field("reward.risk_aversion", "Risk aversion", "number", "reward",
          "Standard errors taken off a contribution before it is paid.", 1.0, low=0, when=_factor),
    Field("reward.uplift_level", "Level of the uplift test", "number", "reward",
          "Nobody is paid unless joining is better than staying alone at this one-sided level; 1 tests nothing.", 0.05,
          low=0.0001, high=1.0, when=_factor),
)  # fmt: skip
