"""Evidence of a screen that an auditor cannot use: refused in one sentence that names the file and the entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parties.agreement.document import Agreement
from parties.audit.committed_labels import COMMITMENT
from parties.audit.log import AuditLog
from parties.errors import DataError
from parties.node.screen_evidence import TERMINALS, ScreenLabelEvidence, ScreenPartyEvidence
from parties.node.screen_replay import replay_screen
from tests.parties.agreement.test_screen_terms import screen
from vfl.models.screen.label import Screened

GOOD = {"party": "l", "rows": 3, "entities": "0" * 64, "labels": "0" * 64, "columns": "0" * 64}


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (COMMITMENT, GOOD | {"rows": "many"}, "rows: Input should be a valid integer"),
        (COMMITMENT, GOOD | {"signature": "short"}, "signature: String should match pattern"),
        (COMMITMENT, {}, "party: Field required"),
        (TERMINALS, {"terminals": 2}, "no sha256"),
    ],
)
def test_a_malformed_entry_is_named_with_its_file(tmp_path: Path, kind: str, body: Any, why: str) -> None:
    key = Ed25519PrivateKey.generate()
    record = screen().model_dump(mode="json")
    next(one for one in record["parties"] if one["name"] == "a")["identity_key"] = (
        key.public_key().public_bytes_raw().hex()
    )
    agreement = Agreement.model_validate(record)
    with AuditLog("a", f"sqlite:///{tmp_path / 'audit.db'}", key.sign) as log:
        log.append("note", agreement.run_id, {"said": "something else"})
        log.append(kind, agreement.run_id, body)
        log.head()
        shown = tuple(log.prove(index) for index in range(2))
    file = tmp_path / "a.evidence"
    ranks = np.zeros((1, 1, 1), np.int64)
    file.write_bytes(ScreenPartyEvidence(agreement.run_id, "a", ranks, bytes(32), shown).packed())
    with pytest.raises(DataError) as refused:
        replay_screen(ScreenLabelEvidence(agreement, {}, Screened(), {}), [ScreenPartyEvidence.read(file)])
    told = str(refused.value)
    assert told.startswith(f"{file}: entry 1 of a's log is malformed ({why}")
    assert told.endswith("ask a to make the file anew with entente audit evidence")
    assert "\n" not in told
    assert json.loads(shown[1].entry)["body"] == body
