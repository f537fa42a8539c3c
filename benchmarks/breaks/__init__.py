"""Runs that are broken off: `run` (one, in a process of its own), `machines` (two that share a folder)."""
