"""Prompts in ComfyUI.

Reading order: `text` (token tables of conditionings), `words` (words found in a recording), `ask` (new words).
"""
