"""New words as a run's cross-attention would have seen them: by the same path as its keys.

The MODEL is asked again, on a small latent, with the new words as its prompt, and what comes out of each `to_k` is
kept: so LoRAs, hooks on conditionings, hypernetworks and other patches do to the new words what they did to the prompt.

Host contracts, ComfyUI 0.33.0: a conditioning is a list of (tensor, dictionary), whose entry `hooks` changes MODEL
while it is sampled; `samplers.CFGGuider.sample` runs any `Sampler`; SD1.5, SD2 and SDXL hand the conditioning's tensor
to `attn2`, where keys depend on it and perhaps on the noise, not on the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ...scenescope.attention.read.ask import Question
from ...scenescope.attention.record.recording import Address, Projection, Recording
from ...scenescope.attention.record.selection import Selection
from ...scenescope.attention.words.tokens import Token, TokenTable, fit_table
from ...scenescope.dims import Grid
from ...scenescope.errors import InputError, WordError
from ..prompts.text import TOKENS_KEY, table_from_prompt
from .calls import without_recorders
from .unet import record_attention

SIDE = 16  # cells of the latent that is asked with: small, since keys do not depend on the picture
LIKE = 0.01
"""How far the prompt's own keys may be from those of the run, as a part of the largest, for int8 twice as much.

Half precision is exact to 0.0005 of each key. A hook or a patch that is missing changes keys by more than that.
"""
_PLACE = (
    "area",
    "mask",
    "mask_strength",
    "set_area_to_bounds",
    "strength",
    "control",
    "control_apply_to_uncond",
    "gligen",
)
_TIME = ("start_percent", "end_percent", "clip_start_percent", "clip_end_percent")

_Time = tuple[int, int]


def question_of(
    model: Any, recording: Recording, conditioning: Any, branch: str, *, clip: Any = None, prompt: str | None = None
) -> Question:
    """Ask the model for the keys that new words have in each recorded block.

    Args:
        model: the MODEL that was sampled, with its LoRAs and patches; loaded if it is not.
        recording: what the run left.
        conditioning: the new words, encoded; its first entry counts, with the hooks that it carries.
        branch: the conditioning beside whose prompt the words are asked.
        clip: the CLIP that made the conditioning, for one that carries no words.
        prompt: its prompt as it was typed.

    Returns:
        The question: keys on the CPU, and a token for each word's column; start, end and padding are left out.

    Raises:
        WordError: the conditioning carries no words.
        InputError: the prompt's own words have other keys than in that run, so the new words' would be wrong too.
        HostError: the model is not a U-Net.
    """
    context, options = conditioning[0]
    tokens = _words(context.shape[1], options.get(TOKENS_KEY), clip, prompt)
    columns = [token.column for token in tokens]
    kept = {at: pair for at, pair in recording.projections.items() if (at.branch, at.kind) == (branch, "cross")}
    times = sorted({(at.step, at.evaluation) for at in kept}) or [(0, 0)]
    if "hooks" not in options and not _varies(kept):
        times = times[:1]
    known = {entry: held for (own, entry), held in sorted(recording.contexts.items()) if own == branch}
    given = [context[:1], *(held.to(context) for held in known.values())]
    sigmas = [_sigma(recording, kept, time) for time in times]
    asked = _keys(model, recording, [[each, _bare(options)] for each in given], sigmas)
    keys = {time: {block: made[:, columns] for block, made in asked[0][at].items()} for at, time in enumerate(times)}
    for entry, again in zip(known, asked[1:], strict=True):
        own = {at: pair for at, pair in kept.items() if at.entry == entry}
        _check_path(own, dict(zip(times, again, strict=True)), times)
    return Question(keys[times[0]], tokens, branch, keys if len(times) > 1 else {})


def _bare(options: Mapping[str, Any]) -> dict[str, Any]:
    """A conditioning's dictionary without what places it in the picture or in time."""
    return {key: value for key, value in options.items() if key not in (*_PLACE, *_TIME)}


def _varies(kept: Mapping[Address, Projection]) -> bool:
    """Whether the prompt's keys changed while the run was sampled."""
    first: dict[tuple[str, int], Tensor] = {}
    for at, pair in sorted(kept.items(), key=lambda item: item[0]):
        before = first.setdefault((at.block, at.entry), pair.key)
        if before is not pair.key and not torch.equal(before, pair.key):
            return True
    return False


def _sigma(recording: Recording, kept: Mapping[Address, Projection], time: _Time) -> float:
    at = next((at for at in kept if (at.step, at.evaluation) == time), None)
    return recording.sigmas[0] if at is None else recording.sigma_of(at)


class _AskAt(comfy.samplers.Sampler):
    """Asks the model at each sigma but the last, always about the same noise."""

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        *_: Any,
        **__: Any,
    ) -> Tensor:
        """Host contract, ComfyUI 0.33 `samplers.KSAMPLER.sample`."""
        for step, sigma in enumerate(sigmas[:-1]):
            noisy = noise * sigma
            model_wrap(noisy, sigma.expand(len(noise)).contiguous(), **extra_args)
            callback(step, noise, noisy, len(sigmas) - 1)
        return noise


def _keys(
    model: Any, recording: Recording, conditionings: list[Any], sigmas: list[float]
) -> list[list[dict[str, Tensor]]]:
    """What each `to_k` makes of conditionings: for each, for each sigma, by block (1 token head*channel) float32."""
    blocks = ", ".join(dict.fromkeys(layer.block for layer in recording.layers if layer.kind == "cross"))
    selection = Selection(blocks=blocks, keep_queries=True, query_precision="single", budget=10**10)
    watched, book = record_attention(without_recorders(model), selection)
    size = recording.latent
    while max(size) > SIDE:
        size = size.coarser(2)
    blank = comfy.sample.fix_empty_latent_channels(watched, torch.zeros(1, 4, *_even(size)))
    noise = torch.randn(blank.shape, generator=torch.Generator().manual_seed(0))
    guider = comfy.samplers.CFGGuider(watched)
    guider.inner_set_conds({"positive": conditionings})
    guider.sample(noise, blank, _AskAt(), torch.tensor([*sigmas, 0.0]), disable_pbar=True, seed=0)
    found: list[list[dict[str, Tensor]]] = [[{} for _ in sigmas] for _ in conditionings]
    for at, pair in book.find(None)[0].projections.items():
        found[at.entry][at.step][at.block] = pair.keys
    return found


def _even(size: Grid) -> tuple[int, int]:
    """A grid that every level of a U-Net can halve."""
    return max(8, size.height // 8 * 8), max(8, size.width // 8 * 8)


def _check_path(
    kept: Mapping[Address, Projection], again: Mapping[_Time, Mapping[str, Tensor]], times: list[_Time]
) -> None:
    """Refuse to answer where the prompt's own words do not have the keys that they had in the run."""
    for at, pair in kept.items():
        then, now = pair.keys[:1].float(), again[(at.step, at.evaluation) if len(times) > 1 else times[0]].get(at.block)
        limit = LIKE * (2 if pair.key.dtype == torch.int8 else 1)
        off = float("inf") if now is None or now.shape != then.shape else float((now - then).abs().max())
        if off > limit * float(then.abs().max()):
            raise InputError(
                f"Ask Again: at {at.block}, step {at.step}, the prompt's own words have different keys than in that "
                "run, so the answer for the new words would be wrong. Something changed them there: a LoRA, a "
                "hypernetwork, or hooks on CLIP or on the conditioning. Connect the MODEL that was sampled, and encode "
                "the new words with the same CLIP and hooks as the prompt."
            )


def _words(columns: int, table: TokenTable | None, clip: Any, prompt: str | None) -> tuple[Token, ...]:
    if clip is not None and prompt:
        table = table_from_prompt(clip, prompt)
    if table is None:
        raise WordError(
            "Ask Again: this conditioning doesn't carry its words. Put Trace Words between the CLIP and CLIP Text "
            "Encode, or connect clip here and type the words again."
        )
    return tuple(token for token in fit_table(table, columns).tokens if token.word is not None)
