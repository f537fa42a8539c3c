"""What a user calls: shapes, heatmaps, masks, drawings."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from pack.diffusers_adapter import Scope
from pack.diffusers_adapter.names import TextNames, UnetNames
from pack.scenescope.attention.record.layers import find_layers
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.errors import HostError, WordError
from pack.tests.support.pipelines import painted, scheduler_of, small_pipeline


def test_every_parameter_has_a_name_of_the_original_checkpoints():
    """Oracle: the set of parameters, and names of SD1.5's checkpoint written down by hand."""
    pipe = small_pipeline()
    names = dict(UnetNames(pipe.unet).named_parameters())
    assert {id(weight) for weight in names.values()} == {id(weight) for weight in pipe.unet.parameters()}
    assert {
        "time_embed.2.bias",
        "input_blocks.0.0.weight",
        "input_blocks.3.0.op.weight",
        "input_blocks.7.0.skip_connection.weight",
        "input_blocks.1.1.transformer_blocks.0.attn2.to_out.0.bias",
        "input_blocks.11.0.emb_layers.1.weight",
        "middle_block.1.proj_in.weight",
        "middle_block.2.out_layers.3.weight",
        "output_blocks.2.1.conv.weight",
        "output_blocks.5.2.conv.weight",
        "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj.weight",
        "out.2.weight",
    } <= set(names)
    text = dict(TextNames(pipe.text_encoder, table=True).named_parameters())
    assert {id(weight) for weight in text.values()} == {id(weight) for weight in pipe.text_encoder.parameters()}
    assert "text_model.encoder.layers.1.self_attn.q_proj.weight" in text
    assert "text_model.embeddings.token_embedding.weight" not in TextNames(pipe.text_encoder, table=False).state_dict()


def test_the_sites_are_those_of_sd15_in_forward_order():
    """Oracle: SD1.5's sixteen blocks, by hand."""
    found = [item.layer for item in find_layers(UnetNames(small_pipeline().unet), ("cross",))]
    inputs, outputs = (1, 2, 4, 5, 7, 8), (3, 4, 5, 6, 7, 8, 9, 10, 11)
    assert [layer.block for layer in found] == [
        *(f"input {number}" for number in inputs),
        "middle 0",
        *(f"output {number}" for number in outputs),
    ]
    assert [layer.level for layer in found] == [0, 0, 1, 1, 2, 2, 3, 2, 2, 2, 1, 1, 1, 0, 0, 0]
    assert {(layer.heads, layer.head_width) for layer in found} == {(2, 8), (2, 16)}


def test_the_shape_log_is_that_of_a_run_and_nothing_is_computed_for_it():
    """Oracle: the rows that a recorded run left; columns of its table, by hand."""
    scope = Scope(small_pipeline())
    with scope.record() as session:
        painted(scope.pipe, guidance_scale=1.0)
    table = scope.shapes(64, 96)
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith(("| input", "| output"))]
    assert len(rows) == 15
    assert rows[0][2:4] == ["1 x 16 x 8 x 12", "77"]
    assert session.recording.shapes[0].features_in == (1, 16, 8, 12)
    assert len(session.recording.shapes) == 16


def test_heatmaps_masks_and_drawing_have_the_pictures_size():
    """Oracle: by hand: a latent of 8x12, whose own grid is the nearest to 16x16, and eight pixels a cell."""
    scope = Scope(small_pipeline())
    with scope.record() as session:
        painted(scope.pipe, num_images_per_prompt=2)
    maps = scope.heatmaps(session.recording, "Red circle, heart")
    assert maps.words == ("Red circle", "heart")
    assert maps.values.shape == (2, 8, 12, 2)
    assert scope.masks(session.recording, "heart").masks.shape == (2, 64, 96)
    assert scope.masks(session.recording, "heart", cut="otsu").masks.unique().tolist() == [0.0, 1.0]
    assert scope.drawing(session.recording, "heart").ndim == 4
    with pytest.raises(WordError, match="mountain"):
        scope.heatmaps(session.recording, "mountain")


def test_self_attention_is_recorded_where_it_is_asked_for():
    """Oracle: rows of shares sum to 1."""
    scope = Scope(small_pipeline())
    with scope.record(Selection(kinds=("self",), precision=torch.float32)) as session:
        painted(scope.pipe)
    for item in session.recording.maps:
        torch.testing.assert_close(item.maps.sum(-1), torch.ones(item.maps.shape[:-1]))


def test_pipelines_of_other_families_are_refused_in_a_sentence():
    """Oracle: the messages."""
    with pytest.raises(HostError, match="predicts v_prediction, but only epsilon"):
        Scope(small_pipeline(scheduler_of(DDIMScheduler, prediction_type="v_prediction")))
    with pytest.raises(HostError, match="this object is not an SD1.5 pipeline"):
        Scope(object())
