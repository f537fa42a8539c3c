"""What became of each word of a prompt: which things it names, how their maps compare, and what to do about it.

Reading order: `things` (nouns and their adjectives), `measures` (numbers of their maps), `diagnosis` (verdicts),
`marks` (verdicts at the words), `proof` (a word switched off), `report` (Markdown and JSON), `sheet` (a picture of it),
`repair` (places for what is missing), `examine` (all of it).
"""
