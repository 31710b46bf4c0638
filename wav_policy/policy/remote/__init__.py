"""Policies that run elsewhere, and this one for others: openpi's websocket protocol (docs/remote.md)."""
