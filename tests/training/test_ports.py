"""One step over the ports: what is drawn, seen, compared, and where gradients go."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.read.heatmap import aggregate_on_grid
from pack.scenescope.dims import Grid
from pack.scenescope.errors import HostError, InputError
from pack.scenescope.training.ports import Ports
from pack.scenescope.training.scene.scene import Scene
from pack.scenescope.training.settings import Settings, full_settings, lora_settings
from pack.scenescope.training.step.losses import ious
from pack.scenescope.training.step.objective import Frozen, Objective, StepResult
from pack.scenescope.training.step.prompts import choose_template, draw_union, generator_at, sentence
from pack.scenescope.training.step.supervision import capture_maps, supervised_layers
from pack.tests.support.toy_training import ToyUNet, hooks, toy_latents, toy_ports, toy_scene
from torch import Tensor, nn


def embeddings_of(scene: Scene, ports: Ports) -> dict[str, Tensor]:
    """Rows that ask for gradients."""
    words = (concept.word or "object" for concept in scene.concepts)
    embeddings = (ports.text.word(word).mean(0).clone().requires_grad_() for word in words)
    return dict(zip(scene.handles, embeddings, strict=True))


class Kept(list):
    """Keeps the losses that are to be run back, and runs them."""

    def __call__(self, loss: Tensor) -> None:
        """Take one."""
        self.append(float(loss.detach()))
        loss.backward()


def learn(
    settings: Settings, *, step: int = 0, scene: Scene | None = None, ports: Ports | None = None, second: bool = False
) -> tuple[StepResult, dict[str, Tensor], list[float]]:
    """One step with fresh embeddings."""
    scene = scene or toy_scene()
    ports = ports or toy_ports(scene)
    embeddings, kept = embeddings_of(scene, ports), Kept()
    first = {handle: embedding.detach() + 0.5 for handle, embedding in embeddings.items()}
    frozen = Frozen(first, nullcontext) if second else None
    return Objective(scene, ports, settings).costs(step, embeddings, kept, frozen).read()[0], embeddings, kept


def slow_step(scene: Scene, ports: Ports, settings: Settings, step: int):
    """One picture's losses written out from the paper, with nothing of the trainer's but the order of the draws."""
    generator = generator_at(settings.seed, step)
    torch.randint(1, (), generator=generator)
    drawn = draw_union(range(3), generator)
    prompt = sentence(choose_template(settings.templates, generator), [scene.handles[index] for index in drawn])
    flip = float(torch.rand((), generator=generator)) < settings.flip
    timestep = torch.randint(1000, (1,), generator=generator)
    noise = torch.randn(1, 4, 8, 12, generator=generator)
    masks = (scene.masks.flip(-1) if flip else scene.masks)[0, list(drawn)]
    latents = ports.flipped if flip else ports.latents
    kept = 1.0
    for index in range(int(timestep) + 1):
        kept *= 1 - (0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * index / 999) ** 2
    noisy = kept**0.5 * latents + (1 - kept) ** 0.5 * noise
    embeddings = {
        handle: ports.text.word(word).mean(0)
        for handle, word in zip(scene.handles, ("cat", "object", "empty-room"), strict=True)
    }
    context = ports.text.encode([prompt], embeddings).context
    maps, queries = [], {}

    def keep(name, kind):
        def hook(module, inputs, output):
            queries[kind] = output
            if kind == "k":
                parts = zip(queries["q"].chunk(2, -1), queries["k"].chunk(2, -1), strict=True)
                maps.extend(((query @ key.mT) / 4**0.5).softmax(-1) for query, key in parts)

        return hook

    layers = [ports.denoiser.unet.input_blocks[5][0], ports.denoiser.unet.output_blocks[0][0]]
    handles = []
    for layer in layers:
        cross = layer.transformer_blocks[0].attn2
        handles += [
            cross.to_q.register_forward_hook(keep(layer, "q")),
            cross.to_k.register_forward_hook(keep(layer, "k")),
        ]
    with torch.no_grad():
        predicted = ports.denoiser(noisy, timestep, context)
    for handle in handles:
        handle.remove()
    mean = torch.cat(maps).mean(0).double()  # (cell token)
    attention = 0.0
    for order, mask in enumerate(masks):
        cell = mean[:, prompt.split().index(scene.handles[drawn[order]])]
        goal = mask.reshape(2, 32, 3, 32).mean(dim=(1, 3)).flatten()
        attention += float(((goal - cell / cell.max()) ** 2).mean())
    union = masks.amax(0).reshape(8, 8, 12, 8).mean(dim=(1, 3)).double()
    union = union if settings.masked else torch.ones_like(union)
    masked = float((((predicted - noise).double() * union) ** 2).mean())
    return masked, attention, drawn


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("inside", [True, False], ids=["masked", "unmasked"])
def test_a_steps_losses_are_the_papers(step, inside):
    """Oracle: a step written out from the paper in plain code over the same toy model."""
    scene, settings = toy_scene(), full_settings(seed=11, masked=inside)
    ports = toy_ports(scene)
    masked, attention, drawn = slow_step(scene, ports, settings, step)
    measured, _, kept = learn(settings, step=step, scene=scene, ports=ports)
    assert measured.masked == pytest.approx(masked, rel=1e-4)
    assert measured.attention == pytest.approx(attention, rel=1e-4)
    assert measured.prior is None
    assert kept == [pytest.approx(masked + 0.01 * attention, rel=1e-4)]
    assert list(measured.maps) == [scene.handles[concept] for concept in drawn]


@pytest.mark.parametrize("step", range(6))
def test_things_that_share_a_column_of_cells_are_learned_whole_along_their_seam(step):
    """Oracle: the same step written out, the maximum of the masks taken pixel by pixel before the mean of a cell."""
    whole = toy_scene()
    masks = torch.zeros_like(whole.masks)
    masks[:, 0, :, :20], masks[:, 1, :, 20:44], masks[:, 2, :, 44:] = 1, 1, 1
    scene, settings = replace(whole, masks=masks), full_settings(seed=11)
    ports = toy_ports(scene)
    masked, _, drawn = slow_step(scene, ports, settings, step)
    measured, _, _ = learn(settings, step=step, scene=scene, ports=ports)
    assert measured.masked == pytest.approx(masked, rel=1e-4)
    assert drawn


def test_the_layers_of_a_quarter_of_the_latent_are_supervised():
    """Oracle: by hand: one down, one up, not the middle; a model without them is refused."""
    layers = supervised_layers(ToyUNet())
    assert [item.layer.block for item in layers] == ["input 5", "output 0"]
    shallow = nn.Module()
    shallow.input_blocks = nn.ModuleList(ToyUNet().input_blocks[:2])
    with pytest.raises(HostError, match="a quarter of the latent"):
        supervised_layers(shallow)


def test_a_layer_that_stays_silent_is_an_error():
    """Oracle: by hand: a pass that never reaches the layers; hooks are gone afterwards."""
    ports = toy_ports()
    with (
        pytest.raises(HostError, match="input 5 cross ran without showing"),
        capture_maps(supervised_layers(ports.denoiser.unet)),
    ):
        ports.denoiser.unet.input_blocks[0][0](torch.zeros(1, 4, 8, 8))
    assert hooks(ports) == 0


@pytest.mark.parametrize("part", ["embedding", "text", "query", "key"])
def test_the_attention_losss_gradient_reaches_rows_text_encoder_and_unet(part):
    """Oracle: finite differences of the loss along the gradient, in float64 weights."""
    scene = toy_scene()
    ports = toy_ports(scene)
    ports.text.module.double()
    ports.denoiser.unet.double()
    ports.text.table, ports.text.places = ports.text.table.double(), ports.text.places.double()
    cross = ports.denoiser.unet.output_blocks[0][0].transformer_blocks[0].attn2
    embeddings = {
        handle: embedding.detach().requires_grad_() for handle, embedding in embeddings_of(scene, ports).items()
    }
    chosen = {
        "embedding": embeddings["<a>"],
        "text": ports.text.module[0].weight,
        "query": cross.to_q.weight,
        "key": cross.to_k.weight,
    }
    leaf, supervised = chosen[part], supervised_layers(ports.denoiser.unet)

    def value() -> Tensor:
        context = ports.text.encode(["a photo of <a>"], embeddings).context
        with capture_maps(supervised) as captured:
            ports.denoiser(ports.latents.double(), torch.tensor([3]).double(), context)
        column = aggregate_on_grid(captured.layers(), Grid(2, 3))[0, ..., 3]
        return ((column / column.amax()) ** 2).mean()

    (gradient,) = torch.autograd.grad(value(), leaf)
    assert float(gradient.norm()) > 1e-6
    direction, before, values = gradient / gradient.norm(), leaf.detach().clone(), []
    for sign in (1, -1):
        leaf.data = before + sign * 1e-2 * direction
        values.append(float(value().detach()))
    assert (values[0] - values[1]) / 2e-2 == pytest.approx(float(gradient.norm()), rel=0.03)  # maps are float32


def test_checkpointed_blocks_give_the_same_losses_and_gradients():
    """Oracle: the plain run, bit by bit; the hooks do not fire in the backward pass."""
    scene, results = toy_scene(), []
    for checkpointed in (False, True):
        ports = toy_ports(scene)
        ports.denoiser.unet.checkpointed = checkpointed
        measured, embeddings, _ = learn(lora_settings(), step=2, scene=scene, ports=ports)
        weight = ports.denoiser.unet.output_blocks[0][0].transformer_blocks[0].attn2.to_k.weight
        results.append(
            (measured, [embedding.grad for embedding in embeddings.values() if embedding.grad is not None], weight.grad)
        )
    (one, first, weight), (other, second, again) = results
    assert (one.masked, one.attention) == (other.masked, other.attention)
    assert len(first) == len(second) > 0
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert torch.equal(weight, again)


def test_the_frozen_prior_compares_with_the_given_model_outside_the_masks():
    """Oracle: by hand: 0 with the same embeddings and weights, not with other embeddings; and it gives gradients."""
    scene, settings = toy_scene(), lora_settings(attention_weight=0.0, single=1.0)
    ports = toy_ports(scene)
    embeddings = embeddings_of(scene, ports)
    same = Frozen({handle: embedding.detach() for handle, embedding in embeddings.items()}, nullcontext)
    ports.denoiser.calls = 0
    measured = Objective(scene, ports, settings).costs(1, embeddings, Kept(), same).read()[0]
    assert measured.prior == 0
    assert ports.denoiser.calls == 2
    moved, _, kept = learn(settings, step=1, second=True)
    assert moved.prior > 0
    assert kept == [pytest.approx(moved.masked + moved.prior, rel=1e-5)]


def test_the_frozen_pass_runs_without_what_is_trained_and_counts_outside_the_masks():
    """Oracle: the two passes as the U-Net computed them, in order; the squares summed over what no mask covers."""
    scene, running, passes = toy_scene(), [], []
    ports = toy_ports(scene)
    ports.denoiser.unet.register_forward_hook(
        lambda module, inputs, output: passes.append((bool(running), inputs[0], output.detach()))
    )

    @contextmanager
    def off():
        running.append(True)
        yield
        running.clear()

    embeddings = embeddings_of(scene, ports)
    first = Frozen({handle: embedding.detach() + 0.5 for handle, embedding in embeddings.items()}, off)
    settings = full_settings(prior="frozen", flip=0.0, single=1.0)
    measured = Objective(scene, ports, settings).costs(0, embeddings, Kept(), first).read()[0]
    (base_off, base_noisy, base), (off_later, noisy, predicted) = passes
    assert (base_off, off_later) == (True, False)
    assert torch.equal(base_noisy, noisy)
    (handle,) = measured.maps
    mask = scene.masks_on(scene.latent)[0, scene.handles.index(handle)]
    assert mask.unique().tolist() == [0, 1]
    outside = ((base - predicted).double() ** 2)[..., mask == 0].sum() / base.numel()
    assert measured.prior == pytest.approx(float(outside), rel=1e-5)


def test_maps_are_shown_as_the_picture_was_given():
    """Oracle: the ious, which are measured in the mirrored picture: upright maps iou upright masks as well."""
    scene, uneven = toy_scene(), False
    goals = dict(zip(scene.handles, scene.masks_on(scene.loss_grid)[0], strict=True))
    ports = toy_ports(scene)
    ports.text.table *= 30  # attention that is far from even
    for step in range(6):
        measured, _, _ = learn(full_settings(flip=1.0), step=step, scene=scene, ports=ports)
        for handle, upright in measured.maps.items():
            goal = goals[handle][None]
            assert ious(upright[None], goal).tolist() == [pytest.approx(measured.ious[handle])]
            uneven |= bool((ious(upright[None].flip(-1), goal) - measured.ious[handle]).abs() > 0.01)
    assert uneven


def test_the_class_prior_is_a_pass_of_its_own_on_pictures_of_any_size():
    """Oracle: by hand: two passes, two losses; none in phase 1, none for `off`."""
    scene = toy_scene()
    for settings, second, calls in (
        (full_settings(), True, 2),
        (full_settings(), False, 1),
        (full_settings(prior="off"), True, 1),
    ):
        ports = toy_ports(scene)
        measured, _, kept = learn(settings, scene=scene, ports=ports, second=second)
        assert (ports.denoiser.calls, len(kept)) == (calls, calls)
        assert (measured.prior is None) == (calls == 1)
        if calls == 2:
            assert kept[1] == pytest.approx(measured.prior)
            assert 0.1 < measured.prior < 10  # noise of variance 1, guessed at random


def test_a_batch_draws_a_union_for_each_picture():
    """Oracle: the mean of its parts would need equal draws, so: shapes, and that pictures differ."""
    scene = toy_scene(images=2)
    masks = scene.masks.clone()
    masks[0, 1] = 0  # the first picture does not show <b>
    scene = replace(scene, masks=masks)
    ports = replace(toy_ports(), latents=toy_latents(scene), flipped=toy_latents(scene).flip(-1))
    measured, embeddings, kept = learn(full_settings(batch=6, seed=2), scene=scene, ports=ports)
    assert len(kept) == 1
    assert set(measured.maps) == {"<a>", "<b>", "<room>"}
    assert all(embedding.grad is not None for embedding in embeddings.values())
    assert all(item.shape == (2, 3) for item in measured.maps.values())
    assert all(0 <= iou <= 1 for iou in measured.ious.values())


def test_half_precision_differs_by_rounding_alone():
    """Oracle: float32, within what bfloat16 and float16 round; losses are float32."""
    exact = learn(lora_settings(seed=4))[0]
    for precision in ("bfloat16", "float16"):
        rounded = learn(lora_settings(seed=4, precision=precision))[0]
        assert rounded.masked == pytest.approx(exact.masked, rel=0.05)
        assert rounded.attention == pytest.approx(exact.attention, rel=0.05)
        assert rounded.masked != exact.masked


def test_noise_outside_the_masks_leaves_the_inside_alone():
    """Oracle: the latents that reach the denoiser, with and without."""
    scene, seen = toy_scene(), []
    for strength in (0.0, 0.5):
        ports = toy_ports(scene)
        ports.denoiser.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
        learn(lora_settings(outside_noise=strength, single=1.0, seed=8), scene=scene, ports=ports)
    changed = (seen[0] - seen[1]).abs().amax(dim=(0, 1)) > 1e-6
    assert sorted(changed.float().mean(dim=0).tolist()) == [0.0] * 4 + [1.0] * 8  # one third of the columns is inside


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda scene, ports: (replace(scene, masks=scene.masks * torch.tensor([1.0, 0, 1])[:, None, None]), ports),
            "mask of <b> is empty",
        ),
        (
            lambda scene, ports: (scene, replace(ports, latents=ports.latents[..., :-1])),
            r"the VAE gave latents of \(1, 4, 8, 11\)",
        ),
        (lambda scene, ports: (scene, replace(ports, class_pictures=None)), "prior is `class`, but there are no"),
    ],
)
def test_ports_that_do_not_fit_the_scene_are_refused(change, words):
    """Oracle: the docstring's list."""
    scene, ports = change(toy_scene(), toy_ports())
    with pytest.raises(InputError, match=words):
        Objective(scene, ports, full_settings())


def test_a_handle_that_the_text_encoder_cuts_off_is_an_error():
    """Oracle: by hand: the toy reads ten words."""
    with pytest.raises(InputError, match="is cut off from the prompt"):
        learn(lora_settings(templates=("one two three four five six seven eight nine ten {}",)))
