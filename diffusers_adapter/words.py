"""A pipeline's tokenizer and text encoder: the words of prompts, and prompts with learned tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..scenescope.attention.words.byte_pairs import piece_bytes
from ..scenescope.attention.words.prompt import Syntax, learned_names
from ..scenescope.attention.words.tokenisation import Codec, read_tokens
from ..scenescope.attention.words.tokens import TokenTable
from ..scenescope.errors import HostError
from ..scenescope.training.ports import Encoded
from .names import TextNames, text_layers


def table_of(tokenizer: Any, prompt: str) -> TokenTable:
    """Name the columns that a prompt has; what a pipeline cuts off is not in the table.

    Args:
        tokenizer: CLIP's, with learned tokens added as `apply_concepts` adds them.
        prompt: as it was typed; parentheses are letters to a pipeline, and no weights.
    """
    learned = {token: 1 for token in tokenizer.get_added_vocab() if token not in tokenizer.all_special_tokens}
    pieces = {place: entry for entry, place in tokenizer.get_vocab().items()}
    numbers = tokenizer(prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True).input_ids
    chunk = [(pieces[number] if pieces[number] in learned else number, 1.0) for number in numbers]
    syntax = Syntax(embeddings=False, learned=learned)
    codec = Codec(lambda number: piece_bytes(pieces[number]), tokenizer.bos_token_id, tokenizer.eos_token_id, syntax)
    literal = prompt.replace("\\", "").replace("(", "\\(").replace(")", "\\)")
    table = read_tokens(literal, [chunk], codec)
    return replace(table, prompt=prompt)


class PipelineText:
    """Reads prompts with a copy of a pipeline's text encoder, with embeddings in the place of handles.

    Args:
        tokenizer: the pipeline's.
        encoder: the copy, `CLIPTextModel`.
    """

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        self._tokenizer, self._encoder = tokenizer, encoder
        self._table: nn.Module = text_layers(encoder).embeddings.token_embedding
        self.module: nn.Module = TextNames(encoder, table=False)

    def word(self, text: str) -> Tensor:
        """The token table's embeddings of a text: (token channel) float32.

        Raises:
            HostError: it has no tokens.
        """
        numbers = self._numbers(text)
        if not numbers:
            raise HostError(f"Learning: the starting word {text!r} has no tokens. Write an ordinary word.")
        table: Tensor = self._table.get_parameter("weight")
        return table[numbers].detach().float()

    def encode(self, prompts: Sequence[str], embeddings: Mapping[str, Tensor]) -> Encoded:
        """Encode prompts, with an embedding in the place of a handle; anything over 75 tokens is cut off."""
        length, end = self._tokenizer.model_max_length, self._tokenizer.eos_token_id
        numbers: list[list[int]] = []
        columns: list[dict[str, int]] = []
        for prompt in prompts:
            body = list(self._spelled(prompt, embeddings))[: length - 2]
            backwards = reversed(list(enumerate(body)))
            columns.append({given: 1 + place for place, given in backwards if isinstance(given, str)})
            chunk = [self._tokenizer.bos_token_id, *(end if isinstance(given, str) else given for given in body), end]
            numbers.append(chunk + [self._tokenizer.pad_token_id] * (length - len(chunk)))
        device = self._table.get_parameter("weight").device
        with self._embeddings_at(columns, embeddings):
            context = self._encoder(torch.tensor(numbers, device=device))[0]  # (batch token channel)
        return Encoded(context, tuple(columns))

    @contextmanager
    def _embeddings_at(self, columns: Sequence[Mapping[str, int]], embeddings: Mapping[str, Tensor]) -> Iterator[None]:
        """While entered, the token table answers with a handle's embedding at its column, with gradients.

        A handle that stands twice in a prompt is spliced in at its first place, as `columns` has it.
        """
        places = [(item, column, embeddings[name]) for item, of in enumerate(columns) for name, column in of.items()]

        def splice(table: nn.Module, inputs: Any, found: Tensor) -> Tensor:
            where = torch.tensor([place[:2] for place in places], device=found.device).T
            values = torch.stack([embedding for *_, embedding in places]).to(found)
            return found.index_put((where[0], where[1]), values)

        hook = self._table.register_forward_hook(splice) if places else None
        try:
            yield
        finally:
            if hook is not None:
                hook.remove()

    def _spelled(self, prompt: str, embeddings: Mapping[str, Tensor]) -> Iterator[int | str]:
        """A prompt's tokens; for a handle its name."""
        for part in learned_names(embeddings).split(prompt) if embeddings else [prompt]:
            if part in embeddings:
                yield part
            elif part.strip():
                yield from self._numbers(part)

    def _numbers(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)
