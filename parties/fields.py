"""Field types that documents from elsewhere share: ids, bounded texts and numbers, and the record that holds them.

What has these types came from another organisation: texts are bounded and stay on their line, numbers are finite.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from vfl.terms import Terms

__all__ = [
    "Column",
    "Count",
    "Number",
    "Period",
    "RunId",
    "Sha256",
    "Signature",
    "StrictTerms",
    "Text",
    "Whole",
    "Word",
    "printable",
]


def printable(text: str) -> str:
    """The text on one line, without control or direction marks that could forge a log line or a name."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
Text = Annotated[str, StringConstraints(max_length=2000), AfterValidator(printable)]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:+/-]{0,63}$")]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Whole = Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)]
Period = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Column = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(printable)]
Number = float | None


class StrictTerms(Terms):
    """A frozen record that refuses unknown keys, and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
