"""A patch that changes the size of a block's features for some steps: every map keeps the grid that it was made on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import comfy.sample
import pytest
import torch
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale
from comfy_extras.nodes_model_downscale import PatchModelAddDownscale
from pack.host.recording.unet import record_attention
from pack.scenescope.attention.draw.figure import Layouting, draw
from pack.scenescope.attention.draw.render import Style
from pack.scenescope.attention.files.viewer import write_view
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import POSITIVE, Selection
from pack.scenescope.dims import Grid
from pack.tests.support.host.runs import Run, conditioning, sample
from pack.tests.support.host.watching import every_projection, slow_softmax
from pack.tests.support.recordings import match
from pack.tests.support.viewfiles import read

LATENT, STEPS, COLUMN = Grid(16, 16), 6, 5
LEVELS = {256: 0, 64: 1, 16: 2, 4: 3}


def downscaled(model: Any, *widgets: Any) -> Any:
    """The stock node, with its defaults where nothing else is given."""
    widgets = widgets or (3, 2.0, 0.0, 0.35, True, "bicubic", "bicubic")
    return PatchModelAddDownscale.execute(model, *widgets).result[0]


def recorded(model: Any, sampler: str = "euler", selection: Selection | None = None) -> Recording:
    """Sample a 128x128 picture with a watched clone."""
    watched, book = record_attention(model, selection or Selection(precision=torch.float32))
    run = Run(size=tuple(LATENT), steps=STEPS, sampler=sampler)
    return book.find(sample(watched, conditioning(seed=1), conditioning(seed=2), run))[0]


@pytest.fixture(scope="module")
def recording(small_models: Any) -> Recording:
    """A run with the stock node's defaults; never changed by the tests."""
    with torch.inference_mode():
        return recorded(downscaled(small_models["sd15"].clone()))


@pytest.fixture(scope="module")
def calls(small_models: Any) -> list[dict[str, Any]]:
    """Queries and keys of the same run without the pack."""
    model = downscaled(small_models["sd15"].clone())
    with torch.inference_mode(), every_projection(model) as calls:
        sample(model, conditioning(seed=1), conditioning(seed=2), Run(size=tuple(LATENT), steps=STEPS))
    return calls


def by_hand(calls: list[dict[str, Any]], level: int) -> tuple[torch.Tensor, dict[int, set[int]]]:
    """One column's mean map over the layers of a level, from a run without the pack: (height width) float64.

    Returns:
        mean: every layer of a step counts the same, then every step
        cells: for each step, the sizes that the level's layers worked on
    """
    cross = [call for call in calls if call["name"].endswith("attn2")]
    per_step, goal = len(cross) // STEPS, LATENT.coarser(2**level)
    names = [call["name"] for call in cross[-per_step:]]
    usual = {name: LEVELS[call["query"].shape[1]] for name, call in zip(names, cross[-per_step:], strict=True)}
    total, cells = torch.zeros(tuple(goal), dtype=torch.float64), {}
    for step in range(STEPS):
        layers = [call for call in cross[step * per_step :][:per_step] if usual[call["name"]] == level]
        cells[step] = {call["query"].shape[1] for call in layers}
        for call in layers:
            maps = slow_softmax(call["query"], call["key"], call["heads"])[1, ..., COLUMN].mean(dim=0)
            side = round(len(maps) ** 0.5)
            placed = torch.nn.functional.interpolate(
                maps.reshape(1, 1, side, side), size=tuple(goal), mode="bilinear", antialias=False
            )
            total += placed[0, 0] / len(layers) / STEPS
    return total, cells


@pytest.mark.parametrize(("resolution", "level"), [("latent", 0), ("latent/2", 1), ("latent/4", 2)])
def test_a_heatmap_is_the_mean_of_all_maps_whatever_grid_each_was_made_on(
    recording: Recording, calls: list[dict[str, Any]], resolution: str, level: int
) -> None:
    """Oracle: queries and keys of a run without the pack, a float64 softmax, and torch's own bilinear resampling."""
    truth, cells = by_hand(calls, level)
    maps = heatmaps(recording, [match("star", (COLUMN,))], View(resolution=resolution))
    assert maps.values[0, ..., 0].double() == pytest.approx(truth, abs=1e-6)
    mixed = len(set().union(*cells.values())) > 1
    assert mixed == (level > 0)
    assert bool(maps.resampled) == mixed


def test_every_map_says_the_grid_that_it_was_made_on(recording: Recording) -> None:
    """Oracle: by hand: from input 3 on all is halved once more in the steps above the node's last sigma."""
    positive = recording.where(lambda at: at.branch == POSITIVE).maps
    grids = {
        block: [item.query_grid for item in positive if item.address.block == block]
        for block in ("input 2", "input 4", "input 7", "middle 0")
    }
    early = len([grid for grid in grids["input 4"] if grid == (4, 4)])
    assert 0 < early < STEPS
    late = STEPS - early
    assert grids == {
        "input 2": [(16, 16)] * STEPS,
        "input 4": [(4, 4)] * early + [(8, 8)] * late,
        "input 7": [(2, 2)] * early + [(4, 4)] * late,
        "middle 0": [(1, 1)] * early + [(2, 2)] * late,
    }
    assert "made on 4x4 by layers of another grid" in recording.describe()


def test_a_sampler_that_enlarges_the_picture_keeps_the_maps_of_its_first_size_and_says_so(sd15: Any) -> None:
    """Oracle: by hand: SamplerLCMUpscale goes from 8x8 to 12x12 and 16x16; what was made there is counted by size."""
    watched, book = record_attention(sd15, Selection(precision=torch.float32))
    sampler = SamplerLCMUpscale.execute(2.0, 2, "bilinear").result[0]
    blank, levels = torch.zeros(1, 4, 8, 8), torch.tensor([14.6, 8.0, 3.0, 0.0])
    noise, prompts = comfy.sample.prepare_noise(blank, 0), (conditioning(seed=1), conditioning(seed=2))
    result = comfy.sample.sample_custom(watched, noise, 2.0, sampler, levels, *prompts, blank, seed=0)
    assert result.shape[2:] == (16, 16)
    recording = book.find(result)[0]
    assert {item.address.step for item in recording.maps} == {0}
    said = "a call for larger latents, {0}x{0} where the run began with 8x8 (a sampler that upscales)"
    assert recording.skipped == {said.format(12): 1, said.format(16): 1}
    assert (
        draw(recording, (match("star", (COLUMN,)),), View(), Layouting(Style(Grid(128, 128)))).images.isfinite().all()
    )


@pytest.mark.parametrize("resolution", ["latent", "latent/2", "latent/4", "latent/8", "all"])
@pytest.mark.parametrize("layout", ["sheet", "captioned", "plain", "animation"])
def test_every_resolution_and_layout_can_be_drawn_and_the_report_says_what_was_mixed(
    recording: Recording, resolution: str, layout: str
) -> None:
    """Oracle: the report's own count of maps, and that pictures come out."""
    plan = Layouting(Style(size=Grid(64, 64)), layout=layout)  # type: ignore[arg-type]
    figure = draw(recording, [match("star", (COLUMN,))], View(resolution=resolution), plan)
    assert figure.images.isfinite().all()
    report = json.loads(figure.report)
    assert bool(report["maps made on other grids"]) == (resolution != "latent")
    assert report["maps"] >= sum(report["maps made on other grids"].values())


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2s_ancestral"])
@pytest.mark.parametrize("heads", ["mean", "each"])
def test_the_viewers_file_has_every_block_at_every_step(sd15: Any, tmp_path: Path, sampler: str, heads: str) -> None:
    """Oracle: the core's aggregation of one block at one step; second-order steps mix grids within a step."""
    selection = Selection(precision=torch.float32, evaluations="all", heads=heads)  # type: ignore[arg-type]
    recording = recorded(downscaled(sd15), sampler, selection)
    write_view(recording, tmp_path / "maps.view")
    header, planes = read(tmp_path / "maps.view")
    entry = header["entries"][0]
    names = [block["name"] for block in entry["blocks"]]
    assert entry["blocks"][names.index("input 4")]["others"] == [[4, 4]]
    assert entry["blocks"][names.index("input 2")]["others"] == []
    for step in (0, STEPS - 1):
        for block in ("input 2", "input 4", "output 5", "middle 0"):
            grid = "x".join(map(str, entry["blocks"][names.index(block)]["grid"]))
            view = View("all", grid, block, steps=str(step))
            truth = heatmaps(recording, [match("star", (COLUMN,))], view).values[0, ..., 0]
            plane = planes[0, 0, entry["frames"].index([step, -1]), names.index(block), COLUMN]
            assert plane == pytest.approx(truth.numpy(), abs=float(truth.max()) / 300)


@pytest.mark.parametrize("factor", [0.5, 1.7, 3.0])
def test_larger_and_odd_grids_are_kept_as_they_are_too(sd15: Any, tmp_path: Path, factor: float) -> None:
    """Oracle: the host's own rounding of the features' size; nothing was skipped."""
    recording = recorded(downscaled(sd15, 3, factor, 0.0, 1.0, False, "bilinear", "nearest-exact"))
    assert not recording.skipped
    side = -(-round(16 / factor) // 2)
    assert {item.query_grid for item in recording.maps if item.address.block == "input 4"} == {(side, side)}
    write_view(recording, tmp_path / "maps.view")
    assert heatmaps(recording, [match("star", (COLUMN,))], View("latent/2")).values.isfinite().all()


def test_self_attention_of_changing_grids_still_refines(sd15: Any) -> None:
    """Oracle: an invariant: every row of each grid's matrix sums to 1."""
    from pack.scenescope.attention.read.masks import refine, self_attention

    recording = recorded(downscaled(sd15), selection=Selection(kinds=("cross", "self"), precision=torch.float32))
    attention = self_attention(recording)
    assert {(8, 8), (4, 4), (2, 2)} <= set(attention)
    for rows in attention.values():
        assert rows.sum(dim=-1) == pytest.approx(torch.ones(rows.shape[:-1]), abs=1e-5)
    assert refine(torch.rand(1, 16, 16), attention, 1).isfinite().all()
