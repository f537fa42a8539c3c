"""The nodes that show maps, in the real host: from a sampling run to pictures, masks and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from pack.host.prompts.text import TOKENS_KEY
from pack.host.prompts.words import picture_size, words_asked
from pack.host.recording.ask import question_of
from pack.host.recording.unet import record_attention
from pack.nodes.ask import AskAgain, CompareMaps
from pack.nodes.heatmap import HeatmapOverlay, TokenHeatmap
from pack.nodes.masks import MapToMask, SelfAttentionMap
from pack.scenescope.attention.read.ask import ask
from pack.scenescope.attention.read.heatmap import heatmaps
from pack.scenescope.attention.read.masks import self_attention
from pack.scenescope.attention.read.view import View
from pack.scenescope.attention.record.recording import Recording
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.words.tokens import Token, TokenTable
from pack.scenescope.dims import Grid
from pack.scenescope.errors import InputError, RecordingError, SelectionError, WordError
from pack.tests.support.host.runs import Run, conditioning, sample
from pack.tests.support.host.watching import every_projection, slow_softmax

KEEP = Selection(kinds=("cross", "self"), keep_queries=True, precision=torch.float32)


def traced(prompt: str, *, seed: int, tokens: int = 77, **options: Any) -> Any:
    """A conditioning of random numbers whose columns are named: one token to a word, the rest padding."""
    words = prompt.split()
    text = [Token(at + 1, 0, at + 1, "text", word, at) for at, word in enumerate(words)]
    rest = [Token(at, at // 77, at % 77, "padding", "", None) for at in range(len(words) + 1, tokens)]
    table = TokenTable(prompt, (Token(0, 0, 0, "start", "", None), *text, *rest))
    return conditioning(tokens, seed=seed, **{TOKENS_KEY: table}, **options)


PROMPT = traced("a cat and a dog", seed=1)


def recorded(model: Any, run: Run | None = None, positive: Any = PROMPT, selection: Selection = KEEP) -> Recording:
    """Sample with the model recorded."""
    watched, book = record_attention(model, selection)
    return book.find(sample(watched, positive, conditioning(seed=2), run))[0]


@pytest.fixture(scope="module")
def recording(small_models: Any) -> Recording:
    """A run as it is by default; never changed by the tests."""
    with torch.inference_mode():
        return recorded(small_models["sd15"].clone())


def defaults(node: Any, **given: Any) -> dict[str, Any]:
    """The node's widgets at their defaults, as the editor sends them."""
    widgets = {
        item.id: item.default for item in node.define_schema().inputs if getattr(item, "default", None) is not None
    }
    return widgets | given


@pytest.fixture(autouse=True)
def previews_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews are written below the test's own folder."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))


def call(node: Any, **given: Any) -> Any:
    """Execute a node as the host does: on a prepared clone of its class."""
    return node.PREPARE_CLASS_CLONE(None).execute(**defaults(node, **given))


def test_a_heatmap_gives_picture_mask_and_report_of_a_real_run(sd15):
    """Oracle: sizes by hand (latent 8x12, so 64x96 pixels), and the core's own maps."""
    recording = recorded(sd15, Run(batch=2))
    output = call(TokenHeatmap, attention_maps=recording, words="cat, dog", normalisation="share")
    image, mask, report = output.result
    assert image.ndim == 4
    assert image.shape[-1] == 3
    assert mask.shape == (4, 64, 96)  # two words outside, two pictures inside
    words = json.loads(report)["words"]
    assert [(word["word"], word["columns"], word["in the prompt"]) for word in words] == [
        ("cat", [[2]], True),
        ("dog", [[5]], True),
    ]
    auto = View(resolution="auto")  # the node's default
    maps = heatmaps(recording, words_asked(recording, auto, "cat"), auto).values
    assert words[0]["images"][1]["largest share"] == pytest.approx(float(maps[1].amax()))
    assert mask[1].mean().item() == pytest.approx(float(maps[1].mean()), rel=0.05)
    assert output.ui["images"]
    assert [word["columns"] for word in output.ui["scenescope_view"][0]["words"]] == [[2], [5]]


@pytest.mark.parametrize(("layout", "count"), [("sheet", 1), ("captioned", 3), ("plain", 3), ("animation", 2)])
def test_every_layout_gives_its_number_of_pictures(recording, layout, count):
    """Oracle: by hand, for a picture, three words and two steps; each word when none is named."""
    image, mask, _ = call(TokenHeatmap, attention_maps=recording, words="", layout=layout).result
    assert image.shape[0] == (4 if layout in ("captioned", "plain") else count)
    assert mask.shape[0] == (8 if layout == "animation" else 4)


def test_the_picture_gives_the_size(recording):
    """Oracle: by hand."""
    picture = torch.rand(1, 120, 200, 3)
    _, mask, _ = call(TokenHeatmap, attention_maps=recording, words="cat", picture=picture).result
    assert mask.shape == (1, 120, 200)
    assert picture_size(recording, None) == Grid(64, 96)


@pytest.mark.parametrize("name", ["sd15", "sd15_half", "sd2", "sdxl"])
def test_every_layout_of_u_net_can_be_shown(small_models, name):
    """Oracle: an invariant. All columns of a map sum to one on a resampled grid, in each model family."""
    recording = recorded(small_models[name].clone(), Run(size=(9, 13), steps=1))
    total = heatmaps(
        recording, words_asked(recording, View(), "<start>, a, cat, and, dog, <padding>"), View("all"), merge="sum"
    )
    whole = total.values.sum(-1) + total.values[..., 1]  # `a` stands twice and was averaged
    torch.testing.assert_close(whole, torch.ones_like(whole), rtol=0, atol=1e-3)


def test_without_cfg_there_is_no_negative_to_show(sd15):
    """Oracle: the message names the branch that is there."""
    with pytest.raises(SelectionError, match="only positive 0"):
        call(TokenHeatmap, attention_maps=recorded(sd15, Run(cfg=1.0)), words="cat", branch="negative")


def test_prompts_of_unequal_length_keep_their_words(sd15):
    """Oracle: the same prompt against a negative of its own length; the maps of the first step agree."""
    long = traced("a cat and a dog", seed=1)
    watched, book = record_attention(sd15, KEEP)
    unequal = book.find(sample(watched, long, conditioning(154, seed=2), Run(steps=1)))[0]
    equal = recorded(sd15, Run(steps=1))
    first, second = (heatmaps(run, words_asked(run, View(), "cat"), View()).values for run in (unequal, equal))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_an_entry_with_an_area_is_shown_where_it_lies(sd15):
    """Oracle: by hand. The left half of a latent of 8x12; the right half of the mask is empty."""
    area = traced("a cat and a dog", seed=1, area=(8, 6, 0, 0))
    recording = recorded(sd15, Run(steps=1), positive=[*area, *traced("a field", seed=3)])
    _, mask, _ = call(
        TokenHeatmap, attention_maps=recording, words="cat", enlarging="cells", resolution="latent"
    ).result
    assert mask[..., :48].min() > 0
    assert not mask[..., 48:].any()
    _, field, _ = call(TokenHeatmap, attention_maps=recording, words="field", entry=1, enlarging="cells").result
    assert field[..., 48:].any()


def test_a_word_that_is_not_there_is_refused_with_those_that_are(sd15, recording):
    """Oracle: the messages."""
    with pytest.raises(WordError, match="'horse' is not in the prompt. It has 'a', 'cat', 'and', 'dog'"):
        call(TokenHeatmap, attention_maps=recording, words="horse")
    with pytest.raises(WordError, match="Put Trace Words"):
        call(TokenHeatmap, attention_maps=recorded(sd15, positive=conditioning(seed=1)), words="cat")


def test_an_overlay_lies_on_the_picture(recording):
    """Oracle: by hand. With opacity 0 the picture comes back for each map."""
    _, mask, _ = call(TokenHeatmap, attention_maps=recording, words="cat, dog").result
    picture = torch.rand(1, 64, 96, 3)
    (same,) = call(HeatmapOverlay, image=picture, mask=mask, opacity=0.0).result
    torch.testing.assert_close(same, picture.expand(2, -1, -1, -1))
    (drawn,) = call(HeatmapOverlay, image=picture, mask=mask).result
    assert not torch.allclose(drawn, same)


def test_an_overlay_with_the_report_has_names_below_its_pictures(recording):
    """Oracle: the overlay without names, which is the upper part; two words have two different strips below."""
    _, mask, report = call(TokenHeatmap, attention_maps=recording, words="cat, dog").result
    picture = torch.rand(1, 64, 96, 3)
    (bare,) = call(HeatmapOverlay, image=picture, mask=mask).result
    (drawn,) = call(HeatmapOverlay, image=picture, mask=mask, names=report).result
    torch.testing.assert_close(drawn[:, :64], bare)
    assert drawn.shape[1] > 64
    assert not torch.equal(drawn[0, 64:], drawn[1, 64:])
    with pytest.raises(InputError, match="Connect Token Heatmap's REPORT"):
        call(HeatmapOverlay, image=picture, mask=mask, names="cat, dog")


def test_a_mask_is_cut_refined_and_measured(sd15, recording):
    """Oracle: the mask itself as the truth has an IoU of 1; refined masks differ; a missing record is named."""
    _, maps, _ = call(TokenHeatmap, attention_maps=recording, words="cat, dog").result
    for method in ("fraction", "otsu"):
        masks, _ = call(MapToMask, mask=maps, method=method).result
        assert set(masks.unique().tolist()) == {0.0, 1.0}
        _, fit = call(MapToMask, mask=maps, method=method, truth=masks).result
        assert fit == 1.0
    refined, _ = call(MapToMask, mask=maps, refine=2, attention_maps=recording).result
    assert not torch.equal(refined, call(MapToMask, mask=maps).result[0])
    with pytest.raises(InputError, match="refining needs self-attention"):
        call(MapToMask, mask=maps, refine=1)
    with pytest.raises(RecordingError, match="cross and self"):
        call(MapToMask, mask=maps, refine=1, attention_maps=recorded(sd15, selection=Selection()))


def test_self_attention_is_seen_from_a_point_from_a_mask_and_as_components(sd15, recording):
    """Oracle: the recording's own aggregate: a mask of all places sees the mean of its rows; the sentences."""
    attention = self_attention(recording)
    picture = torch.rand(1, *(8 * side for side in recording.latent), 3)
    _, parts, report = call(SelfAttentionMap, attention_maps=recording, picture=picture, count=2).result
    assert parts.shape == (2, *picture.shape[1:3])
    assert sum(json.loads(report)["shares of the differences"][0]) <= 1
    sheet, point, _ = call(SelfAttentionMap, attention_maps=recording, show="point", grid="coarsest").result
    assert sheet.min() < sheet.max()
    assert point.amax() == pytest.approx(1, abs=0.05)
    white = torch.ones(1, 8, 8)
    _, _, report = call(SelfAttentionMap, attention_maps=recording, show="mask", mask=white, grid="finest").result
    finest = attention[max(attention, key=lambda grid: grid.cells)]
    assert json.loads(report)["largest share"] == pytest.approx(float(finest.mean(dim=1).amax()), rel=1e-4)
    with pytest.raises(InputError, match="no mask is connected"):
        call(SelfAttentionMap, attention_maps=recording, show="mask")
    with pytest.raises(RecordingError, match="cross and self"):
        call(SelfAttentionMap, attention_maps=recorded(sd15, selection=Selection()))


@pytest.mark.parametrize("name", ["sd15", "sd2", "sdxl"])
def test_asking_again_is_what_the_layers_would_have_computed_with_the_new_keys(small_models, name):
    """Oracle: a float64 softmax over the run's own keys, seen by other hooks, and `to_k` of the new words by hand."""
    model = small_models[name].clone()
    new = traced("tall bird", seed=9)
    with every_projection(model) as calls:
        recording = recorded(model, Run(steps=1, cfg=1.0))
    (answer,) = call(AskAgain, model=model, attention_maps=recording, conditioning=new).result
    modules = dict(model.model.diffusion_model.named_modules())
    cross = [item for item in calls if item["name"].endswith("attn2")]
    found = [item for item in answer.maps if item.address.kind == "cross"]
    assert len(found) == len(cross)
    for item, observed in zip(found, cross, strict=True):
        extra = torch.nn.functional.linear(new[0][0][:, 1:3], modules[observed["name"]].to_k.weight)
        truth = slow_softmax(observed["query"], torch.cat([observed["key"], extra], dim=1), observed["heads"]).mean(1)
        torch.testing.assert_close(item.maps[:, 0].double(), truth, rtol=0, atol=1e-5)
    (bird,) = words_asked(answer, View(), "bird")
    assert bird.columns == (78,)
    _, _, report = call(TokenHeatmap, attention_maps=answer, words="cat, bird").result
    assert [word["in the prompt"] for word in json.loads(report)["words"]] == [True, False]


def test_asking_in_half_precision_and_without_words(sd15_half):
    """Oracle: rows sum to one; a conditioning without words is refused with the way to give it some."""
    recording = recorded(sd15_half, Run(steps=1))
    question = question_of(sd15_half, recording, traced("bird", seed=9), "negative")
    for item in ask(recording, question).maps:
        torch.testing.assert_close(item.maps.sum(-1), torch.ones(item.maps.shape[:-1]), rtol=0, atol=1e-3)
    with pytest.raises(WordError, match="Put Trace Words"):
        call(AskAgain, model=sd15_half, attention_maps=recording, conditioning=conditioning(seed=3))


def test_two_runs_are_compared_whatever_their_size(sd15, recording):
    """Oracle: by hand. The mask has the first run's size, a run against itself changes nothing."""
    before, after = recording, recorded(sd15, Run(size=(12, 8), seed=3))
    image, mask, report = call(CompareMaps, before=before, after=after, words="cat, dog").result
    assert image.shape[0] == 1
    assert mask.shape == (2, 64, 96)
    assert mask.max() > 0.5
    assert set(json.loads(report)["mean absolute difference"]) == {"cat", "dog"}
    _, none, _ = call(CompareMaps, before=before, after=before, words="cat").result
    assert not none.any()


def test_dropping_a_word_moves_the_picture_most_where_its_map_was(sd15):
    """Oracle: the ablation itself. Where a word's share is large, replacing its features changes the prediction more.

    The word's column is made strong, the model is run once with and once without it, and the change of the first
    block's cross-attention output correlates with the recorded map of that block, cell by cell.
    """
    cond = traced("a cat and a dog", seed=1)
    without = [[cond[0][0].clone(), cond[0][1]]]
    without[0][0][:, 2] = 0
    outputs: list[torch.Tensor] = []
    attention = sd15.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn2
    handle = attention.register_forward_hook(lambda _, __, output: outputs.append(output.clone()))
    try:
        recording = recorded(sd15, Run(steps=1, cfg=1.0), positive=cond)
        recorded(sd15, Run(steps=1, cfg=1.0), positive=without)
    finally:
        handle.remove()
    moved = (outputs[0] - outputs[1]).norm(dim=-1).flatten()
    cat = heatmaps(recording, words_asked(recording, View(), "cat"), View("latent", blocks="input 1")).values.flatten()
    assert torch.corrcoef(torch.stack([moved, cat]))[0, 1] > 0.6
