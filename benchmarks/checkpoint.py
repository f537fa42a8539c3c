"""The ablation on a checkpoint and a photo of your own.

    python dev.py bench --checkpoint FILE --scene FOLDER
    python dev.py bench --checkpoint FILE --scene FOLDER --steps 400 400 --only full lora

The folder holds `img.png` (or .jpg); `mask0.png`, `mask1.png` ... of the picture's shape, in any size, white where the
thing is; and, where you like, `words.txt` with a starting word for each mask, one in a line. The report is a folder
with `report.md`, the masks on the photo (`scene.png`), a picture for each way to train, and `results.json`. Nothing is
downloaded, so similarities are by what the folder offers: the error inside the masks and the map-against-mask IoU,
before and after training, and how much of the colours inside the masks comes back where the token looks in new
pictures (histogram intersection).

An interrupted run resumes where it stopped: with the remaining ways, and within one from its last saved step.
A way that does not fit in memory is noted, and the next one is tried; `full` wants more than twenty gigabytes.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pack.benchmarks.acting.cases import Cases
from pack.benchmarks.lab.files import load_model, write, write_picture
from pack.benchmarks.lab.report import PLACES, SCENE, Line, markdown
from pack.benchmarks.lab.variants import (
    DEFAULT,
    OWN_RATES,
    TITLES,
    UNTRAINED,
    WITHOUT_TRAINING,
    settings_of,
    title_of,
)
from pack.devtools.comfyui import need_comfyui, use_comfyui
from pack.scenescope.errors import FileError, InputError, SceneScopeError

WAYS = (UNTRAINED, "lora", *(way for way in DEFAULT if way not in (*WITHOUT_TRAINING, "lora")))
KNOWN = [name for name in TITLES if name == UNTRAINED or name not in WITHOUT_TRAINING]
"""What needs little memory and time comes first."""
KEPT_EVERY = {"lora": 50, "full": 100}
"""Steps from one writing of the state to the next; that of `full` is twelve gigabytes."""
RESULTS = "results.json"
USAGE = "bench checkpoint: nothing to measure. Name a model and a scene: --checkpoint FILE --scene FOLDER"


def arguments() -> argparse.Namespace:
    """Read the command line; files and folders are looked for where the user stands."""
    reader = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--checkpoint", type=Path, help="an SD1.5 checkpoint, or the demo model's file")
    reader.add_argument("--scene", type=Path, help="a folder with img.png, mask0.png ..., words.txt")
    reader.add_argument("--steps", type=int, nargs=2, default=[400, 400], metavar=("ONE", "TWO"), help="per phase")
    reader.add_argument("--only", nargs="+", default=list(WAYS), metavar="VARIANT", help=" ".join(WAYS))
    reader.add_argument("--resolution", type=count, default=512, help="side of a square with as many pixels (512)")
    reader.add_argument("--sampler-steps", type=count, default=20)
    reader.add_argument("--class-pictures", type=count, default=16, help="for the prior of full; the code has 100")
    reader.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    reader.add_argument("--checkpointing", action="store_true", help="less memory, more time, same results")
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--cpu", action="store_true", help="don't use a GPU")
    reader.add_argument("--folder", type=Path, help="for the report (ablation in the scene's folder)")
    options = reader.parse_args()
    if options.checkpoint and options.scene:
        options.checkpoint = options.checkpoint.expanduser().absolute()
        options.scene = options.scene.expanduser().resolve()
        options.folder = (options.folder or options.scene / "ablation").expanduser().resolve()
    return options


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more.")
    return int(text)


def check(options: argparse.Namespace) -> None:
    """Say what is wrong before anything takes long."""
    if not options.checkpoint.is_file():
        raise FileError(f"there is no file {options.checkpoint}. Give an SD1.5 checkpoint to --checkpoint.")
    if unknown := [name for name in options.only if name.partition(":")[0] not in KNOWN]:
        raise InputError(f"there is no way to train called {unknown[0]}. For --only choose from {', '.join(KNOWN)}.")
    for variant in options.only:
        settings_for(variant, options)


def settings_for(variant: str, options: argparse.Namespace) -> Any:
    """The settings of a way to train; None where nothing is trained."""
    if variant == UNTRAINED:
        return None
    rates = {mode: {"precision": options.precision, **own} for mode, own in OWN_RATES.items()}
    return settings_of(variant, tuple(options.steps), options.seed, rates)


def key_of(options: argparse.Namespace, settings: object) -> str:
    """A digest of all that a line depends on."""
    model = options.checkpoint.stat()
    digest = hashlib.blake2b(repr((model.st_size, model.st_mtime_ns, settings, PLACES)).encode(), digest_size=8)
    digest.update(repr((options.resolution, options.sampler_steps, options.class_pictures, options.seed)).encode())
    for file in sorted(options.scene.iterdir()):
        if file.is_file() and file.name.startswith(("img.", "mask", "words.")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def measure(make: Callable[[], Any], scene: Any, options: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """Train each way, draw, and write the report as far as it has come after each.

    Args:
        make: loads the model; it is not called where nothing is missing.
        scene: what is learned from.
        options: the command line.

    Returns:
        The report, and the ways that failed, with the reason.
    """
    from pack.host.training.run import sweep

    sweep(options.folder)
    known, lab, text = Cases(options.folder / RESULTS), None, ""
    lines: list[Line] = []
    failed: dict[str, str] = {}
    steps = f"{options.steps[0]} + {options.steps[1]} steps, seed {options.seed}."
    for number, variant in enumerate(options.only):
        settings = settings_for(variant, options)
        key = key_of(options, settings)
        is_there = key in known.known and (options.folder / known.known[key]["picture"]).is_file()
        print(f"{number + 1}/{len(options.only)} {title_of(variant)}{': as it was' if is_there else ''}", flush=True)
        if not is_there:
            lab = lab or make()
            found = attempt(lab, scene, settings, options, (variant, key))
            if isinstance(found, Line):
                known.add(key, asdict(found))
                state_file(options.folder, key).unlink(missing_ok=True)
            else:
                failed[variant] = found
                print(f"  {found}", flush=True)
        if variant not in failed:
            lines.append(Line(**known.known[key]))
        text = markdown(f"{options.scene.name} with {options.checkpoint.name}", steps, lines, failed)
        write(options.folder / "report.md", text)
    return text, failed


def attempt(lab: Any, scene: Any, settings: Any, options: argparse.Namespace, named: tuple[str, str]) -> Line | str:
    """Measure one way, or say why it cannot be; the others do not depend on it."""
    import comfy.model_management
    from pack.host.training.copies import release
    from pack.host.training.memory import is_out_of_memory

    try:
        return line_of(lab, scene, settings, options, named)
    except Exception as error:
        if is_out_of_memory(error):
            why = f"did not fit in memory: {room(lab, scene, settings, options)}"
        elif isinstance(error, SceneScopeError):
            why = f"failed: {error}"
        else:
            raise
    comfy.model_management.unload_all_models()
    release()
    return why


def line_of(lab: Any, scene: Any, settings: Any, options: argparse.Namespace, named: tuple[str, str]) -> Line:
    """Train one way (its name and its key) or none, and draw; the model that was trained is let go of."""
    from pack.benchmarks.lab.progress import Progress
    from pack.benchmarks.lab.sheet import draw_all
    from pack.benchmarks.lab.trial import Course, Stand, trained

    variant, key = named
    progress = Progress(settings)
    lab.on_picture = progress.picture
    stand = Stand(lab.model, lab.clip, tuple(f"a {concept.word}" for concept in scene.concepts))
    if settings:
        keeping = keeping_for(lab, settings, state_file(options.folder, key), progress.say)
        course = Course(progress.say, progress.begin, progress.step, keeping, options.checkpointing)
        stand = trained(lab, scene, settings, course)
    progress.say("Drawing")
    with torch.inference_mode():
        sheet, colours = draw_all(lab, stand, scene, options.seed)
    picture = f"{key}.png"
    write_picture(options.folder / picture, sheet[0].numpy())
    iou, masked = zip(*((look.iou, look.masked) for look in stand.looks), strict=True) if stand.looks else (None, None)
    return Line(variant, iou, masked, colours, picture)


def state_file(folder: Path, key: str) -> Path:
    """Where a way's state is kept until its line is written."""
    return folder / f"{key}.state"


def keeping_for(lab: Any, settings: Any, file: Path, say: Callable[[str], None]) -> Any:
    """How a way's state is kept; None, and a word about it, where the disk has no room for it."""
    from pack.scenescope.dims import bytes_text
    from pack.scenescope.training.run.trainer import StateStore

    weights = sum(weight.numel() for weight in lab.model.model.diffusion_model.parameters())
    wanted = 24 * weights if settings.mode == "full" and settings.phase2_steps else 0  # an old state beside the new one
    free = shutil.disk_usage(file.parent).free
    if free < wanted:
        say(f"The state is not kept: {file.parent} has {bytes_text(free)} free, and {bytes_text(wanted)} are needed.")
        return None
    return StateStore(file, KEPT_EVERY[settings.mode])


def room(lab: Any, scene: Any, settings: Any, options: argparse.Namespace) -> str:
    """How much memory there is, how much is wanted, and what to try."""
    import comfy.model_management
    from pack.host.training.memory import memory_wanted
    from pack.scenescope.dims import bytes_text

    device = lab.model.load_device
    told = f"{device} has {bytes_text(comfy.model_management.get_total_memory(device))} in all"
    if settings:
        told += f", and about {bytes_text(memory_wanted(lab.model, lab.clip, scene, settings))} are wanted"
    advice = [] if options.checkpointing or not settings else ["--checkpointing"]
    advice += ["--precision bfloat16"] if settings and settings.precision == "float32" and device.type != "cpu" else []
    advice.append(f"--resolution {options.resolution * 3 // 4 // 8 * 8}")
    return f"{told}. Try {', '.join(advice)}."


def lab_of(options: argparse.Namespace, scene: Any) -> Any:
    """The model, and how it makes pictures."""
    from pack.benchmarks.lab.trial import Lab, Manner
    from pack.host.recording.sampling import SamplerSettings
    from pack.host.training.models import check_trainable

    sampling = SamplerSettings(0, options.sampler_steps, cfg=7.5, sampler_name="dpmpp_2m", scheduler="karras")
    manner = Manner(scene.latent, sampling, "a photo at the beach", options.class_pictures)
    print(f"Loading {options.checkpoint}", flush=True)
    parts = load_model(options.checkpoint)
    check_trainable(*parts[:2])
    return Lab(parts, options.folder / "class_pictures", manner)


def bench(options: argparse.Namespace) -> None:
    """Read the model and the scene, measure what is missing, and show the report."""
    use_comfyui(need_comfyui("bench checkpoint"), cpu=options.cpu or not torch.cuda.is_available())
    from pack.benchmarks.lab.photo import read_photo
    from pack.scenescope.training.scene.preview import describe, preview

    check(options)
    photo = read_photo(options.scene, options.resolution)
    concepts = photo.scene.concepts
    if UNTRAINED in options.only and not all(concept.word for concept in concepts):
        lacking = f"words.txt has {sum(bool(concept.word) for concept in concepts)} of {len(concepts)} starting words"
        options.only = [variant for variant in options.only if variant != UNTRAINED]
        if not options.only:
            raise InputError(f"{lacking}; {UNTRAINED} asks for the things by them. Write one for each mask, in a line.")
        print(f"{UNTRAINED} is left out: {lacking}.", flush=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    write_picture(options.folder / SCENE, preview(photo.scene, photo.found)[0].numpy())
    print(f"{describe(photo.scene, photo.found)}\nThe masks on the photo: {options.folder / SCENE}", flush=True)
    text, failed = measure(lambda: lab_of(options, photo.scene), photo.scene, options)
    print(f"\n{text}\nIn {options.folder}: report.md, {RESULTS}, {SCENE}", flush=True)
    if failed:
        ways = ", ".join(failed)
        raise SystemExit(f"bench checkpoint: {len(failed)} of {len(options.only)} ways failed: {ways}.")


def main() -> None:
    """Run, and end with one sentence where it cannot."""
    options = arguments()
    if options.checkpoint is None or options.scene is None:
        print(USAGE)
        return
    try:
        bench(options)
    except (SceneScopeError, OSError) as error:
        raise SystemExit(f"bench checkpoint: {error}") from error
    except KeyboardInterrupt:
        print("\nbench checkpoint: interrupted; the same command resumes from here.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
