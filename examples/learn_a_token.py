"""Learn the things of one picture as tokens, keep them in a file, and paint them elsewhere, through diffusers.

    python learn_a_token.py --output pictures

The file works in ComfyUI too, in Load Concepts, and one that was learned there works here.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from scenescope.diffusers_adapter import Scope, demo_pipeline, demo_scene, load_concepts, save_concepts
from scenescope.scenescope.training.settings import lora_settings

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="a folder for what is made")
parser.add_argument("--steps", type=int, nargs=2, default=(100, 150), help="of phase 1 and phase 2")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)


def save(picture: torch.Tensor, name: str) -> None:
    """Write a picture (height width 3) 0..1, and say where."""
    Image.fromarray((picture * 255).round().byte().numpy()).save(options.output / name)
    print(options.output / name)


scope, scene = Scope(demo_pipeline()), demo_scene(seed=0, things=2)
save(scene.pictures[0], "learned from.png")
settings = lora_settings(
    phase1_steps=options.steps[0],
    phase2_steps=options.steps[1],
    phase1_rows_rate=5e-3,  # the demo model's rates; leave them out with SD1.5
    weights_rate=1e-3,
)


def tell(report) -> None:
    """Say every 25 steps how far it is."""
    if report.step % 25 == 0:
        iou = ", ".join(f"{handle} {value:.2f}" for handle, value in report.measured.ious.items())
        print(f"step {report.step} of {report.steps}: masked loss {report.measured.masked:.3f}, IoU {iou}", flush=True)


# An interrupted run resumes from its last saved step.
concepts = scope.learn(scene, settings, on_step=tell, keep=options.output / "state.safetensors")
save_concepts(concepts, options.output / "toys.concepts.safetensors")
print(options.output / "toys.concepts.safetensors")
made = scope.generate(
    load_concepts(options.output / "toys.concepts.safetensors"),
    "a photo of {tokens} in the snow",
    seeds=[0, 1],
    height=128,
    width=128,
    num_inference_steps=12,
    guidance_scale=2.0,
)
save(made.grid[0], "painted elsewhere.png")
save(scope.drawing(made.recording, ", ".join(concepts.handles))[0], "where the tokens went.png")
