from __future__ import annotations

import pytest

from wav_policy.policy.rate_limit import RateLimiter


@pytest.mark.parametrize(("took", "period"), [(0.1, 2.0), (0.5, 2.0), (3.0, 12.0)])
def test_turns_keep_to_rate_and_share(took: float, period: float) -> None:
    now = 50.0
    limiter = RateLimiter(rate=0.5, share=0.25, clock=lambda: now)
    assert limiter.is_due

    def fail() -> None:
        nonlocal now
        with limiter.turn():
            now += took
            raise RuntimeError

    with pytest.raises(RuntimeError):  # one that fails takes its time too
        fail()
    assert limiter.period == period
    now = 50.0 + period - 0.01
    assert not limiter.is_due
    now = 50.0 + period
    assert limiter.is_due
