"""The ablation on a checkpoint and a photo of your own.

    python dev.py bench --checkpoint FILE --scene FOLDER
    python dev.py bench --checkpoint FILE --scene FOLDER --steps 400 400 --only full lora

The folder holds `img.png` (or .jpg); `mask0.png`, `mask1.png` ... of any size, white where the thing is; and, where
you like, `words.txt` with a starting word for each mask, one in a line. The report is a folder with `report.md`, a
picture for each way to train, and `report.json`. Nothing is downloaded, so similarities are by what the folder offers:
the error inside the masks and the map-against-mask IoU, before and after training, and how much of the colours inside
the masks comes back where the token looks in new pictures (histogram intersection).
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pack.benchmarks.lab.variants import DEFAULT, OWN_RATES, TITLES, UNTRAINED, Length, settings_of, title_of
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui
from PIL import Image
from safetensors import safe_open

PLACES = ("at the beach", "in the snow", "on a wooden floor")
USAGE = "bench checkpoint: nothing to measure. Name a model and a scene: --checkpoint FILE --scene FOLDER"


@dataclass(frozen=True)
class Line:
    """What the report says about one way to train; looks before and after."""

    variant: str
    fit: tuple[float, float]
    masked: tuple[float, float]
    colours: float
    picture: str


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--checkpoint", type=Path, help="an SD1.5 checkpoint, or the demo model's file")
    reader.add_argument("--scene", type=Path, help="a folder with img.png, mask0.png ..., words.txt")
    reader.add_argument("--steps", type=int, nargs=2, default=[400, 400], metavar=("ONE", "TWO"), help="of the phases")
    reader.add_argument("--only", nargs="+", default=[name for name in DEFAULT if name != UNTRAINED], metavar="VARIANT")
    reader.add_argument("--resolution", type=int, default=512, help="side of a square with as many pixels (512)")
    reader.add_argument("--sampler-steps", type=int, default=20)
    reader.add_argument("--class-pictures", type=int, default=16, help="for the prior of full; the code has 100")
    reader.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    reader.add_argument("--folder", type=Path, help="of the report (ablation beside the scene)")
    return reader.parse_args()


def read_scene(folder: Path, resolution: int) -> Any:
    """Read a folder as the docstring above describes it."""
    from pack.scenescope.training.scene import Concept, build_scene

    images = [folder / name for name in ("img.png", "img.jpg") if (folder / name).is_file()]
    masks = sorted(folder.glob("mask*.png"), key=lambda file: int("".join(filter(str.isdigit, file.stem)) or 0))
    if not images or not masks:
        raise SystemExit(f"bench checkpoint: {folder} holds no img.png or no mask0.png; expected both. Add them.")
    words = (folder / "words.txt").read_text("utf-8").splitlines() if (folder / "words.txt").is_file() else []
    words += [""] * (len(masks) - len(words))
    picture = torch.from_numpy(np.asarray(Image.open(images[0]).convert("RGB"), dtype=np.float32) / 255)[None]
    grey = [torch.from_numpy(np.asarray(Image.open(file).convert("L"), dtype=np.float32) / 255) for file in masks]
    concepts = [Concept(f"<asset{index}>", words[index].strip()) for index in range(len(masks))]
    return build_scene(picture, grey, concepts, resolution=resolution)


def load(file: Path) -> tuple[Any, Any, Any]:
    """Load MODEL, CLIP and VAE as the host's loader does, or the demo model."""
    import comfy.sd
    from pack.host.demo import load_demo_model

    if file.suffix == ".safetensors":
        with safe_open(str(file), "pt") as opened:
            if "scenescope_demo" in (opened.metadata() or {}):
                return load_demo_model(file)
    model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(str(file), output_vae=True, output_clip=True)
    return model, clip, vae


def colours_back(picture: np.ndarray, maps: torch.Tensor, scene: Any, asked: tuple[int, ...]) -> list[float]:
    """Compare the colours where each token looks with those inside its mask.

    Args:
        picture: (height, width, 3) float, 0 to 1.
        maps: (concept height width) float, the maps of the concepts asked for, on the picture's grid.
        scene: what was learned from.
        asked: the concepts.
    """
    from pack.scenescope.attention.segment import above_otsu
    from pack.scenescope.world.likeness import colour_overlap

    cut, _ = above_otsu(maps)
    truth = scene.pictures[0].numpy()
    return [
        colour_overlap(picture[cut[index].numpy() > 0.5], truth[scene.masks[0, thing].numpy() > 0.5])
        for index, thing in enumerate(asked)
    ]


def draw_all(studio: Any, stand: Any, scene: Any, seed: int) -> tuple[Image.Image, float]:
    """Generate every subset at every place: a sheet, places down and subsets across, and the colours that came back."""
    from pack.benchmarks.lab.trial import encode, subsets
    from pack.host.sampling import sample
    from pack.host.text import trace_words
    from pack.host.unet import record_attention
    from pack.scenescope.attention.heatmap import heatmaps
    from pack.scenescope.attention.placement import resize
    from pack.scenescope.attention.selection import Selection
    from pack.scenescope.attention.view import View
    from pack.scenescope.attention.words import find_words

    clip, settings, back = trace_words(stand.clip), replace(studio.manner.sampling, seed=seed), []
    ways, size = subsets(len(scene.concepts)), scene.size
    sheet = Image.new("RGB", (len(ways) * size.width, len(PLACES) * size.height))
    for (row, place), (column, asked) in ((a, b) for a in enumerate(PLACES) for b in enumerate(ways)):
        names = [stand.names[thing] for thing in asked]
        watched, book = record_attention(stand.model, Selection(branches=("positive",)))
        positive = encode(clip, f"a photo of {' and '.join(names)} {place}")
        blank = {"samples": torch.zeros(1, 4, *scene.latent)}
        latent = sample(watched, positive, encode(clip, ""), blank, settings)["samples"]
        picture = studio.vae.decode(latent)[0].float().cpu().numpy().clip(0, 1)
        recording = book.find(None)[0]
        table = next(entry.table for entry in recording.entries if entry.table is not None)
        seen = heatmaps(recording, find_words(table, ", ".join(names)), View("all", "latent", steps="all"))
        maps = resize(seen.values.movedim(-1, 1), size)[0].cpu()
        back += colours_back(picture, maps, scene, asked)
        sheet.paste(Image.fromarray(np.uint8(picture * 255)), (column * size.width, row * size.height))
    return sheet, float(np.mean(back))


def write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    aside = file.with_suffix(".partial")
    aside.write_text(text, "utf-8")
    os.replace(aside, file)


def markdown(lines: list[Line], options: argparse.Namespace) -> str:
    """Write the report."""
    text = [f"# {options.scene.name} with {options.checkpoint.name}", ""]
    text += [f"{options.steps[0]} + {options.steps[1]} steps, seed {options.seed}. Pictures: down {', '.join(PLACES)};"]
    text += [
        "across all subsets of the tokens. Colours: histogram intersection of what each token looks at in them",
        "",
    ]
    text[-2] += " with what its mask holds."
    text += ["| | IoU before | IoU after | masked loss before | masked loss after | colours |"]
    text += ["| --- | --- | --- | --- | --- | --- |"]
    for line in lines:
        numbers = [f"{value:.3f}" for value in (*line.fit, *line.masked, line.colours)]
        text.append("| " + " | ".join([title_of(line.variant), *numbers]) + " |")
    for line in lines:
        text += ["", f"## {title_of(line.variant)}", "", f"![{title_of(line.variant)}]({line.picture})"]
    return "\n".join(text) + "\n"


def main() -> None:
    """Train each way, draw, and write the report as far as it has come after each."""
    options = arguments()
    if options.checkpoint is None or options.scene is None:
        print(USAGE)
        return
    path = find_comfyui()
    if path is None:
        raise SystemExit(f"bench checkpoint: no ComfyUI was found; expected one to train in. {HOW_TO_GET_ONE}")
    use_comfyui(path, cpu=options.cpu or not torch.cuda.is_available())
    from pack.benchmarks.lab.trial import Manner, Studio, trained
    from pack.host.sampling import SamplerSettings

    scene = read_scene(options.scene, options.resolution)
    sampling = SamplerSettings(0, options.sampler_steps, cfg=7.5, sampler_name="dpmpp_2m", scheduler="karras")
    manner = Manner(scene.latent, sampling, "a photo at the beach", options.class_pictures)
    studio = Studio(load(options.checkpoint), manner)
    folder = options.folder or options.scene / "ablation"
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    for number, variant in enumerate(options.only):
        if variant.partition(":")[0] not in TITLES or variant == UNTRAINED:
            raise SystemExit(f"bench checkpoint: no way to train is called {variant}; expected {', '.join(TITLES)}.")
        settings = settings_of(variant, Length(*options.steps), options.seed, OWN_RATES)
        stand = trained(studio, scene, replace(settings, precision=options.precision))
        with torch.inference_mode():
            sheet, colours = draw_all(studio, stand, scene, options.seed)
        sheet.save(folder / f"{number}.png")
        fit, masked = (stand.before.fit, stand.after.fit), (stand.before.masked, stand.after.masked)
        lines.append(Line(variant, fit, masked, colours, f"{number}.png"))
        write(folder / "report.md", markdown(lines, options))
        write(folder / "report.json", json.dumps([asdict(line) for line in lines], indent=1))
        print(f"{number + 1}/{len(options.only)} {title_of(variant)}", flush=True)
    print(f"\n{markdown(lines, options)}\nIn {folder}: report.md")


if __name__ == "__main__":
    main()
