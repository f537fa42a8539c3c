"""Ask Again by the path that a run's keys took: LoRAs, hooks and hypernetworks do to new words what they did then."""

from __future__ import annotations

from typing import Any

import comfy.hooks
import comfy.lora
import comfy.sd
import pytest
import torch
from comfy_extras.nodes_hypernetwork import load_hypernetwork_patch
from pack.host.prompts.text import TOKENS_KEY
from pack.host.recording.ask import question_of
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.read.ask import ask
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import POSITIVE, Selection
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.errors import InputError
from pack.tests.support.host.layouts import TEXT_WIDTH
from pack.tests.support.host.runs import Run, conditioning, sample

COLUMN = 5
STEPS = 3


def worded(options: dict[str, Any] | None = None) -> Any:
    """The prompt, with a table of words, one a column."""
    made = conditioning(seed=1, **(options or {}))
    kinds = ["start", *["text"] * 75, "end"]
    tokens = [
        Token(at, 0, at, kind, f"w{at}" if kind == "text" else "", at if kind == "text" else None)  # type: ignore[arg-type]
        for at, kind in enumerate(kinds)
    ]
    made[0][1][TOKENS_KEY] = TokenTable("words", tuple(tokens))
    return made


def run(model: Any, positive: Any) -> Recording:
    """Record with queries, everything in single precision, and only the positive branch."""
    selection = Selection(precision=torch.float32, keep_queries=True, branches=(POSITIVE,))
    watched, book = record_attention(model, selection)
    return book.find(sample(watched, positive, conditioning(seed=2), Run(steps=STEPS)))[0]


def asked_again(model: Any, recording: Recording, new: Any) -> float:
    """The largest relative difference of a word's own column and its asked one, over all maps."""
    answer = ask(recording, question_of(model, recording, new, POSITIVE))
    worst = 0.0
    for item in answer.maps:
        own, again = item.maps[..., COLUMN].double(), item.maps[..., 77 + COLUMN - 1].double()  # the start is left out
        worst = max(worst, float(((again - own).abs() / own.clamp(min=1e-6)).max()))
    return worst


def lora(model: Any, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """A LoRA on the keys of three blocks."""
    keys, generator = comfy.lora.model_lora_keys_unet(model.model, {}), torch.Generator().manual_seed(0)
    weights, made = model.model.state_dict(), {}
    for place in ("down_blocks_0_attentions_0", "mid_block_attentions_0", "up_blocks_2_attentions_1"):
        name = f"lora_unet_{place}_transformer_blocks_0_attn2_to_k"
        tall, wide = weights[keys[name]].shape
        made[f"{name}.lora_up.weight"] = scale * torch.randn(tall, 2, generator=generator)
        made[f"{name}.lora_down.weight"] = scale * torch.randn(2, wide, generator=generator)
    return made


def with_hypernetwork(model: Any, tmp_path: Any) -> Any:
    """The stock loader's patch of a hypernetwork with two layers for each of keys and values."""
    generator = torch.Generator().manual_seed(4)

    def part() -> dict[str, torch.Tensor]:
        shapes = {"linear.0.weight": (128, TEXT_WIDTH), "linear.1.weight": (TEXT_WIDTH, 128)}
        made = {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        return made | {"linear.0.bias": torch.zeros(128), "linear.1.bias": torch.zeros(TEXT_WIDTH)}

    path = tmp_path / "hyper.pt"
    torch.save({TEXT_WIDTH: [part(), part()], "activation_func": "relu"}, path)
    patch = load_hypernetwork_patch(str(path), 1.0)
    clone = model.clone()
    clone.set_model_attn2_patch(patch)
    return clone


def hooked(model: Any, *, scheduled: bool) -> Any:
    """A LoRA hook on the conditioning, as Set CLIP Hooks or Cond Set Props put it there."""
    hooks = comfy.hooks.create_hook_lora(lora(model), 1.0, 1.0)
    if scheduled:
        frames = comfy.hooks.HookKeyframeGroup()
        frames.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
        frames.add(comfy.hooks.HookKeyframe(strength=0.2, start_percent=0.4))
        hooks.set_keyframes_on_hooks(frames)
    return hooks


def test_a_plain_run_answers_with_a_words_own_share(sd15: Any) -> None:
    """Oracle: the word's own column: the same key beside the same queries has the same share."""
    recording = run(sd15, worded())
    assert torch.equal(recording.contexts[POSITIVE, 0], worded()[0][0])
    assert asked_again(sd15, recording, worded()) < 1e-4


def test_under_a_hypernetwork_the_new_words_go_through_it_too(sd15: Any, tmp_path: Any) -> None:
    """Oracle: the word's own column; and the same model without the hypernetwork is refused with the reason."""
    model = with_hypernetwork(sd15, tmp_path)
    recording = run(model, worded())
    assert asked_again(model, recording, worded()) < 1e-4
    with pytest.raises(InputError, match=r"different keys than in that run.*hypernetwork"):
        asked_again(sd15, recording, worded())


@pytest.mark.parametrize("scheduled", [False, True], ids=["fixed", "scheduled"])
def test_under_a_lora_hook_every_step_has_its_own_keys(sd15: Any, scheduled: bool) -> None:
    """Oracle: the word's own column at every step, also where the hook's strength changes; without it a refusal."""
    hooks = hooked(sd15, scheduled=scheduled)
    recording = run(sd15, worded({"hooks": hooks}))
    assert asked_again(sd15, recording, worded({"hooks": hooks})) < 1e-4
    with pytest.raises(InputError, match=r"different keys than in that run.*hooks"):
        asked_again(sd15, recording, worded())


def test_a_lora_in_bypass_mode_is_on_the_path(sd15: Any) -> None:
    """Oracle: the word's own column; the model without the LoRA is refused."""
    model, _ = comfy.sd.load_bypass_lora_for_models(sd15, None, lora(sd15), 1.0, 1.0)
    recording = run(model, worded())
    assert asked_again(model, recording, worded()) < 1e-4
    with pytest.raises(InputError, match="different keys than in that run"):
        asked_again(sd15, recording, worded())


def test_asking_a_watched_model_records_nothing_more(sd15: Any) -> None:
    """Oracle: the book's runs, counted: the MODEL that Record Attention gave may be wired again."""
    selection = Selection(precision=torch.float32, keep_queries=True, branches=(POSITIVE,))
    watched, book = record_attention(sd15, selection)
    recording = book.find(sample(watched, worded(), conditioning(seed=2), Run(steps=STEPS)))[0]
    assert asked_again(watched, recording, worded()) < 1e-4
    assert len(book.runs) == 1
