"""What a recorded run leaves: the plan before it, the book after it, and nothing where it failed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from pack.host.recording.runs import RecordedRuns
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.errors import BudgetError, HostError, RecordingError, SelectionError
from pack.tests.support.host.runs import Run, conditioning, recorded, sample
from pack.tests.support.host.watching import hooks_left

SINGLE = Selection(precision=torch.float32)


def test_two_samplers_on_one_recorder_are_kept_apart_and_recognised_by_their_latent(sd15: Any) -> None:
    """Oracle: each run's own grid (hires fix)."""
    watched, book = record_attention(sd15, SINGLE)
    first = sample(watched, conditioning(seed=1), conditioning(seed=2), Run(size=(8, 12)))
    second = sample(watched, conditioning(seed=1), conditioning(seed=2), Run(size=(16, 24), denoise=0.6))
    assert book.find(first)[0].latent == (8, 12)
    assert book.find(second)[0].latent == (16, 24)
    assert book.find(None)[0].latent == (16, 24)
    assert book.find(None, 1)[0].latent == (8, 12)
    assert "the last" in book.find(torch.zeros(1, 4, 3, 3))[1]
    with pytest.raises(RecordingError, match="there is no run 3. Choose 1 to 2"):
        book.find(None, 3)


def test_an_empty_record_says_why(sd15: Any) -> None:
    """Oracle: the message."""
    _, book = record_attention(sd15, SINGLE)
    with pytest.raises(RecordingError, match="nothing has been recorded"):
        book.find(None)


class Cancelled(Exception):
    """Stands for the host's interrupt."""


@pytest.mark.parametrize("when", [0, 1])
def test_a_cancelled_run_leaves_nothing_behind(sd15: Any, when: int) -> None:
    """Oracle: hooks, options and live recorders counted before and after; the next plain run's bits."""
    plain = sample(sd15, conditioning(seed=1), conditioning(seed=2))
    before = hooks_left(sd15)
    watched, book = record_attention(sd15, SINGLE)

    def stop(step: int, *_: Any) -> None:
        if step == when:
            raise Cancelled

    import pack.host.recording.unet as host_unet

    alive: list[Any] = []
    kept = host_unet.Recorder

    class Counted(kept):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            alive.append(weakref.ref(self))

    host_unet.Recorder = Counted
    try:
        with pytest.raises(Cancelled):
            sample(watched, conditioning(seed=1), conditioning(seed=2), callback=stop)
    finally:
        host_unet.Recorder = kept
    gc.collect()
    assert len(alive) == 1
    assert alive[0]() is None
    assert hooks_left(sd15) == before == 0
    assert not book.runs
    assert torch.equal(plain, sample(sd15, conditioning(seed=1), conditioning(seed=2)))
    assert "scenescope" not in str(watched.model_options)
    assert torch.equal(plain, sample(watched, conditioning(seed=1), conditioning(seed=2)))


def test_a_failing_model_call_leaves_no_hook(sd15: Any) -> None:
    """Oracle: hooks counted after an attention patch raised in the middle of the U-Net."""
    watched, book = record_attention(sd15, SINGLE)

    def fail(n: Any, context: Any, value: Any, extra: dict[str, Any]) -> Any:
        if extra["block"] == ("middle", 0):
            raise ValueError("a patch of somebody else")
        return n, context, value

    watched.set_model_attn2_patch(fail)
    with pytest.raises(ValueError, match="somebody else"):
        sample(watched, conditioning(seed=1), conditioning(seed=2))
    assert hooks_left(sd15) == 0
    assert not book.runs


def test_the_model_given_is_not_changed(sd15: Any) -> None:
    """Oracle: its options before and after."""
    before = str(sd15.model_options)
    recorded(sd15)
    assert str(sd15.model_options) == before


def test_a_compiled_model_is_refused_with_the_reason(sd15: Any) -> None:
    """Oracle: the message; once with the host's wrapper, once with a compiled module."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    compiled = sd15.clone()
    set_torch_compile_wrapper(model=compiled, backend="eager")
    for model in (compiled,):
        with pytest.raises(HostError, match=r"compiled with torch\.compile"):
            recorded(model)
    watched, _ = record_attention(sd15, SINGLE)
    set_torch_compile_wrapper(model=watched, backend="eager")  # the other order
    with pytest.raises(HostError, match="Bypass the compile node"):
        sample(watched, conditioning(), conditioning())
    assert hooks_left(sd15) == 0


def test_over_budget_is_refused_before_sampling_with_a_selection_that_fits(sd15: Any) -> None:
    """Oracle: the error's own advice is followed, and then it runs."""
    small = Selection(heads="each", budget=300_000)
    called: list[int] = []
    with pytest.raises(BudgetError, match="heads `mean`") as caught:
        recorded(sd15, Run(steps=8), small, callback=lambda *_: called.append(1))
    assert not called
    assert "which needs" in str(caught.value)


def test_the_plan_is_what_is_held_afterwards(sd15: Any) -> None:
    """Oracle: bytes counted on the tensors that were kept."""
    selection = Selection(kinds=("cross", "self"), keep_queries=True, heads="each", steps="0, 2")
    watched, book = record_attention(sd15, selection)
    positive = [*conditioning(154, seed=1), *conditioning(seed=3, area=(4, 6, 2, 6))]
    planned: list[int] = []
    import pack.host.recording.unet as host_unet

    kept = host_unet.Recorder

    class Planned(kept):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            planned.append(self.plan.total)

    host_unet.Recorder = Planned
    try:
        latent = sample(watched, positive, conditioning(seed=2), Run(steps=3, batch=2))
    finally:
        host_unet.Recorder = kept
    assert planned == [book.find(latent)[0].bytes_held]


def test_a_wrong_block_or_step_is_refused_by_name(sd15: Any) -> None:
    """Oracle: the message lists what there is."""
    with pytest.raises(SelectionError, match=r"'input 3' is not a block.*input 4"):
        recorded(sd15, selection=Selection(blocks="input 3"))
    with pytest.raises(SelectionError, match=r"matches no step of this run, which has 2 steps \(0 to 1\)"):
        recorded(sd15, selection=Selection(steps="7"))


def test_a_lora_shows_in_the_maps(sd15: Any) -> None:
    """Oracle: an invariant: changed keys, changed maps; and the reference softmax on the patched weights."""
    plain, _ = recorded(sd15)
    patched = sd15.clone()
    name = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    delta = torch.randn(patched.model.state_dict()[name].shape, generator=torch.Generator().manual_seed(9))
    patched.add_patches({name: ("diff", (delta,))}, 0.5)
    changed, _ = recorded(patched)
    pairs = [
        (one.maps, other.maps)
        for one, other in zip(plain.maps, changed.maps, strict=True)
        if (one.address.block, one.address.step) == ("middle 0", 0)
    ]
    assert pairs
    assert all(not torch.allclose(one, other) for one, other in pairs)
    assert plain.about["model_hash"] == changed.about["model_hash"]


def test_the_run_is_described(sd15: Any) -> None:
    """Oracle: what was asked for."""
    recording, _ = recorded(sd15, Run(seed=42, cfg=5.0, sampler="dpmpp_2m"))
    assert recording.about["seed"] == 42
    assert recording.about["cfg"] == 5.0
    assert recording.about["sampler"] == "sample_dpmpp_2m"
    assert len(str(recording.about["model_hash"])) == 16


def test_a_run_whose_maps_were_dropped_says_so(sd15: Any) -> None:
    """Oracle: counted by hand: nine runs, of which the newest eight are kept."""
    watched, book = record_attention(sd15, Selection(blocks="middle 0", steps="0"))
    latents = [sample(watched, conditioning(seed=1), conditioning(seed=2), Run(seed=seed)) for seed in range(9)]
    with pytest.raises(RecordingError, match="are gone; a recorder keeps the last 8 runs"):
        book.find(latents[0])
    assert book.find(latents[1])[1] == "run 2 of 9, the one that made this latent"
    assert book.find(latents[8])[1] == "run 9 of 9, the one that made this latent"


def test_older_runs_of_the_same_sampler_make_room(sd15: Any) -> None:
    """Oracle: counted by hand; the host hands out the same recorder in every prompt."""
    from comfy_execution.utils import CurrentNodeContext

    watched, book = record_attention(sd15, SINGLE)
    for prompt, node in (("a", "1"), ("a", "2"), ("b", "2"), ("c", "2")):
        with CurrentNodeContext(prompt_id=prompt, node_id=node):
            sample(watched, conditioning(seed=1), conditioning(seed=2))
    assert [(run.prompt, run.node) for run in book.runs] == [("a", "1"), ("c", "2")]
    assert isinstance(book, RecordedRuns)
