"""Texts that never change: what a scorer makes of them tells whether it is still the agreed one.

They cover what a reader of texts does: plain sentences of the trade, negations and boosters, markup, addresses, emoji,
emoticons, other scripts, composed and decomposed letters, nothing at all. Whoever changes one changes every pin.
"""

from __future__ import annotations

__all__ = ["PROBES"]

PROBES = (
    "Revenue beat expectations and guidance was raised.",
    "Profit warning: impairment, restructuring charges and a lawsuit.",
    "Not happy with the new stores, and refunds were refused.",
    "The results were not bad at all.",
    "Very strong demand, extremely weak margins.",
    "An absolutely GREAT quarter!!!",
    "The board can't recommend this deal without doubt.",
    "Gains offset losses; adverse conditions improved.",
    "the quick brown fox jumps over the lazy dog",
    "Buy $ACME now :) or regret it :(",
    "To the moon \U0001f680\U0001f680 or a disaster \U0001f631",
    "\u2764\ufe0f this brand \U0001f44d\U0001f3fd",
    "<p>Excellent <b>service</b>, <i>terrible</i> queues &amp; broken tills</p><script>love()</script>",
    "We <3 them & they &lt;3 us",
    "Read https://example.com/great-awful?x=1 and www.example.org/best",
    "caf\u00e9 superb, cafe\u0301 superb",
    "Isn\u2019t it wonderful? \u201cNo,\u201d he said.",
    "\u696d\u7e3e\u306f\u597d\u8abf\u3067\u3059\u3002",
    "\u516c\u53f8\u4e1a\u7ee9\u5f88\u597d",
    "\u041f\u0440\u0438\u0431\u044b\u043b\u044c \u0432\u044b\u0440\u043e\u0441\u043b\u0430",
    "\u0646\u062a\u0627\u0626\u062c \u0645\u0645\u062a\u0627\u0632\u0629",
    "Gewinnwarnung: schlechte Zahlen, super Ausblick",
    "",
    " \t\n\u200b",
    "!!!??? ... --- $$$ 100% 3,141.59",
    "good " * 200 + "bad " * 100,
)
