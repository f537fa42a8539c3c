"""Acting on attention: the grammar that reads maps also writes them.

Reading order: `acts` (what an act is, and when it acts), `attend` (attention as acts compute it), `writer` (hooks that
write what acts ask for); `place` (where in the picture) and `steer` (words lifted, lowered or placed by log-odds);
`align` (words of two prompts), `fit` (whether a recording fits a run), `tape` (what a recording plays when), `blend`
(the region left free) and `replay`; `region` (where a word looks, live).
"""
