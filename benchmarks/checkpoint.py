"""The ablation on a checkpoint and a photo of your own.

    python dev.py bench --checkpoint FILE --scene FOLDER
    python dev.py bench --checkpoint FILE --scene FOLDER --steps 400 400 --only full lora

The folder holds `img.png` (or .jpg); `mask0.png`, `mask1.png` ... of any size, white where the thing is; and, where
you like, `words.txt` with a starting word for each mask, one in a line. The report is a folder with `report.md`, a
picture for each way to train, and `report.json`. Nothing is downloaded, so similarities are by what the folder offers:
the error inside the masks and the map-against-mask IoU, before and after training, and how much of the colours inside
the masks comes back where the token looks in new pictures (histogram intersection). A run that was broken off goes on
with the ways that are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pack.benchmarks.lab.files import write, write_picture
from pack.benchmarks.lab.variants import DEFAULT, OWN_RATES, TITLES, UNTRAINED, Length, settings_of, title_of
from pack.devtools.comfyui import HOW_TO_GET_ONE, find_comfyui, use_comfyui
from pack.scenescope.errors import InputError
from PIL import Image
from safetensors import safe_open

PLACES = ("at the beach", "in the snow", "on a wooden floor")
USAGE = "bench checkpoint: nothing to measure. Name a model and a scene: --checkpoint FILE --scene FOLDER"


Pair = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """What the report says about one way to train; looks before and after, None where nothing is trained.

    Args:
        key: of all that it depends on.
        variant: the way.
        fit: map-against-mask IoU.
        masked: the loss inside the masks.
        colours: that came back, 0 to 1.
        picture: the sheet's file name.
    """

    key: str
    variant: str
    fit: Pair | None
    masked: Pair | None
    colours: float
    picture: str


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--checkpoint", type=Path, help="an SD1.5 checkpoint, or the demo model's file")
    reader.add_argument("--scene", type=Path, help="a folder with img.png, mask0.png ..., words.txt")
    reader.add_argument("--steps", type=int, nargs=2, default=[400, 400], metavar=("ONE", "TWO"), help="of the phases")
    reader.add_argument("--only", nargs="+", default=list(DEFAULT), metavar="VARIANT", help=" ".join(DEFAULT))
    reader.add_argument("--resolution", type=int, default=512, help="side of a square with as many pixels (512)")
    reader.add_argument("--sampler-steps", type=int, default=20)
    reader.add_argument("--class-pictures", type=int, default=16, help="for the prior of full; the code has 100")
    reader.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    reader.add_argument("--folder", type=Path, help="of the report (ablation beside the scene)")
    return reader.parse_args()


def check(options: argparse.Namespace) -> None:
    """Say what is wrong before anything takes long."""
    if not options.checkpoint.is_file():
        raise SystemExit(f"bench checkpoint: there is no file {options.checkpoint}; expected an SD1.5 checkpoint.")
    if unknown := [name for name in options.only if name.partition(":")[0] not in TITLES]:
        raise SystemExit(f"bench checkpoint: no way to train is called {unknown[0]}; expected {', '.join(TITLES)}.")
    for variant in options.only:
        if variant != UNTRAINED:
            settings_of(variant, Length(*options.steps), options.seed, OWN_RATES)


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


def draw_all(studio: Any, stand: Any, scene: Any, seed: int) -> tuple[torch.Tensor, float]:
    """Generate every subset at every place.

    Returns:
        The sheet (1 height width 3) float, 0 to 1, places down and subsets across, and the share of the colours that
        came back.
    """
    from pack.benchmarks.lab.trial import encode, subsets
    from pack.host.sampling import sample
    from pack.host.text import trace_words
    from pack.host.unet import record_attention
    from pack.scenescope.attention.heatmap import heatmaps
    from pack.scenescope.attention.labelled import labelled_grid
    from pack.scenescope.attention.placement import resize
    from pack.scenescope.attention.selection import Selection
    from pack.scenescope.attention.view import View
    from pack.scenescope.attention.words import find_words

    clip, settings = trace_words(stand.clip), replace(studio.manner.sampling, seed=seed)
    ways, pictures, back = subsets(len(scene.concepts)), [], []
    names = [[stand.names[thing] for thing in asked] for asked in ways]
    for place in PLACES:
        for asked, called in zip(ways, names, strict=True):
            watched, book = record_attention(stand.model, Selection(branches=("positive",)))
            positive = encode(clip, f"a photo of {' and '.join(called)} {place}")
            blank = {"samples": torch.zeros(1, 4, *scene.latent)}
            latent = sample(watched, positive, encode(clip, ""), blank, settings)["samples"]
            picture = studio.vae.decode(latent)[0].float().cpu().numpy().clip(0, 1)
            recording = book.find(None)[0]
            table = next(entry.table for entry in recording.entries if entry.table is not None)
            seen = heatmaps(recording, find_words(table, ", ".join(called)), View("all", "latent", steps="all"))
            maps = resize(seen.values.movedim(-1, 1), scene.size)[0].cpu()
            back += colours_back(picture, maps, scene, asked)
            pictures.append(torch.from_numpy(picture))
    sheet = labelled_grid(torch.stack(pictures), PLACES, [" and ".join(called) for called in names])
    return sheet, float(np.mean(back))


def key_of(options: argparse.Namespace, settings: object) -> str:
    """A digest of all that a line depends on."""
    model = options.checkpoint.stat()
    digest = hashlib.blake2b(repr((model.st_size, model.st_mtime_ns, settings, PLACES)).encode(), digest_size=8)
    digest.update(repr((options.resolution, options.sampler_steps, options.class_pictures, options.seed)).encode())
    for file in sorted(options.scene.iterdir()):
        if file.name.startswith(("img.", "mask", "words.")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def earlier(folder: Path) -> dict[str, Line]:
    """The lines that a run before this one finished, by their keys; not those whose picture is gone."""
    file = folder / "report.json"
    if not file.is_file():
        return {}
    lines = [Line(**line) for line in json.loads(file.read_text("utf-8")) if "key" in line]
    return {line.key: line for line in lines if (folder / line.picture).is_file()}


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
        pairs = (*(line.fit or (None, None)), *(line.masked or (None, None)), line.colours)
        numbers = ["-" if value is None else f"{value:.3f}" for value in pairs]
        text.append("| " + " | ".join([title_of(line.variant), *numbers]) + " |")
    for line in lines:
        text += ["", f"## {title_of(line.variant)}", "", f"![{title_of(line.variant)}]({line.picture})"]
    return "\n".join(text) + "\n"


def measure(make: Callable[[], Any], scene: Any, options: argparse.Namespace, folder: Path) -> list[Line]:
    """Train each way, draw, and write the report as far as it has come after each.

    Args:
        make: loads the model; it is not called where nothing is missing.
        scene: what is learned from.
        options: the command line.
        folder: of the report.
    """
    from pack.benchmarks.lab.trial import Stand, trained

    known, studio, lines = earlier(folder), None, []
    for number, variant in enumerate(options.only):
        settings: Any = None
        if variant != UNTRAINED:
            settings = settings_of(variant, Length(*options.steps), options.seed, OWN_RATES)
            settings = replace(settings, precision=options.precision)
        key = key_of(options, settings)
        line = known.get(key)
        if line is None:
            studio = studio or make()
            names = tuple(f"a {concept.word}" for concept in scene.concepts)
            stand = trained(studio, scene, settings) if settings else Stand(studio.model, studio.clip, names)
            with torch.inference_mode():
                sheet, colours = draw_all(studio, stand, scene, options.seed)
            picture = f"{key}.png"
            write_picture(folder / picture, sheet[0].numpy())
            looks = (stand.before, stand.after) if stand.before and stand.after else None
            fit = (looks[0].fit, looks[1].fit) if looks else None
            masked = (looks[0].masked, looks[1].masked) if looks else None
            line = Line(key, variant, fit, masked, colours, picture)
        lines.append(line)
        write(folder / "report.md", markdown(lines, options))
        kept = [*lines, *(other for other in known.values() if other.key not in {line.key for line in lines})]
        write(folder / "report.json", json.dumps([asdict(line) for line in kept], indent=1))
        print(f"{number + 1}/{len(options.only)} {title_of(variant)}", flush=True)
    return lines


def main() -> None:
    """Read the model and the scene, measure what is missing, and show the report."""
    options = arguments()
    if options.checkpoint is None or options.scene is None:
        print(USAGE)
        return
    path = find_comfyui()
    if path is None:
        raise SystemExit(f"bench checkpoint: no ComfyUI was found; expected one to train in. {HOW_TO_GET_ONE}")
    use_comfyui(path, cpu=options.cpu or not torch.cuda.is_available())
    try:
        check(options)
        scene = read_scene(options.scene, options.resolution)
        if UNTRAINED in options.only and not all(concept.word for concept in scene.concepts):
            options.only = [variant for variant in options.only if variant != UNTRAINED]
            print("Without a line for the starting words: words.txt does not have one for each mask.", flush=True)
        folder = options.folder or options.scene / "ablation"
        folder.mkdir(parents=True, exist_ok=True)
        lines = measure(lambda: studio_of(options, scene), scene, options, folder)
    except InputError as error:
        raise SystemExit(f"bench checkpoint: {error}") from error
    print(f"\n{markdown(lines, options)}\nIn {folder}: report.md")


def studio_of(options: argparse.Namespace, scene: Any) -> Any:
    """The model, and how it makes pictures."""
    from pack.benchmarks.lab.trial import Manner, Studio
    from pack.host.sampling import SamplerSettings

    sampling = SamplerSettings(0, options.sampler_steps, cfg=7.5, sampler_name="dpmpp_2m", scheduler="karras")
    manner = Manner(scene.latent, sampling, "a photo at the beach", options.class_pictures)
    return Studio(load(options.checkpoint), manner)


if __name__ == "__main__":
    main()
