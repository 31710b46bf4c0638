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


def test_words_that_are_always_others_are_not_remembered_for_ever() -> None:
    said = list[str]()
    say = RepeatedWords(said.append, lambda: 0.0)
    for number in range(1000):
        say(f"left_link4 touches the table at {number} mm")
    assert len(said) == 1000
    say("left_link4 touches the table at 999 mm")
    assert len(said) == 1000
    assert len(say._last) < 100
