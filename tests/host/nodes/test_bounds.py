"""What sizes, counts and numbers cost: every number has bounds, and what is too costly is refused before it is paid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch
from comfy_api.latest import io
from pack.host.acting.region import region_mask
from pack.host.concepts.generate import generate
from pack.host.demo import load_demo_model
from pack.host.training.memory import refuse_hopeless
from pack.nodes import NODES
from pack.nodes.generate import request_of
from pack.nodes.widgets import bounds
from pack.nodes.widgets.bounds import Bound
from pack.scenescope.attention.act.region import RegionTrack
from pack.scenescope.attention.draw.affinity import draw_seen
from pack.scenescope.attention.draw.figure import Layouting, draw, draw_comparison
from pack.scenescope.attention.draw.render import Style, overlay
from pack.scenescope.attention.read.view import View
from pack.scenescope.cost import MOST_BYTES
from pack.scenescope.dims import Grid
from pack.scenescope.errors import HostError, InputError
from pack.scenescope.training.scene.scene import Concept, build_scene
from pack.scenescope.training.settings import Settings, lora_settings
from pack.tests.support.host.learned import made_up
from pack.tests.support.host.learning import small_scene
from pack.tests.support.recordings import Run, entry, match, record

LARGEST = Grid(4096, 4096)
NAMED = {name: value for name, value in vars(bounds).items() if isinstance(value, Bound)}
SETTINGS = {each.name: each.metadata["bounds"] for each in fields(Settings) if each.metadata.get("bounds")}


def numbers(sockets: list[Any]) -> Iterator[Any]:
    """Every widget of a number, those that a choice brings too."""
    for socket in sockets:
        if isinstance(socket, io.DynamicCombo.Input):
            for option in socket.options:
                yield from numbers(option.inputs)
        elif isinstance(socket, io.Int.Input | io.Float.Input):
            yield socket


WIDGETS = [(node.__name__, each) for node in NODES for each in numbers(node.define_schema().inputs)]


@pytest.mark.parametrize(("node", "widget"), WIDGETS, ids=[f"{node}-{each.id}" for node, each in WIDGETS])
def test_every_number_has_bounds_out_of_the_one_list(node: str, widget: Any) -> None:
    """Oracle: by hand: finite bounds around the default, which stand in the list or with a setting of training."""
    assert all(map(math.isfinite, (widget.min, widget.max)))
    assert widget.min <= widget.default <= widget.max
    listed = {(value.least, value.most) for value in NAMED.values()}
    if node == "TrainSettings":
        own = SETTINGS[widget.id]
        assert widget.max == (own.offered or own.most)
        assert widget.min in (own.least, -1.0, 0.0)
    else:
        assert (widget.min, widget.max) in listed


def test_every_bound_says_what_its_most_costs_and_is_some_widgets() -> None:
    """Oracle: by hand."""
    used = {(widget.min, widget.max) for _, widget in WIDGETS}
    for name, bound in NAMED.items():
        assert bound.costs, name
        assert (bound.least, bound.most) in used, name


def test_train_settings_offers_fewer_steps_than_a_file_may_hold() -> None:
    """Oracle: by hand: both widgets end at 100,000; settings of an earlier version's file are taken to a million."""
    ends = {widget.id: widget.max for node, widget in WIDGETS if node == "TrainSettings" and "steps" in widget.id}
    assert ends == {"phase1_steps": 100_000, "phase2_steps": 100_000}
    assert lora_settings(phase1_steps=1_000_000).steps == 1_000_400


def words(count: int) -> list[Any]:
    """So many words, all at the same column."""
    return [match(f"word{at}", (2,)) for at in range(count)]


@pytest.mark.parametrize(("layout", "count"), [("sheet", 60), ("plain", 15), ("captioned", 60), ("animation", 30)])
def test_heatmaps_that_are_too_large_together_are_refused(layout: Any, count: int) -> None:
    """Oracle: by hand: 4096x4096 masks of 67 MB; in `plain` pictures of 201 MB too; an animation has two steps here."""
    recording, plan = record(Run(entries=(entry("a cat"),))), Layouting(Style(LARGEST), layout=layout)
    with pytest.raises(InputError, match=r"^Token Heatmap: the maps would take .* GB .*; 4\.0 GB is the most\. Name"):
        draw(recording, words(count), View(), plan)


def test_a_comparison_of_too_many_words_is_refused() -> None:
    """Oracle: by hand: 60 masks of 67 MB for each of two pictures."""
    recording = record(Run(entries=(entry("a cat"),)))
    with pytest.raises(InputError, match="^Compare Maps: the maps would take 8.1 GB"):
        draw_comparison((recording, recording), (words(60), words(60)), View(), Layouting(Style(LARGEST)))


def test_overlays_that_are_too_large_together_are_refused() -> None:
    """Oracle: by hand: 16 bytes a pixel."""
    picture = torch.zeros(1, 1, 1, 3).expand(1, *LARGEST, 3)
    with pytest.raises(InputError, match=r"^Overlay Heatmap: the pictures would take 26\.8 GB \(100 of 4096x4096"):
        overlay(picture, torch.zeros(100, 2, 2), opacity=0.5)


def test_self_attention_of_too_many_masks_is_refused() -> None:
    """Oracle: by hand: 67 MB a mask."""
    attention = {Grid(2, 2): torch.full((1, 4, 4), 0.25)}
    with pytest.raises(InputError, match="^Self-Attention Map: the maps would take 6.7 GB"):
        draw_seen(attention, torch.ones(100, 2, 2), "auto", Style(LARGEST))


def test_a_region_of_every_step_that_is_too_large_is_refused() -> None:
    """Oracle: by hand: 10,000 masks; one alone is given."""
    track = RegionTrack()
    track.steps = dict.fromkeys(range(10_000), torch.ones(1, 8, 8))
    with pytest.raises(InputError, match=r"^Region Mask: the masks would take 671\.1 GB \(10,000 of 4096x4096"):
        region_mask(track, LARGEST, -2)
    assert region_mask(track, Grid(64, 64), -1).shape == (1, 64, 64)


def test_a_scene_of_too_many_large_masks_is_refused() -> None:
    """Oracle: by hand: a byte for each pixel of each thing in each picture."""
    pictures, mask = torch.zeros(2, 1, 1, 3).expand(2, 6000, 6000, 3), torch.ones(2, 1, 1).expand(2, 6000, 6000)
    concepts = [Concept(f"<asset{at}>") for at in range(64)]
    with pytest.raises(InputError, match=r"^Build Scene: masks would take 4\.6 GB \(128 of 6000x6000 pixels\)"):
        build_scene(pictures, [mask] * 64, concepts, resolution=64)


def test_pictures_of_tokens_that_are_too_many_and_large_are_refused_before_the_first() -> None:
    """Oracle: by hand: 128 seeds of 4096x4096 pixels of 12 bytes; nothing is asked of the models."""
    demo = load_demo_model()
    widgets = {
        "prompt": "<asset0>", "subsets": "all", "negative": "", "seeds": 128, "width": 4096, "height": 4096,
        "maps_of": -1, "strength": 1.0, "base_model": "must match", "seed": 0, "steps": 10_000, "cfg": 7.0,
        "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"^Generate from Tokens: the pictures would take 25\.8 GB \(128 of 4096x4096"):
        generate((None, None, None), made_up(demo), request_of(widgets), None)


def test_a_run_of_training_that_can_never_fit_is_refused_before_anything_is_copied(monkeypatch: Any) -> None:
    """Oracle: by hand: the same run on a device of 100 MB and on one of 64 GB."""
    import comfy.model_management

    model, clip, _ = load_demo_model()
    settings = lora_settings(batch=64, rank=1024)
    monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda device: 10**8)
    with pytest.raises(
        HostError, match=r"needs about .* of memory, and cpu has 100\.0 MB in all\. In this order: lower"
    ):
        refuse_hopeless(model, clip, small_scene(), settings)
    monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda device: 64 * 10**9)
    refuse_hopeless(model, clip, small_scene(), settings)


def test_what_is_ordinary_is_far_from_the_bounds() -> None:
    """Oracle: by hand: an animation of 20 steps and 10 words at 512x512, and 24 pictures of 1024x1024."""
    assert MOST_BYTES / 10 > 20 * 10 * 512 * 512 * 4
    assert MOST_BYTES / 10 > 24 * 1024 * 1024 * 12
