"""How a body of the control plane becomes a model, or one sentence that names the fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from parties.errors import AgreementError
from vfl.terms import Terms

__all__ = ["first_fault", "parse"]

B = TypeVar("B", bound=Terms)


def parse(shape: type[B], body: bytes | str | Mapping[str, Any], what: str) -> B:
    """``body`` as a ``shape``. Raises :class:`AgreementError` with the first fault."""
    try:
        if isinstance(body, Mapping):
            return shape.model_validate(dict(body))
        return shape.model_validate_json(body)
    except ValidationError as error:
        raise AgreementError(f"{what}: {first_fault(error)}; send what parties/control says") from None


def first_fault(error: ValidationError) -> str:
    """The first thing wrong with a body: the field, and what it should be."""
    first = error.errors()[0]
    where = ".".join(str(part)[:40] for part in first["loc"]) or "the body"
    # a name that was made up may hold line ends
    return "".join(c if c.isprintable() else "?" for c in f"{where}: {first['msg'][:200]}")
