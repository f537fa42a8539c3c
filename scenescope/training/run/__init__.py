"""A training run.

Reading order: `trainer` (the loop), `optimiser` and `small_moments` (a step of what is trained), `state` (an
interrupted run, resumed), `writer` (states written during the next step), `lease` (one worker per run), `history` (its
losses), `history_picture`.
"""
