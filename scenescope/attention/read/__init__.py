"""Reading a recording: one map for each word, how far to trust it, and what can be derived from it.

Reading order: `view` (which maps), `heatmap` (their mean on one grid), `normalise` (scales), `cautions` (how far to
trust them), `masks` (from a map to a mask), `affinity` (what belongs together, by self-attention), `ask` (words that
were not in the prompt), `compare` (two runs), `join` (several runs as one), `live` (maps that grow while a run is
sampled).
"""
