"""Interrupted runs: `run` (one, in a process of its own), `machines` (two that share a folder)."""
