"""Words and numbers on the pages: units, escaped names, and one sentence for each term of art.

Names, reasons and purposes come from peers. Everything of theirs that reaches a place where Streamlit reads
Markdown goes through :func:`plain` first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Literal

from parties.client import singular
from ui.preferences import thousands
from ui.zone import viewer_zone

__all__ = [
    "COUNTED",
    "HELP",
    "MISSING",
    "PHASE_DOINGS",
    "PHASE_NOUNS",
    "PHASE_TITLES",
    "STATUS_COLOURS",
    "STATUS_ICONS",
    "Colour",
    "amount",
    "as_sentence",
    "correlation",
    "count",
    "data_size",
    "duration",
    "instant",
    "listed",
    "marked",
    "percent",
    "plain",
    "short_id",
    "t_value",
    "things",
    "when",
    "with_commands",
]

MISSING = "\N{EN DASH}"
_DAY = 86_400

PHASE_TITLES: Mapping[str, str] = {
    "approve": "Approve",
    "align": "Align",
    "encode": "Encode",
    "train": "Train",
    "evaluate": "Evaluate",
    "value": "Value",
    "export": "Export",
    "settle": "Settle",
}

Colour = Literal["red", "orange", "green", "blue", "gray"]

STATUS_COLOURS: Mapping[str, Colour] = {"settled": "green", "aborted": "red", "paused": "orange"}
PHASE_DOINGS: Mapping[str, str] = {
    "approve": "waiting for signatures",
    "align": "aligning entities",
    "encode": "training the groups' encoders",
    "train": "training",
    "evaluate": "evaluating",
    "value": "valuing contributions",
    "export": "exporting",
    "settle": "settling",
}

STATUS_ICONS: Mapping[str, str] = {
    "settled": ":material/check_circle:",
    "aborted": ":material/cancel:",
    "paused": ":material/pause_circle:",
}

COUNTED: Mapping[str, str] = {
    "masked": "from masked sums",
    "moments": "from each coalition's moments",
}
"""How coalitions were valued, by the word that a report has for it."""

PHASE_NOUNS: Mapping[str, str] = {
    "approve": "signing",
    "align": "alignment",
    "encode": "training of the encoders",
    "train": "training",
    "evaluate": "evaluation",
    "value": "valuation",
    "export": "export",
    "settle": "settlement",
}
"""The phases as a sentence has them: finished training, stopped in alignment."""

HELP: Mapping[str, str] = {
    "run": "One job from a signed agreement to a settled ledger; its id is the SHA-256 of the agreement.",
    "aborted": "Ended without a factor, for one reason that the run's page tells; nothing is paid for such a run.",
    "approve": "Every party checks the agreement against its own policy and signs it.",
    "overlap": "An estimate of how many entities members hold in common, before anything is signed. Its noise hides "
    "every single one; nobody learns an exact count.",
    "align": "The parties agree on common rows without showing each other their lists of entities.",
    "encode": "Members of a group train one encoder of their columns together; nothing but sums of updates is seen.",
    "train": "The model is trained walk-forward; features never leave their owner.",
    "evaluate": "The label party measures the factor on rows it had not been trained on.",
    "value": "What each feature party added is worked out from coalitions without it.",
    "export": "The label party sends the factor's files to the agreed recipients.",
    "settle": "The reward is split and booked in the ledger.",
    "test_rows": "On the test rows of static data, whose labels entered nothing; scikit-learn's measure of this name.",
    "rank_ic": "Spearman correlation, per period, of the factor with the label that follows; out of sample.",
    "ic_own": "The same for the model that the label party trained at home on its own features alone.",
    "uplift": "Mean over periods of the joint rank IC minus the label party's own: what joining brought.",
    "t": "Newey-West t statistic: the mean divided by a standard error that allows for autocorrelation.",
    "paired": "Mean over the common periods of the run's rank IC less the first's, with its Newey-West t: tested as "
    "pairs, period by period, so that what moved both does not count.",
    "common": "Entities that every party covers; only these become known to the others.",
    "openings": "How often the most opened row's sum was revealed, against the limit that each feature party enforces.",
    "scores": "A sealed network opens nothing of a row but its score, to the label party; the anchor's node counts.",
    "trees_anchor": "It and the label party together could see on which side of every split each row lies; either "
    "alone sees nothing of it while everybody else keeps to the protocol.",
    "anchor": "It and the label party together could see every embedding; either alone sees nothing of it "
    "while all keep to the protocol.",
    "shapley": "The party's average gain in rank IC over all coalitions; the values sum to the gain of all together.",
    "standard_error": "Lines show about 95 %: 1.96 Newey-West standard errors over periods each side.",
    "gain": "Rank IC of all parties together less that of the label party alone: what there is to share.",
    "nobody": "Rank IC of the label party's own features, which are in every coalition.",
    "ways": "Conditioned values are paid; plain ones leave out the label party's features; the rest take one party.",
    "attribution": "Which part of the factor's output runs through a party; not what that part is worth.",
    "share": "The party's part of the reward pot.",
    "screen": "A screen tries formulas over columns that stay at their owners: each alone, and each product of two "
    "parties' columns, against the label. It opens sums over the rows of a period.",
    "screen_trials": "Each is a trial, and counted as one. Parties may make fewer terminals than they are allowed.",
    "screen_bits": "One number for each formula and period. A label party that cheats can put one row in the place of "
    "its label and read that row's terminals from a period's numbers: it commits to its labels beforehand.",
    "screen_names": "Names of columns and windows never leave their owner, and no formula's statistics leave the label "
    "party but to its owners. A coordinator hears counts, where the agreement lets it.",
    "label_vectors": "How many label vectors the most used row has entered the sums of, against the limit that each "
    "feature party enforces.",
    "screen_chosen": "Stand on the first half: false discoveries, the hurdle of |t| and the deflated Sharpe ratio.",
    "screen_named": "Chosen on the first half of the periods, and confirmed on the second.",
    "daily": "Later periods are scored under the weights that the parties kept in shares: one score of 17 bits a row "
    "opens to the label party, and nothing trains.",
    "daily_scored": "The newest period whose scores stand. Each is scored once, and no record is written again.",
    "daily_rows": "Rows of all later periods that were scored.",
    "daily_bits": "17 bits of each row, its score, to the label party, and one of each prediction: whether all its "
    "scores are in range. The anchor's node counts them.",
    "daily_left": "Of the periods that were agreed; more need another run.",
    "daily_kept": "On this day every node erases its share of the weights.",
    "daily_due": "A period is due once its cutoff has passed; nodes refuse it while their own data is not complete.",
    "retrain": "As agreed: `entente run score` proposes terms like this run's over a calendar that goes on.",
    "federated": "Members with the same columns train at home on their own entities; what changed is averaged, and the "
    "average moves the weights that all share.",
    "rounds": "Each opens one sum, over the agreed threshold of members or more. The coordinator, which opens it, "
    "counts.",
    "epsilon": "How well noise hides whether a member took part, with all its rows: the smaller, the better. Spent by "
    "the member that was in most rounds, of all trainings, out of what was signed; the accountant is opacus's.",
    "ic_alone": "The mean over members, weighed by their rows, of the models that they train alone.",
    "gained": "Mean over periods of the common model's rank IC minus that of members' own: what joining brought.",
    "dropped": "The others trained on. Who is dropped has no further part in the run, is worth nothing and gets no "
    "factor.",
    "lone_t": "What a formula needs on the first half where no other one passes: the more are tried, the more. Where "
    "several pass, each needs less, and never less than the hurdle.",
    "bytes": "What the parties sent to each other, by type of message and by what such a message can reveal.",
    "no_loss": "A sealed network computes its residuals on shares: nobody sees a loss, not even the label party.",
    "tree_gain": "What a tree takes off the squared residuals of the rows it is fitted on, as a share of the label's "
    "variance. It falls as trees have less left to learn; it says nothing of other rows.",
    "loss": "Training loss of the top model at the end of each period; only its direction matters.",
    "icir": "Mean rank IC divided by its standard deviation over periods: how steady the skill is.",
    "turnover": "Value traded per period and unit of capital by a book long the top and short the bottom quantile.",
    "deflated_sharpe": "Probability that skill and not the number of configurations tried explains the result.",
    "pbo": "Share of ways to halve the history in which the best trial of one half is below the median in the other.",
    "trials": "Every configuration tried for this factor by all parties, in this run and the ones before it.",
    "track_record": "Periods needed before the Sharpe ratio seen could be called above zero with 95 % confidence.",
    "hurdle": "So many factors have been tried everywhere that a new one should have a t above 3, not 2.",
    "placebo": "The model fitted again with other entities' rows: what is left without that is information.",
    "fingerprint": "A factor can score well by recognising entities and their usual label; this measures what remains.",
    "coverage": "Instruments scored per period.",
    "decay": "Rank IC with labels that start later: how long the factor stays useful.",
    "quantile": "Instruments are sorted by score into equal groups; a good factor's groups rise one after the other.",
    "neutralised": "Rank IC of what is left of the score after taking out industry, size, beta and style.",
    "drawdown": "Largest fall from a peak of the long-short book's wealth, after costs.",
    "capacity": "Net return per year by capital put to work, as trading costs rise with size.",
    "verified": "Every file has the hash that was signed, the signature is by a key of the agreement, and logs had it.",
    "live": "How the factor did on periods after it was made, as its label party attested for the settlement.",
    "audit_log": "What the coordinator did, entry by entry: counts, hashes and signatures, never data.",
    "audit_check": "The log is a Merkle tree: one changed or missing entry changes the root that was signed.",
    "leaf": "SHA-256 of a zero byte and the entry's bytes: where the entry enters the tree.",
    "proof": "The entry, its path in the tree and a signed head: shows offline that the log has held it.",
    "head": "A signed statement of a log's size and root; whoever holds one notices when the log is cut later.",
    "exchange": "Each report of a party carries the head of its log, and every other party of the run is shown it.",
    "reveals": "What the receiver of such a message could learn from it, as the protocol's register says.",
    "agreement": "What every party signed before any byte moved; its fingerprint is the run id.",
    "evidence": "One file, signed by the coordinator: agreement, signatures, logs, reports, contributions, the "
    "journal's entries. Check it with `entente evidence check`.",
    "canonical": "The JSON of RFC 8785, byte for byte what was hashed and signed.",
    "left_out": "A check is left out rather than guessed when what it needs was not given to the run.",
    "pending": "Booked, but not final until the label's horizon has passed on live data.",
    "balanced": "Every transaction sums to zero, and the balances follow from the entries.",
    "verify_books": "Every entry is read again and its hash, its rules and the balances it leads to are verified.",
    "entry": "Place in the journal; every entry carries a hash over all entries before it.",
    "account_pending": "Booked at the runs' close; final or void once live data has spoken and people have approved.",
    "account_payable": "Final: the consortium owes it and pays it out in batches.",
    "account_stake": "What parties put down; a part is pledged while a reward is pending.",
    "account_cash": "What the consortium has in its bank account, as booked.",
    "dry_run": "The step computed on today's books, to be read before anybody is asked; nothing is posted.",
    "four_eyes": "Different people approve each step with their own keys; whoever asks for it has not approved it.",
    "dossier": "The step's entries, reasons and numbers in one document; approvals are signatures over its digest.",
    "live_record": "Contributions on periods after the run's calendar, signed by the label party at its node.",
    "dispute": "A party contests the settlement with a deposit; it must be judged before anything becomes final.",
    "invitation": "A secret of one use, shown once; whoever has it can join under that name: hand it over in private.",
    "certificate": "What a member's node proves itself with; it is renewed by its operator before it ends.",
    "data_check": "The node tries its queries on its data when it starts and before it signs; the coordinator is told "
    "only whether a run could use them.",
    "limits": "What the party's node refuses whoever signs; shown where the party publishes it.",
    "sha256": "Fingerprint of the file; equal fingerprints mean equal files.",
    "peak": "The most memory the party's process has held, in megabytes.",
    "relayed": "Connections that led through the coordinator: encrypted between the two, it sees sizes and times.",
    "budget": "What may be revealed of one row, over all runs; each feature party's node counts it and stops.",
    "preflight": "Counted from the terms: the products' bytes, and one core's time as docs/performance.md has it.",
    "grants": "Columns as agreed; what a party's node never lets into runs cannot be among them.",
    "disk": "Room left on the disk that holds the coordinator's databases and factors.",
    "session": "One sign-in of one person; it ends by itself after a time without use.",
    "admin": "Proposes and stops runs, asks for approvals, lets people in; signs nothing for a party.",
    "operator": "Works for one party: sees its money, and stops or pauses its runs.",
    "auditor": "Reads everything and changes nothing.",
    "reader": "Reads runs and what factors achieved; no ledger and no files.",
    "eta": "Time left at the present speed.",
}  # fmt: skip

_MARKDOWN = re.compile(r"([!-/:-@\[-`{-~])")
_NUMBER = re.compile(
    r"(?<![\w.,:/#'-])(?<!seed )(?:\d{1,3}(?:,\d{3})+|\d{4,11}(?=\.\d)|\d{5,11})(?=(?:\.\d+)?(?![\w/'-]|[.,:]\d))"
)
"""With commas, of five digits and more, or with decimals; twelve digits may be the beginning of a run's id."""
_UNBROKEN = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}"
_SPACES = re.compile(" +")
_PERCENT = re.compile(r"(?<=\d) ?%")


def plain(text: str, *, longest: int = 400) -> str:
    """The text on one line as Markdown that shows it as it is, cut off after ``longest`` characters."""
    shown = "".join(c if c.isprintable() or c in _UNBROKEN else " " for c in text)
    flat = _SPACES.sub(" ", shown).strip()
    if len(flat) > longest:
        flat = flat[: longest - 1] + "…"
    return _MARKDOWN.sub(r"\\\1", flat)


def as_sentence(text: str, names: Collection[str] = ()) -> str:
    """What a coordinator or a node said, as a sentence of a page: a capital, a full stop, numbers as everywhere else.

    A sentence that is whole stays so, and a first word that is one of ``names``, or part of a term, keeps its case. Not
    yet escaped.
    """
    said = marked(text.strip())
    if not said or said[-1] in ".!?…:":
        return said
    first = said.split(" ", 1)[0].rstrip(",;:").removesuffix("'s")
    begun = said[:1].upper() + said[1:] if first.isalpha() and first not in names else said
    return f"{begun}."


def marked(text: str) -> str:
    """The text with its long numbers and percentages as pages have them; nothing else of it changes."""
    grouped = _NUMBER.sub(lambda found: count(int(found[0].replace(",", ""))), text)
    return _PERCENT.sub("\N{NO-BREAK SPACE}%", grouped)


def with_commands(sentence: str) -> str:
    """Markdown of a sentence in which commands stand between backticks; all else is shown as it is."""
    shown = ""
    for number, part in enumerate(sentence.split("`")):
        before, after = " " * part[:1].isspace(), " " * (part[-1:].isspace() and len(part) > 1)
        shown += f"`{' '.join(part.split())}`" if number % 2 else f"{before}{plain(part, longest=1000)}{after}"
    return shown


def short_id(run_id: str) -> str:
    """The first twelve digits of a run id: enough to tell runs apart by eye."""
    return run_id[:12]


def correlation(value: float | None) -> str:
    """A correlation with its sign: +0.123; what rounds to nothing has none."""
    if value is None or not math.isfinite(value):
        return MISSING
    told = f"{value:+.3f}"
    return told if float(told) else told[1:]


def t_value(value: float | None) -> str:
    return MISSING if value is None or not math.isfinite(value) else f"{value:.1f}"


def percent(value: float | None) -> str:
    """A share of one: 12.3 %."""
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def count(value: float | None, places: int = 0) -> str:
    """A whole number, or one with so many places, with its thousands marked."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:,.{places}f}".replace(",", thousands())


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: harbor, orbit and till. Not yet escaped."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def things(number: int, many: str) -> str:
    """A number of things, the noun given in the plural: 1 party, 3 parties."""
    return f"{count(number)} {singular(many) if number == 1 else many}"


def data_size(size: float) -> str:
    """Bytes in decimal units: 1.2 MB."""
    for unit in ("B", "kB", "MB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def duration(seconds: float | None) -> str:
    """Seconds for people: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def instant(at: datetime | None, zone: tzinfo | None = None) -> str:
    """A moment, to the second, in ``zone`` or that of the viewer."""
    return MISSING if at is None else f"{at.astimezone(zone or viewer_zone()):%Y-%m-%d %H:%M:%S %Z}"


def when(at: datetime | None, *, ago: bool = True) -> str:
    """How long ago it was: 52 min ago. A day and more: the day; the exact moment belongs in the hint beside it."""
    if at is None:
        return MISSING if not ago else "never"
    seconds = (datetime.now(UTC) - at).total_seconds()
    if seconds >= _DAY * 2 and ago:
        return f"{at.astimezone(viewer_zone()):%Y-%m-%d}"
    for size, unit in ((_DAY, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            words = f"{seconds // size:.0f} {unit}"
            break
    else:
        words = f"{max(0, seconds):.0f} s"
    return f"{words} ago" if ago else words


def amount(minor: int, unit: str, scale: int) -> str:
    """Minor units as an exact decimal with its unit: 1 234.50 USD."""
    digits = str(abs(minor)).rjust(scale + 1, "0")
    whole, fraction = (digits[:-scale], "." + digits[-scale:]) if scale else (digits, "")
    grouped = f"{int(whole):,}".replace(",", thousands())
    return f"{'-' if minor < 0 else ''}{grouped}{fraction} {unit}".rstrip()
