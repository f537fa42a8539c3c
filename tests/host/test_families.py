"""Models of other families: what reads U-Nets takes SD2 and SDXL, and every node refuses others in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.supported_models
import pytest
import torch
from pack.host.acting.steer import Odds, steered, steerings_of
from pack.host.concepts.apply import apply_concepts
from pack.host.demo import load_demo_model
from pack.host.recording.unet import record_attention
from pack.host.shapes import log_of_model
from pack.host.training.models import check_trainable
from pack.nodes.replay import ReplayAttention
from pack.scenescope.attention.record.selection import Selection
from pack.scenescope.dims import Grid
from pack.scenescope.errors import HostError, InputError, SceneScopeError
from pack.tests.support.host import encoders
from pack.tests.support.host.layouts import Layout, build
from pack.tests.support.host.learned import made_up
from pack.tests.support.host.runs import conditioning
from pack.tests.support.saved import full_recording

FLUX = Layout(
    comfy.supported_models.Flux,
    {
        "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2, "vec_in_dim": 64,
        "context_in_dim": 64, "hidden_size": 64, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1,
        "depth_single_blocks": 1, "axes_dim": [8, 12, 12], "txt_ids_dims": [], "theta": 10_000, "qkv_bias": True,
        "guidance_embed": False,
    },
)  # fmt: skip
SD3 = Layout(
    comfy.supported_models.SD3,
    {
        "in_channels": 16, "input_size": None, "patch_size": 2, "depth": 2, "pos_embed_max_size": 64,
        "adm_in_channels": 64,
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 128}},
    },
)  # fmt: skip


class Hidden:
    """Stands for what the host hides in a node."""

    unique_id = "1"


@pytest.fixture(scope="module", params=[FLUX, SD3], ids=["Flux", "SD3"])
def transformer(request: pytest.FixtureRequest) -> Any:
    """A small MODEL without a U-Net."""
    return build(request.param)


def replayed(model: Any) -> Any:
    """Replay Attention with its widgets as they are."""
    node = ReplayAttention.PREPARE_CLASS_CLONE({})
    node.hidden = Hidden()
    widgets = {each.id: each.default for each in ReplayAttention.define_schema().inputs if hasattr(each, "default")}
    return node.execute(**{**widgets, "model": model, "attention_maps": full_recording()})


NODES: dict[str, Callable[[Any], Any]] = {
    "Record Attention": lambda model: sampled_with(record_attention(model, Selection())[0]),
    "Steer Words": lambda model: steered(model, steerings_of("star", (), Odds())),
    "Block Shapes": lambda model: log_of_model(model, Grid(64, 64)),
    "Replay Attention": replayed,
}


def sampled_with(model: Any) -> Any:
    """Two steps of the stock sampler."""
    from pack.tests.support.host.runs import Run, sample

    return sample(model, conditioning(), conditioning(seed=1), Run(), latent_image=torch.zeros(1, 16, 8, 8))


@pytest.mark.parametrize("name", list(NODES))
def test_a_model_without_a_u_net_is_refused_in_the_nodes_own_name(transformer: Any, name: str) -> None:
    """Oracle: the sentence: who, what is wrong, and what to load."""
    with pytest.raises(HostError, match=rf"^{name}: this model \(.*\) has no .*SD1\.5, SD2 or SDXL.*Load such a"):
        NODES[name](transformer)


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_other_u_nets_record_steer_and_show_their_shapes(family: str, request: pytest.FixtureRequest) -> None:
    """Oracle: by hand: nothing is refused."""
    model = request.getfixturevalue(family)
    assert record_attention(model, Selection())[1] is not None
    assert steered(model, steerings_of("star", (), Odds())) is not None
    assert log_of_model(model, Grid(64, 64)).rows


def test_models_of_other_families_are_refused_by_training_with_their_family(transformer: Any, sdxl: Any) -> None:
    """Oracle: the sentences; what sets a family apart comes before how it samples."""
    clip = load_demo_model()[1]
    with pytest.raises(HostError, match=r"the family (Flux|SD3), (which has no U-Net|with 16 input channels)\. Train"):
        check_trainable(transformer, clip)
    with pytest.raises(HostError, match=r"the family SDXL, which reads 1600 numbers beside the prompt\. Training is"):
        check_trainable(sdxl, clip)


def test_text_encoders_of_other_families_are_refused_by_what_learned_with_clip_l(sd15: Any) -> None:
    """Oracle: the sentences; SDXL's pair of encoders, and one of another width."""
    concepts = made_up(load_demo_model())
    with pytest.raises(HostError, match=r"Apply Concepts: this CLIP is not SD1\.5's \(its tokenizer is SDXLTokenizer"):
        apply_concepts(sd15, encoders.sdxl(), concepts, base="any")
    with pytest.raises(InputError, match=r"has 128 channels, but the words of this CLIP have 32\. Connect the base"):
        apply_concepts(sd15, encoders.sd15(), concepts, base="any")
    with pytest.raises(SceneScopeError, match=r"this CLIP \(SmallSDXL\) is not SD1\.5's CLIP-L"):
        check_trainable(load_demo_model()[0], encoders.sdxl())
