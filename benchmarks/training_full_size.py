"""Whether full-size SD1.5 trains on a small machine: seconds a step and peak memory, both modes, both phases.

`lora` at 512x512 and `full` at 256x256, in single precision, on the checkpoint with random weights, each in a process
of its own; the whole process is counted, the user's MODEL, CLIP and VAE among it. Wanted: 20 GiB at most.

    python dev.py bench training_full_size
    python devtools/as_pack.py benchmarks/training_full_size.py --mode lora --pixels 256 --checkpointing
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui

SIZES = {"lora": 512, "full": 256}
LIMIT = 20 * 2**30


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--mode", choices=tuple(SIZES), help="only this one")
    reader.add_argument("--pixels", type=int, help="side of the picture")
    reader.add_argument("--steps", type=int, default=2, help="of each phase")
    reader.add_argument("--checkpointing", action="store_true", help="blocks are computed twice")
    reader.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return reader.parse_args()


def trained(options: argparse.Namespace) -> dict[str, float]:
    """Train in this process.

    Returns:
        Seconds of a step of each phase (medians), peak bytes, and the last loss.
    """
    import comfy.sd
    from pack.host.training.models import training_ports
    from pack.scenescope.training.run.trainer import train
    from pack.scenescope.training.scene.scene import Concept, build_scene
    from pack.scenescope.training.settings import full_settings, lora_settings
    from pack.tests.support.host.checkpoint import checkpoint

    seconds: dict[int, list[float]] = {1: [], 2: []}
    preset = {"lora": lora_settings, "full": full_settings}[options.mode]
    settings = preset(phase1_steps=options.steps, phase2_steps=options.steps, prior="frozen")
    side, last = options.pixels or SIZES[options.mode], 0.0
    picture, mask = torch.rand(1, side, side, 3), torch.zeros(1, side, side)
    mask[:, : side // 2] = 1
    scene = build_scene(picture, [mask, 1 - mask], [Concept("<top>", "cat"), Concept("<bottom>", "sofa")])

    def on_step(report) -> None:  # type: ignore[no-untyped-def]
        nonlocal began, last
        seconds[report.phase].append(time.perf_counter() - began)
        began, last = time.perf_counter(), report.measured.masked

    with torch.inference_mode():
        model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(
            str(checkpoint()), output_clip=True, output_vae=True
        )
        with training_ports(model, clip, vae, scene, settings, checkpointing=options.checkpointing) as ports:
            began = time.perf_counter()
            train(scene, ports, settings, on_step=on_step)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    medians = {f"phase {phase}": statistics.median(values) for phase, values in seconds.items()}
    return {**medians, "peak": peak, "loss": last, "side": side}


def main() -> int:
    """Run each mode in a process of its own, and say whether it fits."""
    options = arguments()
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit(f"training_full_size: no ComfyUI was found. {HOW_TO_GET_ONE}")
    use_comfyui(comfyui)
    if options.inside:
        print(json.dumps(trained(options)))
        return 0
    fits = True
    loader = Path(__file__).resolve().parent.parent / "devtools" / "as_pack.py"
    words = [word for word in sys.argv[1:] if word != "--mode"]
    for mode in [options.mode] if options.mode else SIZES:
        line = [sys.executable, str(loader), str(Path(__file__).resolve()), "--mode", mode, "--inside"]
        line += [word for word in words if word not in SIZES]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{mode}: failed\n{done.stderr[-2000:]}")
            fits = False
            continue
        told = json.loads(done.stdout.splitlines()[-1])
        fits = fits and told["peak"] <= LIMIT
        print(
            f"{mode} at {told['side']:.0f}x{told['side']:.0f}: {told['phase 1']:.1f} s a step in phase 1, "
            f"{told['phase 2']:.1f} s in phase 2, peak {told['peak'] / 2**30:.1f} GiB (wanted: 20 at most)"
        )
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
