"""Where each word of a prompt went, through diffusers: heatmaps, masks and the shapes of every block.

    pip install "scenescope[diffusers] @ git+https://github.com/scenescope/scenescope"
    python where_words_went.py --output pictures

With your own model, in place of the demo model:

    pipe = StableDiffusionPipeline.from_single_file("sd15.safetensors")
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from scenescope.diffusers_adapter import Scope, demo_pipeline


def save(picture: torch.Tensor, path: Path) -> None:
    """Write a picture (height width 3) 0..1, and say where."""
    Image.fromarray((picture * 255).round().byte().numpy()).save(path)
    print(path)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--output", type=Path, default=Path("pictures"), help="a folder for the pictures")
parser.add_argument("--prompt", default="a photo of a dotted blue heart and a red circle on a wooden floor")
parser.add_argument("--words", default="blue heart, red circle, wooden floor", help="separated by commas")
options = parser.parse_args()
options.output.mkdir(parents=True, exist_ok=True)

pipe = demo_pipeline()
scope = Scope(pipe)
with scope.record() as session:
    picture = pipe(
        options.prompt,
        height=128,
        width=128,
        num_inference_steps=12,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(1),
        output_type="pt",
    ).images[0]

recording = session.recording
print(recording.describe())
print(scope.shapes(128, 128).splitlines()[2])  # of the table only its titles; print all of it for the shape log
save(picture.movedim(0, -1), options.output / "picture.png")
save(scope.drawing(recording, options.words)[0], options.output / "heatmaps.png")
masks = scope.masks(recording, options.words)
print(masks.describe())
for word, mask in zip(scope.words(recording, options.words), masks.masks, strict=True):
    save(mask[..., None].expand(-1, -1, 3), options.output / f"mask {word.label}.png")
