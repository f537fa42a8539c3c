"""Acting on attention inside the host: acts travel with MODEL as attachments, and one set of wrappers carries them out.

Reading order: `run` (one sampling run with acts), `steer` (words lifted, lowered, placed), `region` (prompts, LoRAs and
masks gated by a word's region).
"""
