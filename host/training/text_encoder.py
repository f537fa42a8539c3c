"""The host's text encoder as training reads it: embeddings stand where handles are, and gradients reach them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from ...scenescope.attention.words.prompt import learned_names
from ...scenescope.errors import HostError
from ...scenescope.training.ports import Encoded

TokenOrVector = int | Tensor
MOST_PROMPTS = 64
"""Prompts whose tokens stay on the device, a quarter of a MB each."""


class WithoutTable(nn.Module):
    """A text model's layers under the names that they have in it, without the token table.

    Args:
        text_model: host contract, ComfyUI 0.33 `clip_model.CLIPTextModel_`.
    """

    def __init__(self, text_model: nn.Module) -> None:
        super().__init__()
        places = nn.ModuleDict({"position_embedding": text_model.get_submodule("embeddings.position_embedding")})
        layers = {name: text_model.get_submodule(name) for name in ("encoder", "final_layer_norm")}
        self.text_model = nn.ModuleDict({"embeddings": places, **layers})


class HostText:
    """Reads prompts with a copy of the host's SD1.5 text encoder.

    Args:
        clip: the user's CLIP; only its tokenizer and its choice of layer are read.
        encoder: the copy, `sd1_clip.SDClipModel`; its layers are set to add out of place.
    """

    def __init__(self, clip: Any, encoder: Any) -> None:
        self._clip, self._encoder = clip, encoder
        self.module: nn.Module = WithoutTable(encoder.transformer.text_model)
        for layer in encoder.transformer.text_model.encoder.layers:
            layer.forward = MethodType(out_of_place, layer)
        encoder.reset_clip_options()
        if clip.layer_idx is not None:
            encoder.set_clip_options({"layer": clip.layer_idx})
        empty = [value for value, *_ in clip.tokenize("")["l"][0]]
        self._uploaded: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self._start, self._end, self._padding, self._length = empty[0], empty[1], empty[-1], len(empty)

    def word(self, text: str) -> Tensor:
        """The token table's embeddings of a text: (token channel) float32."""
        table = self._encoder.transformer.get_input_embeddings().weight
        found = [table[given] if isinstance(given, int) else given.to(table.device) for given in self._tokens(text)]
        if not found:
            raise HostError(f"Train Concepts: the starting word {text!r} has no tokens. Write an ordinary word.")
        return torch.stack([embedding.float() for embedding in found]).detach()

    def encode(self, prompts: Sequence[str], embeddings: Mapping[str, Tensor]) -> Encoded:
        """Encode prompts, with an embedding in the place of a handle; anything over a chunk's 75 tokens is cut off."""
        chunks, columns = [], []
        for prompt in prompts:
            body = list(self._spelled(prompt, embeddings))[: self._length - 2]
            columns.append(
                {given: 1 + place for place, given in reversed(list(enumerate(body))) if given in embeddings}
            )
            chunk = [
                self._start,
                *(embeddings[given] if isinstance(given, str) else given for given in body),
                self._end,
            ]
            chunks.append(chunk + [self._padding] * (self._length - len(chunk)))
        return Encoded(self._context(chunks), tuple(columns))

    def _context(self, chunks: Sequence[Sequence[TokenOrVector]]) -> Tensor:
        """What the encoder makes of chunks of tokens and embeddings: (batch token channel) float32.

        Source: host contract, ComfyUI 0.33 `sd1_clip.SDClipModel.forward`, which uploads each prompt again; with the
        tokens on the device, and no number of tokens, `clip_model.CLIPTextModel_` uploads nothing.
        """
        encoder = self._encoder
        if encoder.enable_attention_masks or encoder.zero_out_masked or encoder.layer not in ("last", "hidden"):
            return encoder(chunks)[0]
        ids, embeds = (torch.cat(parts) for parts in zip(*map(self._embedded, chunks), strict=True))
        last, hidden, _ = encoder.transformer.text_model(
            ids,
            embeds=embeds,
            intermediate_output=encoder.layer_idx,
            final_layer_norm_intermediate=encoder.layer_norm_hidden_state,
            dtype=torch.float32,
        )
        return (last if encoder.layer == "last" else hidden).float()

    def _embedded(self, chunk: Sequence[TokenOrVector]) -> tuple[Tensor, Tensor]:
        """A chunk's tokens (1 token) and their embeddings or the learned ones (1 token channel)."""
        key = tuple(given if isinstance(given, int) else self._padding for given in chunk)
        if key not in self._uploaded:
            table = self._encoder.transformer.get_input_embeddings()
            with torch.inference_mode(False), torch.no_grad():  # kept: training goes through what samples may have made
                if len(self._uploaded) >= MOST_PROMPTS:
                    self._uploaded.clear()
                ids = torch.tensor([key], device=table.weight.device)
                self._uploaded[key] = ids, table(ids).float()  # the host hands out half as it is kept
        ids, embeds = self._uploaded[key]
        pieces, after = [], 0
        for place, given in enumerate(chunk):
            if isinstance(given, Tensor):
                pieces += [embeds[:, after:place], given.view(1, 1, -1).to(embeds)]
                after = place + 1
        return ids, torch.cat([*pieces, embeds[:, after:]], dim=1)

    def _spelled(self, prompt: str, embeddings: Mapping[str, Tensor]) -> Iterator[Any]:
        """A prompt's tokens; for a handle its name."""
        for part in learned_names(embeddings).split(prompt) if embeddings else [prompt]:
            if part in embeddings:
                yield part
            elif part.strip():
                yield from self._tokens(part)

    def _tokens(self, text: str) -> list[TokenOrVector]:
        """A text's tokens as the host makes them, without start, end and padding; weights are left out."""
        found: list[TokenOrVector] = []
        for chunk in self._clip.tokenize(text)["l"]:
            for value, *_ in chunk[1:]:
                if isinstance(value, Tensor):
                    found += list(value.reshape(-1, value.shape[-1]))
                elif value == self._end:
                    break
                else:
                    found.append(int(value))
        return found


def encoder_of(stage: Any) -> Any:
    """The SD1.5 encoder of a CLIP's model.

    Raises:
        HostError: it is that of another family.
    """
    encoder = getattr(stage, "clip_l", None)
    layers = getattr(getattr(getattr(encoder, "transformer", None), "text_model", None), "encoder", None)
    if encoder is None or layers is None or hasattr(stage, "clip_g"):
        raise HostError(
            f"Train Concepts: this CLIP ({type(stage).__name__}) is not SD1.5's CLIP-L. Load an SD1.5 checkpoint."
        )
    return encoder


def out_of_place(layer: Any, x: Tensor, mask: Any = None, optimized_attention: Any = None) -> Tensor:
    """Like the host's layer, which adds in place and so can't be backpropagated through.

    Source: host contract, ComfyUI 0.33 `clip_model.CLIPLayer.forward`.
    """
    x = x + layer.self_attn(layer.layer_norm1(x), mask, optimized_attention)
    return x + layer.mlp(layer.layer_norm2(x))
