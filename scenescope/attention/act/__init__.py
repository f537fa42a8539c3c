"""Acting with attention: what the recorder reads, the same grammar writes.

Reading order: `acts` (what an act is, and when it acts), `writer` (hooks that write what acts ask for), `steer` (words
lifted, lowered or placed by log-odds).
"""
