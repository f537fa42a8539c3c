"""Words steered in the real host: exact, composable, and without a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.ldm.modules.attention as host_attention
import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch, optimized_attention
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from pack.host.acting.run import with_act
from pack.host.prompts.text import TOKENS_KEY
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.act.place import Place
from pack.scenescope.attention.act.steer import Steering
from pack.scenescope.attention.record.recording import AttentionMap, Recording
from pack.scenescope.attention.record.selection import NEGATIVE, POSITIVE, Selection
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.errors import InputError, WordError
from pack.tests.support.host.runs import Run, conditioning, sample
from pack.tests.support.host.watching import hooks_left

pytestmark = pytest.mark.filterwarnings("ignore:Should have t:UserWarning:torchsde")
WORDS = ("a", "red", "circle", "and", "a", "blue", "square")
COLUMNS = (2, 3)  # of red circle
LEFT = torch.zeros(1, 64, 96)
LEFT[..., :48] = 1
PLACED = Steering("red circle", 6.0, -6.0, Place(LEFT))
EACH = Selection(heads="each", precision=torch.float32)


def table(tokens: int = 77) -> TokenTable:
    """The start, seven words, then padding."""
    words = [Token(at + 1, 0, at + 1, "text", word, at) for at, word in enumerate(WORDS)]
    rest = [Token(at, at // 77, at % 77, "padding", "", None) for at in range(1 + len(WORDS), tokens)]
    return TokenTable(" ".join(WORDS), (Token(0, 0, 0, "start", "", None), *words, *rest))


def prompt(tokens: int = 77, **options: Any) -> Any:
    """A random prompt that carries its words."""
    return conditioning(tokens, seed=1, **{TOKENS_KEY: table(tokens)}, **options)


def steered(model: Any, *steerings: Steering) -> Any:
    """The model with acts, one after the other."""
    for steering in steerings:
        model = with_act(model, steering)
    return model


def run(model: Any, settings: Run | None = None, positive: Any = None, negative: Any = None, **more: Any) -> Any:
    """Sample; the prompts are the same every time."""
    return sample(model, positive or prompt(), negative or conditioning(seed=2), settings, **more)


def recording_of(
    model: Any, selection: Selection = EACH, settings: Run | None = None, **more: Any
) -> tuple[Recording, torch.Tensor]:
    """Sample and record."""
    watched, book = record_attention(model, selection)
    latent = run(watched, settings, **more)
    return book.find(latent)[0], latent


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of two latents in standard deviations; the random models' latents are in the hundreds."""
    return float((one - other).abs().max() / other.std())


def backend(monkeypatch: Any, name: str) -> None:
    """Let the host use one of its kernels."""
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.wrap_attn(getattr(host_attention, name)))


def by_override(model: Any, bias: torch.Tensor) -> Any:
    """The same odds by the host's own means: an override that hands its SDPA a mask; one grid, the positive's row."""
    owner = model.clone()

    def override(function: Any, q: Any, k: Any, v: Any, heads: int, *args: Any, **kwargs: Any) -> Any:
        if k.shape[1] != bias.shape[-1] or q.shape[1] != bias.shape[-2]:
            return function(q, k, v, heads, *args, **kwargs)
        mask = torch.cat([torch.zeros_like(bias), bias])  # the host puts the negative first
        return attention_pytorch(q, k, v, heads, mask=mask[:, None].to(q))

    owner.model_options.setdefault("transformer_options", {})["optimized_attention_override"] = override
    return owner


def bias_on_latent(strength: float, outside: float) -> torch.Tensor:
    """(1 query token) of the 8x12 latent with its left half inside, by hand."""
    bias = torch.zeros(1, 8, 12, 77)
    for column in COLUMNS:
        bias[:, :, :6, column], bias[:, :, 6:, column] = strength, outside
    return bias.flatten(1, 2)


FINEST = replace(PLACED, blocks="input 1, input 2, output 9, output 10, output 11")


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "dpm_2", "heun", "dpmpp_sde", "uni_pc"])
def test_steering_is_attention_with_an_additive_mask(sd15: Any, sampler: str) -> None:
    """Oracle: the host's own override slot and SDPA with the mask written by hand, with every kind of sampler."""
    settings = Run(sampler=sampler, steps=3)
    wanted = run(by_override(sd15, bias_on_latent(6.0, -6.0)), settings)
    assert apart(run(steered(sd15, FINEST), settings), wanted) < 1e-4
    assert apart(run(sd15, settings), wanted) > 0.05


@pytest.mark.parametrize("name", ["attention_sub_quad", "attention_split", "attention_pytorch", "attention_basic"])
def test_no_strength_or_no_step_is_bit_identical_on_every_backend(sd15: Any, name: str, monkeypatch: Any) -> None:
    """Oracle: the run without acts; where there is a strength, the same picture on every kernel to rounding."""
    reference = run(steered(sd15, PLACED))
    backend(monkeypatch, name)
    plain = run(sd15)
    nothing = replace(PLACED, strength=0.0, outside=0.0)
    assert torch.equal(plain, run(steered(sd15, nothing, replace(PLACED, start=0.5, end=0.5))))
    late = run(steered(sd15, replace(PLACED, start=0.5)))
    assert not torch.equal(plain, late)
    assert apart(run(steered(sd15, PLACED)), reference) < 1e-4


@pytest.mark.parametrize("order", ["recorder first", "act first"])
def test_a_steered_run_shows_its_steered_maps_and_on_request_those_before(sd15: Any, order: str) -> None:
    """Oracle: closed form: odds times e^6 inside and e^-6 outside, head by head, cell by cell."""
    before_too = replace(EACH, steered=False)
    if order == "recorder first":
        after_model, after_book = record_attention(sd15, EACH)
        model, before_book = record_attention(after_model, before_too)
        latent = run(steered(model, PLACED))
    else:
        after_model, after_book = record_attention(steered(sd15, PLACED), EACH)
        model, before_book = record_attention(after_model, before_too)
        latent = run(model)
    before, after = before_book.find(latent)[0], after_book.find(latent)[0]
    assert torch.equal(latent, run(steered(sd15, PLACED)))
    for one, other in zip(before.maps, after.maps, strict=True):
        if one.address.branch == NEGATIVE:
            assert torch.equal(one.maps, other.maps)
        else:
            assert torch.allclose(closed_form(one), other.maps, atol=2e-6)


def closed_form(before: AttentionMap) -> torch.Tensor:
    """What +6 on the left half and -6 on the right make of shares."""
    grid = before.query_grid
    inside = (12 / grid.width * torch.arange(grid.width) < 6).float()
    if grid.width % 2:
        inside[grid.width // 2] = 0.5
    odds = (6.0 * (2 * inside - 1)).expand(grid).flatten()[:, None]
    shares = before.maps.double()
    own = shares[..., list(COLUMNS)]
    grown = 1 + own.sum(dim=-1, keepdim=True) * (odds.exp() - 1)
    shares = shares / grown
    shares[..., list(COLUMNS)] = own * odds.exp() / grown
    return shares.float()


def test_acts_add_up_in_any_order_and_meet_in_one_softmax(sd15: Any) -> None:
    """Oracle: one act with the sum."""
    halves = replace(PLACED, strength=2.0, outside=-1.0), replace(PLACED, strength=4.0, outside=-5.0)
    whole = run(steered(sd15, PLACED))
    assert apart(run(steered(sd15, *halves)), whole) < 1e-5
    assert apart(run(steered(sd15, *reversed(halves))), whole) < 1e-5


def replaced(model: Any) -> Any:
    """A node that owns attn2's slot on every block and adds attention of its own, as IPAdapter does."""
    owner = model.clone()

    def foreign(q: Any, k: Any, v: Any, extra: dict[str, Any]) -> Any:
        return optimized_attention(q, k, v, extra["n_heads"]) + 0.1 * q

    for section, numbers in (("input", (1, 2, 4, 5, 7, 8)), ("middle", (0,)), ("output", range(3, 12))):
        for number in numbers:
            owner.set_model_attn2_replace(foreign, section, number)
    return owner


def test_a_layer_that_a_replace_patch_owns_is_steered_all_the_same(sd15: Any) -> None:
    """Oracle: an owner that does both, written out."""
    bias = bias_on_latent(6.0, -6.0)
    both = sd15.clone()

    def owner(q: Any, k: Any, v: Any, extra: dict[str, Any]) -> Any:
        mask = torch.cat([torch.zeros_like(bias), bias])[:, None] if q.shape[1] == bias.shape[1] else None
        return attention_pytorch(q, k, v, extra["n_heads"], mask=mask) + 0.1 * q

    for section, numbers in (("input", (1, 2, 4, 5, 7, 8)), ("middle", (0,)), ("output", range(3, 12))):
        for number in numbers:
            both.set_model_attn2_replace(owner, section, number)
    assert apart(run(steered(replaced(sd15), FINEST)), run(both)) < 1e-4
    assert apart(run(replaced(steered(sd15, FINEST))), run(both)) < 1e-4


@pytest.mark.parametrize("guidance", ["sag", "pag"])
def test_every_pass_of_a_guidance_is_steered(sd15: Any, guidance: str) -> None:
    """Oracle: the override with the mask, which is asked in every pass too."""

    def guided(model: Any) -> Any:
        node = SelfAttentionGuidance.execute(model, 0.5, 2.0) if guidance == "sag" else None
        return (node or PerturbedAttentionGuidance.execute(model, 3.0))[0]

    settings = Run(size=(16, 24))
    plain, acted = run(guided(sd15), settings), run(steered(guided(sd15), PLACED), settings)
    assert acted.isfinite().all()
    assert apart(acted, plain) > 0.05
    assert torch.equal(acted, run(guided(steered(sd15, PLACED)), settings))


@pytest.mark.parametrize("together", [True, False])
def test_prompts_of_unequal_length_are_steered_in_one_call_or_two(sd15: Any, together: bool, monkeypatch: Any) -> None:
    """Oracle: the closed form on the maps of the same run; in one call 77 columns run as 154."""
    if not together:
        monkeypatch.setattr(type(sd15), "get_free_memory", lambda self, device: 0)
    before_model, before_book = record_attention(steered(sd15, PLACED), replace(EACH, steered=False))
    after, latent = recording_of(before_model, negative=conditioning(154, seed=2))
    before = before_book.find(latent)[0]
    assert not after.skipped
    positive = [pair for pair in zip(before.maps, after.maps, strict=True) if pair[0].address.branch == POSITIVE]
    assert len(positive) == 2 * 16
    assert all(torch.allclose(closed_form(one), other.maps, atol=3e-6) for one, other in positive)


def test_an_area_is_steered_by_its_own_part_of_the_mask(sd15: Any) -> None:
    """Oracle: an area that is the mask's inside behaves as a strength everywhere."""
    area = prompt(area=(8, 6, 0, 0))
    placed = run(steered(sd15, PLACED), positive=prompt() + area)
    everywhere = Steering("red circle", 6.0, entry=1)
    both = run(steered(sd15, replace(PLACED, entry=0), everywhere), positive=prompt() + area)
    assert apart(placed, both) < 1e-5


@pytest.mark.parametrize("name", ["sd15", "sd15_half", "sd2", "sdxl"])
def test_every_family_and_batch_is_steered(small_models: Any, name: str) -> None:
    """Oracle: the phrase's mean share, inside more than before, outside less; the picture stays finite."""
    settings = Run(batch=2)
    before = recording_of(small_models[name].clone(), Selection(precision=torch.float32), settings)[0]
    after, latent = recording_of(
        steered(small_models[name].clone(), PLACED), Selection(precision=torch.float32), settings
    )
    assert latent.isfinite().all()
    assert not after.skipped

    def shares(recording: Recording) -> tuple[float, float]:
        maps = [m for m in recording.maps if m.address.branch == POSITIVE and m.query_grid == (8, 12)] or [
            m for m in recording.maps if m.address.branch == POSITIVE and m.query_grid == (4, 6)
        ]
        own = torch.stack([m.maps[..., list(COLUMNS)].sum(-1).unflatten(-1, tuple(m.query_grid)) for m in maps])
        width = own.shape[-1] // 2
        return float(own[..., :width].mean()), float(own[..., width:].mean())

    assert shares(after)[0] > 0.5 > 4 * shares(before)[0]
    assert shares(after)[1] < 0.1 * shares(before)[1]


class Stopped(Exception):
    """What a cancel raises."""


def test_a_cancelled_run_leaves_no_hook_and_no_act_on_the_model(sd15: Any) -> None:
    """Oracle: hooks counted; the model given gives its own picture."""
    plain = run(sd15)

    def stop(*args: Any) -> None:
        raise Stopped

    model = steered(sd15, PLACED)
    with pytest.raises(Stopped):
        run(model, callback=stop)
    assert hooks_left(model) == 0
    assert "scenescope.act" not in model.model_options.get("transformer_options", {})
    assert torch.equal(plain, run(sd15))
    assert torch.equal(run(model), run(steered(sd15, PLACED)))


@pytest.mark.parametrize(
    ("steering", "error", "said"),
    [
        (Steering("dog", 2.0), WordError, "dog"),
        (Steering(" ", 2.0), WordError, "no words were given"),
        (Steering("red", 13.0), InputError, "the strength is 13, but log-odds have to be between -12 and 12"),
        (Steering("red", float("nan")), InputError, "the strength is nan"),
        (Steering("red", 2.0, place=Place(torch.zeros(1, 8, 8))), InputError, "the place is empty"),
        (Steering("red", 2.0, place=Place(boxes=((50.0, 0.0, 4.0, 4.0),))), InputError, "outside the picture"),
        (Steering("red", 2.0, place=Place(torch.ones(3, 8, 8))), InputError, "3 masks for 1 picture"),
        (Steering("red", 2.0, branch="negative"), WordError, "the negative conditioning doesn't carry its words"),
        (Steering("red", 2.0, entry=4), InputError, "entry is 4, but this run has positive 0. Choose"),
        (Steering("red", 2.0, branch="both", entry=1), InputError, "but this run has positive 0, negative 0. Choose"),
        (Steering("red", 2.0, outside=float("nan")), InputError, "the strength is nan"),
        (Steering("red", 2.0, blocks="input 99"), InputError, "input 99"),
        (Steering("red", 2.0, heads="9"), InputError, "9"),
    ],
)
def test_what_cannot_be_steered_is_said_before_anything_is_sampled(
    sd15: Any, steering: Steering, error: type[Exception], said: str
) -> None:
    """Oracle: the sentences."""
    with pytest.raises(error, match=said):
        run(with_act(sd15, steering))
