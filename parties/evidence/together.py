"""Packs of one run checked together: what one party says of a link, another says too. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations, pairwise

from parties.audit.heads import Head, continues
from parties.evidence.parts import Parts
from parties.evidence.statements import Statements
from parties.evidence.stopped import ended_well, stopped

__all__ = ["check_together"]

_Ends = dict[tuple[str, str, str], tuple[object, object]]


def check_together(packs: Sequence[Parts]) -> Statements:
    """Hold sound packs against each other. Nothing is said of one alone."""
    said = Statements()
    if len(packs) < 2:
        return said
    said.faults.extend(_same_run(packs))
    if said.faults:
        return said
    left = stopped(packs)
    said.proved.extend(dict.fromkeys(one.shown for one in left))
    said.asserted.extend(one.lacks for one in left)
    said.faults.extend(_links(packs, {(one.member, one.session) for one in left}, said))
    said.faults.extend(_forks(packs, said))
    said.faults.extend(_digests(packs, said))
    return said


def _same_run(packs: Sequence[Parts]) -> Iterator[str]:
    first = packs[0].about
    for other in packs[1:]:
        if other.about.run_id != first.run_id:
            yield (
                f"the pack of {other.about.writer} is of run {other.about.run_id[:12]}, that of {first.writer} of "
                f"{first.run_id[:12]}: check packs of one run together"
            )
    writers = [one.about.writer for one in packs]
    for name in sorted({name for name in writers if writers.count(name) > 1}):
        yield f"two packs are of {name!r}: check one of each"


def _ends(parts: Parts) -> _Ends:
    """What the writer logged of each direction of each link of each session."""
    return {
        (str(entry.body.get("session")), str(one.get("from")), str(one.get("to"))): (
            one.get("messages"),
            one.get("sha256"),
        )
        for entry in parts.logged("session")
        for one in entry.body.get("transcripts") or ()
    }


def _links(packs: Sequence[Parts], left: Collection[tuple[str, str]], said: Statements) -> Iterator[str]:
    """Both ends of a link that ended well have one transcript; an end without the other shows an entry left out.

    left: sessions that a member's node is shown to have stopped in, so that its log has no end of them.
    """
    same = 0
    for one, other in combinations([one for one in packs if not one.of_coordinator], 2):
        mine, theirs = _ends(one), _ends(other)
        names = {one.about.writer, other.about.writer}
        for link in sorted(set(mine) | set(theirs)):
            if {link[1], link[2]} != names:
                continue
            if link not in mine or link not in theirs:
                if (mine | theirs)[link][0] == 0:
                    continue  # nothing was sent: the other end had dropped out before
                silent = one if link not in mine else other
                if (silent.about.writer, link[0]) in left:
                    continue
                yield f"{silent.about.writer}'s pack has no transcript of {link[1]} to {link[2]} in session {link[0]}"
            elif mine[link] != theirs[link] and ended_well(one, link[0]) and ended_well(other, link[0]):
                yield f"{link[1]} and {link[2]} logged different transcripts of session {link[0]}"
            else:
                same += mine[link] == theirs[link]
    if same:
        said.proved.append(f"Both ends logged the same transcript, {same} times over sessions and directions.")


def _forks(packs: Sequence[Parts], said: Statements) -> Iterator[str]:
    heads: dict[str, dict[tuple[int, str], Head]] = {}
    for parts in packs:
        for head in (*parts.heads, parts.log[0].proof.head):
            heads.setdefault(head.log, {})[head.size, head.root] = head
    for log, found in sorted(heads.items()):
        for old, new in pairwise(sorted(found.values(), key=lambda head: head.size)):
            if continues(old, new) is False:
                yield f"{log!r} showed different logs: heads at {old.size} and {new.size} entries do not fit"
    said.proved.append("No party showed different logs to the writers of these packs.")


def _digests(packs: Sequence[Parts], said: Statements) -> Iterator[str]:
    """Signed documents that are in several packs are one."""
    for name, found in (
        ("commitments to labels", [(one, one.labels) for one in packs if one.labels is not None]),
        ("contributions", [(one, one.contribution) for one in packs if one.contribution is not None]),
        ("factors", [(one, one.factor.get("SHA256SUMS")) for one in packs if one.factor and not one.federated]),
    ):
        for (one, mine), (other, theirs) in pairwise(found):
            if mine != theirs:
                yield f"{one.about.writer} and {other.about.writer} hold different {name} of one run"
    settled = {str(entry.body.get("settlement_sha256")): parts for parts in packs for entry in parts.logged("settled")}
    told = [one for parts in packs for one in parts.reports if parts.of_coordinator]
    known = {one.digest for one in told if one.phase == "settle"}
    if known:
        for digest, parts in settled.items():
            if digest not in known:
                yield f"{parts.about.writer} was told another settlement than the coordinator's pack has"
    same = "Contributions" if packs[0].federated else "Labels, contributions, factor"
    said.proved.append(f"{same} and settlement are the same in all packs that have them.")
