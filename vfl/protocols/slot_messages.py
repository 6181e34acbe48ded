"""Messages of a slot product: the public key, the encrypted vector, the masked answer, and the check of both ends."""

from __future__ import annotations

from psi.flow import Message, Payload, Role, message

__all__ = ["PrimeKey", "SlotAnswer", "SlotCheck", "SlotOperand", "SlotVerdict"]


@message(
    "slots.key",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="a one-session BFV public key",
    source="Fan and Vercauteren 2012",
)
class PrimeKey(Message):
    """The sender's public key of this session for a parameter set of the prime ring."""

    parameter_set: str
    key: bytes


@message(
    "slots.operand",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.CIPHERTEXT,
    reveals="how many elements the encrypted vector has; nothing of its values",
    source="BFV (Fan and Vercauteren 2012); secret-key encryption under the sender's own key",
)
class SlotOperand(Message):
    """The key holder's vector of ``count`` elements, one ciphertext per 8,188."""

    label: str
    count: int
    blocks: tuple[bytes, ...]


@message(
    "slots.answer",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.CIPHERTEXT,
    reveals="after decryption a share uniform in Z_p; nothing of the evaluator's vector, whatever noise it was sent",
    source="mask uniform in R_q, fresh public-key encryption of zero: docs/protocols/slots.md#why-a-mask-in-r_q",
)
class SlotAnswer(Message):
    """Masked products: both polynomials of each ciphertext that is due, in order.

    ``compared``: of each ciphertext a point that stands for what the key holder should have in its check slots.
    """

    label: str
    first: tuple[bytes, ...]
    second: tuple[bytes, ...]
    compared: bytes


@message(
    "slots.check",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="of each ciphertext whether it adds up, and nothing of a share",
    source="docs/protocols/slots.md#check-slots",
)
class SlotCheck(Message):
    """Of each ciphertext that was due a point that stands for the key holder's check slots, and its proof."""

    label: str
    values: bytes


@message(
    "slots.verdict",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="which ciphertexts' shares failed to cancel, almost never any: counted, and refused beyond 3 in a session",
    source="docs/protocols/slots.md#check-slots",
)
class SlotVerdict(Message):
    """Numbers of the ciphertexts that the evaluator sends again, and proofs that the others add up."""

    label: str
    repeat: tuple[int, ...]
    proofs: bytes
