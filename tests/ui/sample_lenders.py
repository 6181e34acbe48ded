"""The sample's members as those whose nodes train one encoder together, and may fit one expansion, for their form."""

from __future__ import annotations

from parties.control.reports import IntroductionBody
from parties.files.toml import read_toml
from tests.places import ROOT
from vfl.encoder_terms import EncoderSettings
from vfl.expansion_terms import ExpansionSettings

__all__ = ["EXAMPLE", "GROUP", "LENDERS", "lenders"]

EXAMPLE = ROOT / "examples" / "group_encoder" / "consortium.toml"
GROUP = "lenders"
LENDERS = ("orbit", "chatter", "till")
_COLUMNS = ("balance", "spend", "arrears", "visits")


def lenders(expansion: ExpansionSettings | None = None) -> dict[str, IntroductionBody]:
    """Members whose nodes train the example's encoder together, beside a label party."""
    shape = read_toml(EXAMPLE, "")["group"][0]["encoder"]
    told = EncoderSettings(**shape, group=GROUP).declared(_COLUMNS)
    fund = IntroductionBody(role="label", columns=("score",), label_name="state", label_definition="a month later")
    made = () if expansion is None else expansion.output_columns(_COLUMNS)
    declared = "" if expansion is None else expansion.declared(_COLUMNS)
    loan = IntroductionBody(role="feature", columns=(*_COLUMNS, "enc_0", *made), encoder=told, expansion=declared)
    return {name: loan if i else fund for i, name in enumerate(("harbor", *LENDERS))}
