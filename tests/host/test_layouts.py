"""The small models are what the other host tests take them for."""

from __future__ import annotations

import pytest
import torch
from pack.tests.support.host.runs import Run, conditioning, sample


@pytest.mark.parametrize(("name", "blocks"), [("sd15", 16), ("sd15_half", 16), ("sd2", 16), ("sdxl", 28)])
def test_a_small_model_has_its_layouts_blocks_and_samples_to_finite_numbers(small_models, name, blocks):
    """Oracle: the block counts, by hand from the layouts (SDXL: 2x2 + 2x3 down, 3 middle, 3x3 + 3x2 up)."""
    model = small_models[name].clone()
    found = [key for key, _ in model.model.diffusion_model.named_modules() if key.endswith("attn2")]
    latent = sample(model, conditioning(seed=1), conditioning(seed=2), Run(size=(9, 12), batch=2))
    assert len(found) == blocks
    assert latent.shape == (2, 4, 9, 12)
    assert torch.isfinite(latent).all()


def test_attention_of_the_small_model_is_far_from_uniform(sd15):
    """Oracle: an invariant. A uniform map would put 1/77 everywhere; here the largest share is many times that."""
    seen = {}
    attention = sd15.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn2
    handles = [
        attention.to_q.register_forward_hook(lambda _, __, out: seen.__setitem__("q", out)),
        attention.to_k.register_forward_hook(lambda _, __, out: seen.__setitem__("k", out)),
    ]
    try:
        sample(sd15, conditioning(seed=1), conditioning(seed=2), Run(steps=1, cfg=1.0))
    finally:
        for handle in handles:
            handle.remove()
    query, key = (seen[name][0].unflatten(-1, (8, -1)).movedim(1, 0) for name in "qk")
    shares = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
    assert shares.amax(-1).mean() > 5 / 77


def test_the_training_clone_builds_the_same_weights_again(sd15):
    """Oracle: an invariant; the clone shares no memory with the model and holds equal, trainable numbers."""
    with torch.inference_mode(False):
        copy = sd15.clone(force_deepcopy=True)
    for theirs, ours in zip(sd15.model.parameters(), copy.model.parameters(), strict=True):
        assert torch.equal(theirs, ours)
        assert theirs.data_ptr() != ours.data_ptr()
