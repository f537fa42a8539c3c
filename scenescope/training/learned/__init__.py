"""What training leaves: `concepts` (tokens and weights), `prompts` (prompts over subsets of the tokens)."""
