"""Prompts in ComfyUI.

Reading order: `chunks` (tokens that remember their prompt), `text` (token tables of conditionings), `words` (words
found in a recording).
"""
