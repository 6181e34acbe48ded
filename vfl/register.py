"""The register of message types: whoever imports it has every type declared that can cross between two parties."""

from __future__ import annotations

import psi.kept
import psi.messages
import psi.ot.messages  # noqa: F401
import vfl.federated.messages
import vfl.models.screen.messages
import vfl.models.sealed.coalitions
import vfl.models.sealed.messages
import vfl.models.sealed.products
import vfl.models.sealed.score_range
import vfl.models.sealed.tied
import vfl.models.sealed.trials
import vfl.models.trees.messages
import vfl.protocols.attribution
import vfl.protocols.coalitions
import vfl.protocols.committed_values
import vfl.protocols.contribution_record
import vfl.protocols.delivery
import vfl.protocols.fee_messages
import vfl.protocols.label_commitment
import vfl.protocols.moment_messages
import vfl.protocols.opening
import vfl.protocols.product
import vfl.protocols.resume
import vfl.protocols.session
import vfl.protocols.slots  # noqa: F401 - declaring is all that these imports are for
from psi.flow import REGISTER

__all__ = ["REGISTER"]
