"""A training run.

Reading order: `trainer` (the loop), `state` (an interrupted run, resumed), `history` (its losses), `history_picture`.
"""
