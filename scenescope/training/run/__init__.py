"""A training run.

Reading order: `trainer` (the loop), `state` (a run broken off and resumed), `history` (its losses), `history_picture`.
"""
