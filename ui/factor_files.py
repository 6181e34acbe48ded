"""A factor's files to take away: what each is called, what it is for, and fetching it, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from parties.client import ClientProtocol, EntenteError, FactorDetail, FactorForm, FactorView
from ui.bundle import check_archive
from ui.wording import short_id

__all__ = ["FORM_HINTS", "FORM_TITLES", "file_name", "mime_of", "taken"]

FORM_TITLES: Mapping[FactorForm, str] = {
    "zip": "Whole bundle",
    "report": "Report",
    "csv": "Scores as CSV",
    "alphalens": "alphalens",
    "qlib": "qlib",
    "numerai": "Numerai Signals",
    "zipline": "zipline",
}
FORM_HINTS: Mapping[FactorForm, str] = {
    "zip": "every file with hashes, signatures and proofs",
    "report": "one HTML page to read and print",
    "csv": "every score as text",
    "alphalens": "date, asset, factor; pass filter_zscore=None",
    "qlib": "Parquet for StaticDataLoader",
    "numerai": "latest period; fill to the universe first",
    "zipline": "wide Parquet by first tradable session",
}
_SUFFIX: Mapping[FactorForm, str] = {
    "zip": ".zip", "report": "-report.html", "csv": ".csv", "alphalens": "-alphalens.csv", "qlib": "-qlib.parquet",
    "numerai": "", "zipline": "-zipline.parquet",
}  # fmt: skip
_MIMES = {".zip": "application/zip", ".html": "text/html", ".csv": "text/csv", ".parquet": "application/octet-stream"}


def file_name(detail: FactorDetail, form: FactorForm) -> str:
    """What the file is saved as; nothing of a peer's name but letters, digits, dots and dashes."""
    if form == "numerai":
        return f"signals_{re.sub('[^0-9]', '', detail.last_date)}.csv"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", detail.card.factor_id).strip(".-")[:60] or "factor"
    return f"{name}-{short_id(detail.card.run_id)}{_SUFFIX[form]}"


def mime_of(form: FactorForm) -> str:
    """The media type of a form."""
    return _MIMES["." + (_SUFFIX[form] or ".csv").rpartition(".")[2]]


def taken(client: ClientProtocol, detail: FactorDetail, form: FactorForm) -> bytes:
    """The file. Raises :class:`EntenteError` where the archive that arrived is not the one the coordinator lists."""
    content = client.factor_file(detail.card.run_id, form)
    if form == "zip":
        card = detail.card
        listed = FactorView(run_id=card.run_id, factor_id=card.factor_id, sha256=card.sha256, files=detail.files)
        check = check_archive(content, listed)
        if not check.sound:
            raise EntenteError(f"the archive did not arrive as it was sent ({check.faults[0]}): download it again")
    return content
