"""The fault campaign: things that go wrong on a running simulated system, what it does about them, and how fast."""
