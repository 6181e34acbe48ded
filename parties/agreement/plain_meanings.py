"""What a term means whose own declaration does not say it, by the term's name.

Most terms say it where they are declared, and that goes first. These are the ones whose name was thought to be enough.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PLAIN_MEANINGS"]

PLAIN_MEANINGS: Mapping[str, str] = {
    "alpha": "ridge penalty, in place of the model's",
    "batch_rows": "rows of one training step",
    "code_version": "version of the program that made the proposal",
    "consortium": "name of the consortium that the parties form",
    "coordinator_address": "host:port of the coordinator",
    "coordinator_certificate_sha256": "SHA-256 of the coordinator's TLS certificate in DER, hex",
    "cutoffs": "up to which moment each period's columns may use data, UTC",
    "definition": "what it measures, in the label party's words",
    "embedding_width": "numbers that a row's columns are brought down to; their sums over the parties open",
    "expires_at": "signatures count until then",
    "feature_bits": "binary digits after the point of a column's values",
    "first": "the first period that counts; empty: the first that is predicted",
    "frequency": "how long a period is",
    "hidden": "units of the hidden layer",
    "high": "the largest value that may be drawn",
    "key_holder": "the party under whose key the fees are encrypted",
    "kind": "which model the run trains",
    "last": "the last period that counts; empty: the last that has a label",
    "linear_rate": "learning rate of the linear column, in place of the model's",
    "low": "the smallest value that may be drawn",
    "maximum_set_size": "most entities that a party's list may have",
    "metrics_to_coordinator": "whether the coordinator hears the evaluation's numbers",
    "minimum_common": "fewest entities in common; with fewer the run ends before a row is used",
    "momentum": "share of the last step that goes into the next one",
    "name": "what it is called in this agreement",
    "parameter_set": "of the homomorphic encryption, by its name",
    "party": "who has it",
    "payloads": "kinds of content that messages between the parties may carry",
    "period_ends": "when each period is over, UTC",
    "periods": "the periods of the calendar, by name",
    "proposed_at": "when it was proposed",
    "purpose": "what the run is for",
    "recipients": "who receives the factor's files",
    "ring_bits": "binary digits of the numbers that the encryption computes with",
    "role": "label: has what is predicted; feature: has columns to predict it from",
    "run_id": "the earlier run that this one goes on from",
    "sampler": "how trials are drawn; tpe: near those that did well, random: evenly",
    "seed": "where the random numbers begin; public",
    "source_learning_rate": "size of a step of the feature parties' own weights",
    "square_rate": "learning rate of the squared columns, in place of the model's",
    "start": "deviation of the first squared embeddings, in place of the model's",
    "steps": "steps at each later period, in place of the model's",
    "threshold": "decay of the squared columns, in place of the model's",
    "top_learning_rate": "size of a step of the label party's own model",
    "unit": "currency or other unit of all amounts",
    "version": "of the form in which the agreement is written",
    "warmup_steps": "steps before the first prediction, in place of the model's",
    "weight_decay": "how strongly weights are drawn towards zero",
    "width": "squared columns, in place of the model's",
    "without": "parties of the earlier run that take no part in this one",
}
