"""The shape log in the real host: true for the full-size models, equal to a real run, and free of cost."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import comfy.memory_management
import comfy.model_patcher
import comfy.supported_models
import folder_paths
import numpy as np
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.devtools.comfyui import ROOT
from pack.host.editor.shapes import shapes_ui
from pack.host.editor.viewer import viewer_ui
from pack.host.recording.unet import record_attention
from pack.host.shapes import log_of_model, log_of_recording, shape_log
from pack.nodes.shapes import BlockShapes
from pack.scenescope.attention.record.block_shapes import BlockShape, ShapeProbe
from pack.scenescope.attention.record.layers import find_layers
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.attention.shapes.tables import shape_data
from pack.scenescope.dims import Grid
from pack.scenescope.errors import HostError, InputError, RecordingError
from pack.tests.support.host import layouts
from pack.tests.support.host.runs import Run, conditioning, sample
from PIL import Image

SQUARE = {"width": 512, "height": 512, "batch_size": 1, "tokens": 77}
FULL_SD15 = layouts.SD15.unet | {"model_channels": 320, "context_dim": 768}
FULL_SDXL = layouts.SDXL.unet | {
    "model_channels": 320,
    "context_dim": 2048,
    "adm_in_channels": 2816,
    "num_head_channels": 64,
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
}


def weightless(family: Any, unet: dict[str, Any], dtype: torch.dtype = torch.float16) -> Any:
    """A full-size MODEL whose weights are on the meta device: whoever computes with it fails."""
    config = family(dict(unet))
    config.unet_config.update(unet, dtype=dtype)
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "", device=torch.device("meta"))
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


def real_rows(model: Any, run: Run, tokens: int = 77) -> tuple[BlockShape, ...]:
    """The shapes of the first model call of a real run, read by a probe around that call alone."""
    watched, rows = model.clone(), []

    def observe(executor: Any, *args: Any, **options: Any) -> Any:
        with ShapeProbe(find_layers(executor.class_obj.diffusion_model)) as probe:
            answer = executor(*args, **options)
        rows.append(probe.rows())
        return answer

    watched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", observe)
    sample(watched, conditioning(tokens, seed=1), conditioning(tokens, seed=2), run)
    return rows[0]


def by_name(rows: tuple[BlockShape, ...]) -> dict[str, BlockShape]:
    return {row.block: row for row in rows}


def test_a_512x512_picture_in_sd15_has_the_sizes_worked_out_by_hand():
    """Oracle: by hand. 512 / 8 = 64; the grid halves three times, channels are 320, 640, 1280, 1280, heads always 8."""
    rows = log_of_model(weightless(comfy.supported_models.SD15, FULL_SD15), Grid(512, 512)).rows
    levels = {1: (64, 320), 2: (64, 320), 4: (32, 640), 5: (32, 640), 7: (16, 1280), 8: (16, 1280)}
    expected = {f"input {number}": size for number, size in levels.items()} | {"middle 0": (8, 1280)}
    for first, size in ((3, (16, 1280)), (6, (32, 640)), (9, (64, 320))):
        expected |= {f"output {first + i}": size for i in range(3)}
    assert [row.block for row in rows] == list(expected)
    for row, (side, channel) in zip(rows, expected.values(), strict=True):
        cross, own = row.layer("cross"), row.layer("self")
        assert row.features_in == row.features_out == (1, channel, side, side)
        assert cross.query == own.query == own.key == (1, side * side, channel)
        assert cross.key == (1, 77, channel)
        assert (cross.heads, cross.head_width) == (own.heads, own.head_width) == (8, channel // 8)
        assert row.dtype == "float16"


def test_the_loss_reads_the_five_layers_at_16x16():
    """Oracle: the five layers that Break-a-Scene's aggregation picks at 512x512, named by hand."""
    rows = log_of_model(weightless(comfy.supported_models.SD15, FULL_SD15), Grid(512, 512)).rows
    read = [row for row in rows if row.read_by_loss]
    assert [row.block for row in read] == ["input 7", "input 8", "output 3", "output 4", "output 5"]
    assert {row.grid for row in read} == {Grid(16, 16)}


def test_the_largest_map_of_a_512x512_picture_takes_268_megabytes():
    """Oracle: by hand. 8 x 4096 x 4096 numbers of 2 bytes for each picture."""
    log = log_of_model(weightless(comfy.supported_models.SD15, FULL_SD15), Grid(512, 512), batch=2)
    row = by_name(log.rows)["input 1"]
    assert row.layer("self").map == (2, 8, 4096, 4096)
    assert row.map_bytes(row.layer("self")) == 2 * 268_435_456


def test_odd_sizes_are_rounded_up_at_each_halving():
    """Oracle: by hand. 264x360 pixels are 33x45 cells, then 17x23, 9x12, 5x6."""
    log = log_of_model(weightless(comfy.supported_models.SD15, FULL_SD15), Grid(264, 360), batch=4, tokens=231)
    grids = list(dict.fromkeys(row.grid for row in log.rows))
    assert grids == [Grid(33, 45), Grid(17, 23), Grid(9, 12), Grid(5, 6)]
    assert {row.tokens for row in log.rows} == {231}
    assert {row.features_in[0] for row in log.rows} == {4}
    assert log.title == "A 264x360 picture in the U-Net: a latent of 33x45"


def test_sdxl_has_seventy_blocks_and_fixed_head_widths():
    """Oracle: by hand. 2x2 + 2x10 down, 10 in the middle, 3x10 + 3x2 up; 1280 channels are 20 heads of 64."""
    rows = log_of_model(weightless(comfy.supported_models.SDXL, FULL_SDXL), Grid(1024, 1024)).rows
    assert len(rows) == 70
    last = by_name(rows)["input 8.9"]
    assert last.features_in == (1, 1280, 32, 32)
    assert (last.layer("cross").heads, last.layer("cross").head_width) == (20, 64)


@pytest.mark.parametrize("name", ["sd15", "sd15_half", "sd2", "sdxl"])
@pytest.mark.parametrize(("size", "batch", "tokens"), [((8, 12), 1, 77), ((9, 11), 2, 154)])
def test_the_log_without_computing_equals_a_real_run(small_models, name, size, batch, tokens):
    """Oracle: the shapes of a real sampler's first call, which holds the positive and the negative of each image."""
    model = small_models[name].clone()
    ran = real_rows(model, Run(size=size, batch=batch, steps=1), tokens)
    picture = Grid(size[0] * 8, size[1] * 8)
    assert log_of_model(model, picture, batch=2 * batch, tokens=tokens).rows == ran
    assert len(ran) == (28 if name == "sdxl" else 16)


def test_the_two_sources_of_the_node_agree(sd15):
    """Oracle: the recording of a real run; only the line that says where the log comes from differs."""
    watched, book = record_attention(sd15, Selection())
    latent = sample(watched, conditioning(seed=1), conditioning(seed=2), Run(size=(9, 12), steps=1))
    recording = book.find(latent)[0]
    from_run = shape_log(None, recording, **SQUARE)
    from_model = shape_log(sd15, None, width=96, height=72, batch_size=2, tokens=77)
    assert from_run.rows == from_model.rows
    assert (from_run.latent, from_run.csv(), from_run.json()) == (
        from_model.latent,
        from_model.csv(),
        from_model.json(),
    )
    assert from_run.source != from_model.source


def test_the_panel_is_given_the_run_s_maps_and_which_blocks_have_some(sd15, monkeypatch, tmp_path):
    """Oracle: the selection that was recorded, and the file on the disk; Sample and Record names the same file."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    watched, book = record_attention(sd15, Selection(blocks="up"))
    latent = sample(watched, conditioning(seed=1), conditioning(seed=2), Run(size=(8, 8), steps=1))
    recording = book.find(latent)[0]
    (shown,) = shapes_ui(log_of_recording(recording), recording)["scenescope_shapes"]
    assert shown["recorded"] == [f"output {number}" for number in range(3, 12)]
    assert shown["view"] == viewer_ui(recording)["scenescope_view"][0]
    assert (tmp_path / shown["view"]["filename"]).is_file()


def test_any_size_takes_under_two_seconds_of_computing():
    """Oracle: the clock of this process, for the largest picture that the node takes; its maps would fill petabytes."""
    model = weightless(comfy.supported_models.SD15, FULL_SD15)
    began = time.process_time()
    rows = log_of_model(model, Grid(16384, 16384), batch=64, tokens=4928).rows
    assert time.process_time() - began < 2
    assert rows[0].layer("self").map == (64, 8, 4194304, 4194304)


def test_the_models_weights_stay_where_they_are(sd15):
    """Oracle: an invariant; address, device and use of gradients of each weight, and the hooks of each layer."""
    unet = sd15.model.diffusion_model

    def state():
        hooks = sum(len(module._forward_hooks) for module in unet.modules())
        return hooks, [(weight.data_ptr(), weight.device, weight.requires_grad) for weight in unet.parameters()]

    before = state()
    log_of_model(sd15, Grid(64, 96))
    assert state() == before


def test_it_works_where_the_host_manages_memory_dynamically(sd15, monkeypatch):
    """Oracle: the same log; on that path the host makes layers without weights."""
    expected = log_of_model(sd15, Grid(64, 96)).rows
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    assert log_of_model(sd15, Grid(64, 96)).rows == expected


def test_an_inpainting_model_and_an_upscaler_have_a_log_too():
    """Oracle: the layout's own sizes; nine input channels, and a noise level as the label, change no block."""
    plain = log_of_model(weightless(comfy.supported_models.SD15, FULL_SD15), Grid(64, 96)).rows
    inpaint = weightless(comfy.supported_models.SD15, FULL_SD15 | {"in_channels": 9})
    assert log_of_model(inpaint, Grid(64, 96)).rows == plain
    labelled = weightless(comfy.supported_models.SD15, FULL_SD15 | {"num_classes": 1000})
    assert log_of_model(labelled, Grid(64, 96)).rows == plain


@pytest.mark.parametrize(("pixels", "nearest"), [(513, 512), (517, 520), (3, 8)])
def test_a_size_that_is_no_multiple_of_eight_names_the_nearest(sd15, pixels, nearest):
    """Oracle: by hand; the host would cut such a size down in silence."""
    with pytest.raises(InputError, match=f"the width is {pixels} .* Use {nearest},"):
        log_of_model(sd15, Grid(512, pixels))
    with pytest.raises(InputError, match=f"the height is {pixels} "):
        log_of_model(sd15, Grid(pixels, 512))


def test_a_model_that_is_no_unet_is_refused_by_name():
    """Oracle: the message names what was found."""
    inner = SimpleNamespace(diffusion_model=torch.nn.Linear(1, 1), model_config=SimpleNamespace(unet_config={"a": 1}))
    with pytest.raises(HostError, match=r"a Linear\) has no U-Net of SD1"):
        log_of_model(SimpleNamespace(model=inner, object_patches={}), Grid(64, 64))


def test_a_unet_with_replaced_parts_is_refused_and_other_object_patches_are_not(sd15):
    """Oracle: the message names the part; a replaced noise schedule has no part in shapes."""
    expected = log_of_model(sd15, Grid(64, 96)).rows
    sd15.add_object_patch("model_sampling", sd15.model.model_sampling)
    assert log_of_model(sd15, Grid(64, 96)).rows == expected
    sd15.add_object_patch("diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2", torch.nn.Identity())
    with pytest.raises(HostError, match=r"input_blocks\.1\.1\.transformer_blocks\.0\.attn2 \(1 part"):
        log_of_model(sd15, Grid(64, 96))


def test_patches_that_are_not_followed_are_named(sd15):
    """Oracle: the source line before and after a patch."""
    assert "Not followed" not in log_of_model(sd15, Grid(64, 96)).source
    sd15.set_model_attn1_patch(lambda n, context, value, options: (n, context, value))
    assert "attn1_patch" in log_of_model(sd15, Grid(64, 96)).source


def test_the_node_wants_exactly_one_source(sd15):
    """Oracle: the two messages."""
    with pytest.raises(InputError, match="neither is connected"):
        BlockShapes.execute(**SQUARE)
    with pytest.raises(InputError, match="both are connected"):
        BlockShapes.execute(model=sd15, maps=SimpleNamespace(shapes=()), **SQUARE)
    with pytest.raises(RecordingError, match="has no shape log"):
        log_of_recording(SimpleNamespace(shapes=()))


def test_the_node_gives_tables_a_picture_and_what_its_panel_shows(sd15):
    """Oracle: the log itself; the picture is an IMAGE of the host, between 0 and 1; the panel's part stays small."""
    output = BlockShapes.execute(model=sd15, **SQUARE)
    markdown, text, table, image = output.result
    rows = log_of_model(sd15, Grid(512, 512)).rows
    assert markdown.count("\n| ") == 2 + len(rows)
    assert len(json.loads(text)["blocks"]) == len(rows)
    assert table.count("\n") == 1 + 2 * len(rows)
    assert image.shape == (1, 1000, 1400, 3)
    assert image.dtype == torch.float32
    assert 0 <= float(image.min()) < float(image.max()) <= 1
    (shown,) = output.ui["scenescope_shapes"]
    assert shown["blocks"] == shape_data(rows)["blocks"]
    assert (shown["latent"], shown["pixels"], shown["view"], shown["recorded"]) == ([64, 64], 8, None, [])
    assert len(json.dumps(shown)) < 16_000


def test_the_help_page_shows_what_the_node_gives_today():
    """Oracle: the page's table and picture against a log made now; the picture's file has fewer colours.

    To renew them, copy the node's MARKDOWN below the page's last heading, and save its IMAGE with 255 colours.
    """
    log = log_of_model(weightless(comfy.supported_models.SD15, FULL_SD15), Grid(512, 512))
    page = (ROOT / "web" / "docs" / "SceneScope_BlockShapes.md").read_text("utf-8")
    assert page.endswith("\n\n" + log.markdown())
    file = ROOT / "web" / "docs" / "images" / "block_shapes_512.png"
    assert file.stat().st_size < 200_000
    stored = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 255
    assert np.abs(stored - log.picture()[0].numpy()).mean() < 0.01


def test_every_input_and_output_of_the_node_has_a_tooltip():
    """Oracle: an invariant of the house."""
    schema = BlockShapes.define_schema()
    assert all(socket.tooltip for socket in (*schema.inputs, *schema.outputs))
    assert "shape log" in schema.search_aliases
    assert schema.is_output_node
