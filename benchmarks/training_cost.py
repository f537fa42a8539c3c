"""What a training step costs: seconds and peak memory, over a straightforward loop that does as the reference does.

The straightforward loop materialises every attention layer, puts a class picture into every batch, and in its second
phase trains all weights with AdamW. It encodes each picture once, as ours does and the reference does not, so it is
given less to do than the reference. Each variant runs in a process of its own, in turn, several rounds; what is
compared is CPU seconds of one thread (on a GPU: wall seconds between synchronised ends), medians over the steps.

    python dev.py bench training_cost
    python devtools/as_pack.py benchmarks/training_cost.py --demo --pixels 128 --rounds 1      (a quick look)
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

OURS = {
    "phase 1": {"phase1_steps": 99, "phase2_steps": 0, "prior": "off"},
    "lora, no prior": {"phase1_steps": 0, "phase2_steps": 99, "prior": "off"},
    "lora, frozen prior": {"phase1_steps": 0, "phase2_steps": 99, "prior": "frozen"},
}
LOOPS = {"straightforward, phase 1": False, "straightforward, all weights": True}
GOALS = {"phase 1": 0.5, "lora, no prior": 0.55, "lora, frozen prior": 0.7}
"""Of the time of a step of the straightforward loop with all weights; memory: half."""
STATUS = Path("/proc/self/status")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--pixels", type=int, default=256, help="side of the picture")
    reader.add_argument("--steps", type=int, default=3, help="measured steps of each variant and round")
    reader.add_argument("--rounds", type=int, default=2, help="times that every variant is run")
    reader.add_argument("--demo", action="store_true", help="on the demo model in place of the full size")
    reader.add_argument("--precision", default="float32", choices=("float32", "bfloat16", "float16"))
    reader.add_argument("--variant", choices=(*OURS, *LOOPS), help=argparse.SUPPRESS)
    return reader.parse_args()


def parts(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE, full size with random weights or the demo model's."""
    if options.demo:
        from pack.host.demo import load_demo_model

        return load_demo_model()
    import comfy.sd
    from pack.tests.support.host.checkpoint import checkpoint

    loaded = comfy.sd.load_checkpoint_guess_config(str(checkpoint()), output_clip=True, output_vae=True)
    return loaded[0], loaded[1], loaded[2]


def scene(pixels: int) -> Any:
    """Two things of noise, one left and one right."""
    from pack.scenescope.training.scene.scene import Concept, build_scene

    picture = torch.rand(1, pixels, pixels, 3, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, pixels, pixels)
    masks[0, pixels // 4 : -pixels // 4, : pixels // 2] = 1
    masks[1, pixels // 4 : -pixels // 4, pixels // 2 :] = 1
    return build_scene(picture, list(masks), [Concept("<asset0>", "circle"), Concept("<asset1>", "star")])


def steps_of(options: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """Prepare a variant; yields its step once."""
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.trainer import Run
    from pack.scenescope.training.settings import lora_settings

    name, pictured = options.variant, scene(options.pixels)
    settings = lora_settings(**OURS.get(name, OURS["phase 1"]), precision=options.precision)
    with training_ports(*parts(options), pictured, settings) as ports:
        if name in LOOPS:
            yield from straightforward(ports, everything=LOOPS[name])
        else:
            with Run(pictured, ports, settings) as run:
                yield lambda: run.advance() and None


def straightforward(ports: Any, *, everything: bool) -> Iterator[Callable[[], None]]:
    """The reference's loop, written down plainly: batch of a class picture and the scene's, one loss, one AdamW.

    Args:
        ports: the host's.
        everything: train all weights of U-Net and text encoder, or the new rows alone.
    """
    unet, text = ports.denoiser.unet, ports.text.module
    rows = torch.nn.Parameter(torch.stack([ports.text.word(word)[0].float() for word in ("circle", "star")]).clone())
    weights = [p for module in (unet, text) for p in module.parameters()] if everything else []
    for parameter in weights:
        parameter.data = parameter.data.float()
    for parameter in [p for module in (unet, text) for p in module.parameters()]:
        parameter.requires_grad_(everything)
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


def measure(options: argparse.Namespace) -> None:
    """Run one variant in this process, and print its seconds per step and peak memory as JSON."""
    on_gpu = torch.cuda.is_available()
    torch.set_num_threads(1)
    spent = []
    with torch.inference_mode():  # as the host runs nodes
        for step in steps_of(options):
            forget_peak()
            for _ in range(options.steps + 1):
                if on_gpu:
                    torch.cuda.synchronize()
                began = time.perf_counter() if on_gpu else time.process_time()
                step()
                if on_gpu:
                    torch.cuda.synchronize()
                spent.append((time.perf_counter() if on_gpu else time.process_time()) - began)
    print(json.dumps({"seconds": spent[1:], "peak": torch.cuda.max_memory_allocated() if on_gpu else peak()}))


def forget_peak() -> None:
    """Have the kernel count the peak anew, where it can: loading a model takes more than some of the training."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak() -> int:
    """Largest resident memory of this process in bytes: since `forget_peak` on Linux, else since its start."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in STATUS.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure every variant in turn, and print the table."""
    options = arguments()
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit(f"Training cost: no ComfyUI was found; the figures need one. {HOW_TO_GET_ONE}")
    if options.variant:
        use_comfyui(comfyui)
        measure(options)
        return
    seconds: dict[str, list[float]] = {name: [] for name in (*LOOPS, *OURS)}
    peaks: dict[str, int] = dict.fromkeys(seconds, 0)
    script = Path(__file__).resolve()
    for turn in range(options.rounds):
        for name in seconds:
            command = [sys.executable, str(script.parent.parent / "devtools" / "as_pack.py"), str(script)]
            print(f"round {turn + 1} of {options.rounds}: {name}", file=sys.stderr, flush=True)
            done = subprocess.run(
                [*command, *sys.argv[1:], "--variant", name], stdout=subprocess.PIPE, text=True, check=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            seconds[name] += found["seconds"]
            peaks[name] = max(peaks[name], found["peak"])
            print(f"    {statistics.median(found['seconds']):.2f} s, {found['peak'] / 2**30:.2f} GiB", file=sys.stderr)
    times = {name: statistics.median(values) for name, values in seconds.items()}
    first, whole = LOOPS
    print(f"\n{options.pixels}x{options.pixels}, {'demo model' if options.demo else 'full size'}, {options.precision}")
    print("| a step of | seconds | of all weights' | goal | of phase 1's | peak GiB | of all weights' |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, time_spent in times.items():
        row = [name, f"{time_spent:.2f}", f"{time_spent / times[whole]:.2f}", str(GOALS.get(name, ""))]
        row += [f"{time_spent / times[first]:.2f}", f"{peaks[name] / 2**30:.2f}", f"{peaks[name] / peaks[whole]:.2f}"]
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
