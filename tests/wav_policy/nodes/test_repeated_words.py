"""A busy machine loses the policy several times a minute; the log stays readable."""

from __future__ import annotations

from wav_policy.nodes.runtime.repeated_words import PAUSE, RepeatedWords


def test_what_comes_again_is_counted() -> None:
    now, said = 100.0, list[str]()
    say = RepeatedWords(said.append, lambda: now)
    for _ in range(4):
        say("policy lost: silent")
        now += 1.0
    say("policy lost: gone")
    assert said == ["policy lost: silent", "policy lost: gone"]
    now = 100.0 + PAUSE
    say("policy lost: silent")
    assert said[2:] == ["policy lost: silent (3 times more within 30 s)"]
    now += PAUSE
    say("policy lost: silent")
    assert said[3:] == ["policy lost: silent"]
