"""Acting on attention: the grammar that reads maps also writes them.

Reading order: `acts` (what an act is, and when it acts), `writer` (hooks that write what acts ask for), `steer` (words
lifted, lowered or placed by log-odds).
"""
