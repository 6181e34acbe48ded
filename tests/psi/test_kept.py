"""Rows kept from an earlier run: everyone holds the same, or whoever does not is named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.flow import Message, RemoteProtocolError, run_local
from psi.kept import KeptRows, confirm_kept

RUN, EARLIER = b"r" * 32, b"e" * 32
IDS = st.lists(st.text(max_size=4), max_size=6, unique=True)


def compare(ids: dict[str, list[str]], runs: dict[str, tuple[bytes, bytes]] | None = None) -> list[KeptRows]:
    """Everyone compares; what was sent."""
    sent: list[KeptRows] = []

    def relay(sender: str, receiver: str, message: Message) -> Message:
        assert isinstance(message, KeptRows)
        sent.append(message)
        return message

    run_local(
        {
            me: confirm_kept(
                me,
                tuple(ids),
                kept,
                run=(runs or {}).get(me, (RUN, EARLIER))[0],
                earlier=(runs or {}).get(me, (RUN, EARLIER))[1],
            )
            for me, kept in ids.items()
        },
        relay=relay,
    )
    return sent


@settings(max_examples=30, deadline=None)
@given(one=IDS, other=IDS)
def test_equal_rows_pass_and_others_are_refused(one: list[str], other: list[str]) -> None:
    compare({"bank": one, "sky": list(one), "web": list(one)})
    if one != other:
        with pytest.raises(RemoteProtocolError, match="kept other rows"):
            compare({"bank": one, "sky": other})


def test_who_kept_others_is_named() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        compare({"bank": ["A", "B"], "sky": ["A", "B"], "web": ["B", "A"]})
    assert caught.value.peer in {"web", "bank", "sky"}
    with pytest.raises(RemoteProtocolError):
        compare({"bank": ["AB", "C"], "sky": ["A", "BC"]})


def test_a_digest_is_bound_to_both_runs_and_says_nothing_else() -> None:
    ids = {"bank": ["A"], "sky": ["A"]}
    first = compare(ids)
    assert {len(message.digest) for message in first} == {32}
    for other in ((b"x" * 32, EARLIER), (RUN, b"x" * 32)):
        assert compare(ids, dict.fromkeys(ids, other))[0].digest != first[0].digest
        with pytest.raises(RemoteProtocolError):
            compare(ids, {"bank": other})
