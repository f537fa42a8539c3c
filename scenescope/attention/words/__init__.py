"""Words and tokens: which column of an attention map belongs to which word of the prompt.

Reading order: `prompt` (weights, BREAK and embedding names in a prompt's text), `tokens` (the token table that travels
with a conditioning), `byte_pairs` (CLIP's vocabulary), `tokenisation` (the table made from a tokenizer's answer),
`find` (a user's words in a table).
"""
