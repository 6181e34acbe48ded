"""Whether there is encryption that takes the agreed arithmetic."""

from __future__ import annotations

from parties.agreement.document import Agreement
from parties.errors import AgreementError
from vfl.arithmetic.he import PARAMETER_SETS

__all__ = ["check_arithmetic"]


def check_arithmetic(agreement: Agreement) -> None:
    """Raise :class:`AgreementError` unless there is such a parameter set and it takes the agreed ring."""
    terms, bits = PARAMETER_SETS.get(agreement.parameter_set), agreement.fixed_point.ring_bits
    if terms is None:
        known = ", ".join(sorted(PARAMETER_SETS))
        raise AgreementError(f"parameter_set {agreement.parameter_set!r} is not one of {known}: propose one of these")
    if bits > terms.most_ring_bits:
        raise AgreementError(
            f"fixed_point.ring_bits = {bits} is above the {terms.most_ring_bits} that parameter_set {terms.name!r} "
            "takes: lower it, or choose a larger set"
        )
