"""The reference's training loop, written down plainly: what ours is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch


def straightforward(ports: Any, *, everything: bool) -> Iterator[Callable[[], None]]:
    """The reference's loop, written down plainly: batch of a class picture and the scene's, one loss, one AdamW.

    Args:
        ports: the host's.
        everything: train all weights of U-Net and text encoder, or the new rows alone.
    """
    unet, text = ports.denoiser.unet, ports.text.module
    rows = torch.nn.Parameter(torch.stack([ports.text.word(word)[0].float() for word in ("circle", "star")]).clone())
    for layer in [layer for module in (unet, text) for layer in module.modules()]:
        for name, given in list(layer.named_parameters(recurse=False)):
            # As the reference computes, whatever the model's own type is; it may share memory with the user's MODEL.
            own = given.detach().to(torch.float32, copy=everything)
            setattr(layer, name, torch.nn.Parameter(own, requires_grad=everything))
    weights = [p for module in (unet, text) for p in module.parameters()] if everything else []
    optimiser = torch.optim.AdamW([rows, *weights], lr=2e-6 if everything else 5e-4, weight_decay=1e-2)
    picture = ports.latents[:1].detach().clone().float()
    mask = torch.zeros(picture.shape[-2:], device=picture.device)
    mask[picture.shape[-2] // 4 :, :] = 1
    goals = torch.nn.functional.adaptive_avg_pool2d(mask[None, None], [side // 4 for side in mask.shape])[0, 0]
    prompts = ["a photo at the beach", "a photo of <asset0> and <asset1>"]

    def step() -> None:
        latents = torch.cat([torch.randn_like(picture), picture])  # the class picture first
        noise, times = torch.randn_like(latents), torch.randint(1000, (2,), device=latents.device)
        kept: list[torch.Tensor] = []
        with torch.enable_grad():
            encoded = ports.text.encode(prompts, dict(zip(("<asset0>", "<asset1>"), rows, strict=True)))
            noisy, options = (
                ports.noise.add(latents, noise, times),
                {"optimized_attention_override": materialising(kept)},
            )
            predicted = unet(noisy, times.float(), context=encoded.context, transformer_options=options)
            squares = (predicted - noise) ** 2
            cells = goals.numel()
            maps = torch.cat([p for p in kept if p.shape[1] == cells and p.shape[2] % 77 == 0]).mean(0)
            found = maps.T[[encoded.columns[1][name] for name in ("<asset0>", "<asset1>")]]
            apart = (found / found.amax(1, keepdim=True) - goals.flatten()) ** 2
            loss = squares[0].mean() + (squares[1] * mask**2).mean() + 0.01 * apart.mean(1).sum()
            loss.backward()
        torch.nn.utils.clip_grad_norm_([rows, *weights], 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=False)

    with torch.inference_mode(False):
        yield step


def materialising(kept: list[torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Attention with its whole softmax, which keeps that of the batch's second half.

    Host contract, ComfyUI 0.33 `ldm/modules/attention.wrap_attn`: an override is called with the host's function first.

    Args:
        kept: gets (batch*head query key) float32 of the maps of at most 32x32 queries.
    """

    def attention(_own: Any, q: Any, k: Any, v: Any, heads: int, *_more: Any, **_options: Any) -> torch.Tensor:
        batch, channels = q.shape[0], q.shape[-1]
        q, k, v = (x.view(batch, -1, heads, channels // heads).transpose(1, 2).flatten(0, 1) for x in (q, k, v))
        scores = (q @ k.transpose(1, 2) / math.sqrt(channels // heads)).float().softmax(-1)
        if scores.shape[1] <= 32**2:
            kept.append(scores[len(scores) // 2 :])
        return (scores.to(v) @ v).view(batch, heads, -1, channels // heads).transpose(1, 2).flatten(2)

    return attention
