"""Is a factor bundle what was signed and logged? One answer for the command line and the coordinator's desk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from parties.audit.bundles import LoggedExport, logged_exports
from parties.errors import DataError
from vfl.factors.bounded_parquet import check_size
from vfl.factors.bundle_metadata import SCORES
from vfl.factors.verify import SIGNATURES, Fault, VerifyReport, verify_bundle

__all__ = ["BundleCheck", "check_agreed_size", "check_bundle"]


@dataclass(frozen=True)
class BundleCheck:
    """Hashes and signatures, and the proofs that the bundle was logged by those who signed it."""

    report: VerifyReport
    logged: tuple[LoggedExport, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that is wrong, the first to be told first. Empty: sound."""
        unproved = (
            Fault(f"{SIGNATURES}{proof.signer}.log", f"the proof by {proof.signer} {proof.fault}")
            for proof in self.logged
            if proof.fault
        )
        return (*self.report.faults, *unproved)

    @property
    def sound(self) -> bool:
        return self.report.ok and not self.faults


def check_agreed_size(files: Mapping[str, bytes], periods: int, entities: int, *, static: bool = False) -> None:
    """Hold the footers of a bundle's tables against the run that made it, before anybody decodes one.

    static: the run's data has no calendar, so that there is one table, of one row an entity.

    Raises :class:`DataError` naming the file.
    """
    for name in (SCORES,) if static else ("factor.parquet", "pit.parquet"):
        try:
            check_size(files[name], periods * entities)
        except KeyError:
            raise DataError(f"the factor bundle has no {name}: ask the label party for it again") from None
        except ValueError as error:
            raise DataError(
                f"{name} of the factor bundle: {error}, for {periods} periods of {entities} entities were agreed; it "
                "is not kept, ask the label party for what was agreed"
            ) from None


def check_bundle(files: Mapping[str, bytes], trusted: Mapping[str, bytes] | None = None) -> BundleCheck:
    """Verify a bundle offline. ``trusted``: raw Ed25519 keys by name; None compares signatures with no known key.

    Never raises on what the files hold.
    """
    report = verify_bundle(files, trusted=trusted)
    keys = {signature.signer: bytes.fromhex(signature.key) for signature in report.signatures}
    return BundleCheck(report, tuple(logged_exports(files, keys)))
