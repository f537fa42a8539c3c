"""The paper's own ablation in small, on the demo model's drawn world: what each part of the method is there for.

    python dev.py bench ablation --seeds 1                   each row of docs/figures.md, trained once a scene
    python dev.py bench ablation --seeds 3 --only full lora  the two presets twice more
    python dev.py bench ablation --seeds 3 --report          the table, plot and numbers of all of these
    python dev.py bench ablation --scenes 1 --only full lora a look at two of its rows
    python dev.py bench ablation --family demo --only lora:rank=4 lora:rank=4,prior=off     other settings, to choose

Protocol, after Avrahami et al. 2023, section 4.1: on each scene of two and of three unseen things, templates x all
subsets of the tokens x seeds. Each trial is one file in the folder; an interrupted run resumes with what is
missing, and a change of settings begins new files. One process for each core.

A variant is `full` or `lora`, perhaps `-masks`, `-attention`, `-union` or `-phase1` (left out), perhaps `:field=value`
with commas (settings of the training). Similarities and leakage: demo/judge/likeness.py. Map-against-mask IoU and
masked loss: of the scene itself, noised ten times at fixed places of the schedule, with a prompt that names everything.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from pack.benchmarks.lab.files import write, write_picture
from pack.benchmarks.lab.scatter import draw_scatter
from pack.benchmarks.lab.tables import differences, markdown, spots, summary
from pack.benchmarks.lab.variants import DEFAULT, TITLES, WITHOUT_TRAINING, settings_of
from pack.devtools.as_pack import command
from pack.devtools.comfyui import need_comfyui, use_comfyui
from pack.devtools.environment import cache_folder
from pack.scenescope.errors import InputError
from pack.scenescope.world.demo_file import DEMO_FILE
from pack.scenescope.world.vocabulary import WORLD_VERSION

TRAINED = len(DEFAULT) - len(WITHOUT_TRAINING)
ROWS = (*DEFAULT[:TRAINED], "lora:prior=frozen", *WITHOUT_TRAINING)
"""`lora` without a prior is compared with `full` without one, and stands beside what ships."""
MODEL = hashlib.blake2b(DEMO_FILE.read_bytes(), digest_size=8).hexdigest()
AXES = ("leakage (less is better)", "map-against-mask IoU (more is better)")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(prog="dev.py bench ablation", description=__doc__)
    reader.formatter_class = argparse.RawDescriptionHelpFormatter
    reader.add_argument("--scenes", type=int, default=6, help="scenes with two things, and as many with three (6)")
    reader.add_argument("--first", type=int, default=0, metavar="SCENE", help="scene to begin with (0)")
    families = "things that nothing is tuned on (test), or those of Demo Scene (demo)"
    reader.add_argument("--family", choices=("test", "demo"), default="test", help=families)
    reader.add_argument("--things", type=int, nargs="+", default=[2, 3], choices=[2, 3], help="things in a scene")
    reader.add_argument("--seeds", type=int, default=2, help="training runs per scene (2)")
    reader.add_argument("--steps", type=int, nargs=2, default=[150, 250], metavar=("ONE", "TWO"), help="per phase")
    reader.add_argument("--templates", type=int, default=2, help="backgrounds per scene (2)")
    reader.add_argument("--pictures", type=int, default=1, help="pictures per prompt (1)")
    reader.add_argument("--only", nargs="+", default=list(ROWS), metavar="VARIANT", help=" ".join(ROWS))
    reader.add_argument("--folder", type=Path, default=cache_folder() / "ablation", help="where everything is written")
    reader.add_argument("--report", action="store_true", help="print the results so far, and measure nothing")
    reader.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    reader.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = reader.parse_args()
    if unknown := [variant for variant in options.only if variant.partition(":")[0] not in TITLES]:
        reader.error(f"there is no way to train called {unknown[0]}; choose from {', '.join(TITLES)}")
    try:
        planned(options)
    except InputError as error:
        reader.error(str(error))
    return options


def planned(options: argparse.Namespace) -> list[tuple[tuple[str, int, int, int], Path]]:
    """All trials (variant, things, scene, seed), scene by scene, and the file of each."""
    trials, which = [], range(options.first, options.first + options.scenes)
    scenes = itertools.product(range(options.seeds), which, options.things, options.only)
    for seed, scene, things, variant in scenes:
        method = "" if variant in WITHOUT_TRAINING else repr(settings_of(variant, tuple(options.steps), seed))
        content = repr((MODEL, WORLD_VERSION, options.family, options.templates, options.pictures, method))
        digest = hashlib.blake2b(content.encode(), digest_size=6).hexdigest()
        name = f"{variant.partition(':')[0]}-{things}-{scene}-{seed}-{digest}.json"
        trials.append(((variant, things, scene, seed), options.folder / "trials" / name))
    return trials


def work(options: argparse.Namespace) -> None:
    """Run the trials of one process, each written completely or not at all."""
    use_comfyui(need_comfyui("bench ablation"), cpu=not torch.cuda.is_available())
    torch.set_num_threads(1)
    from pack.benchmarks.lab.trial import Lab, Protocol, Trial, run_trial
    from pack.host.demo import load_demo_model

    protocol = Protocol(tuple(options.steps), options.templates, options.pictures)
    lab = Lab(load_demo_model(), options.folder / "class_pictures")
    own = [(trial, file) for trial, file in planned(options)[options.worker :: options.processes] if not file.exists()]
    for number, (trial, file) in enumerate(own):
        result, pictures = run_trial(lab, Trial(*trial, options.family == "test"), protocol)
        write_picture(file.with_suffix(".png"), np.concatenate(pictures, axis=1))  # the scene, then prompt by prompt
        write(file, json.dumps(result))
        told = f"{trial[0]}, {trial[1]} things, scene {trial[2]}, seed {trial[3]}"
        print(f"process {options.worker}: {number + 1}/{len(own)} {told}", flush=True)


def run_all(options: argparse.Namespace) -> bool:
    """Start the processes, and say whether all went well."""
    started = []
    for number in range(options.processes):
        own = command(__file__, *sys.argv[1:], "--worker", number, "--processes", options.processes)
        started.append(subprocess.Popen(own, env=os.environ | {"OMP_NUM_THREADS": "1"}))
    try:
        codes = [process.wait() for process in started]
        return not any(codes)
    finally:
        for process in started:
            process.terminate()


def report(options: argparse.Namespace) -> None:
    """Write and print the tables, the numbers and the plot of all trials that are there."""
    results = [json.loads(file.read_text("utf-8")) for _, file in planned(options) if file.exists()]
    if not results:
        raise SystemExit("bench ablation: no trial is finished.")
    table = markdown(results, options.only)
    figures = {
        "model": MODEL,
        "steps": options.steps,
        "figures": _plain(summary(results, options.only)),
        "minus full": _plain(differences(results, options.only, "full")),
    }
    write(options.folder / "ablation.md", table)
    write(options.folder / "ablation.json", json.dumps(figures, indent=1))
    draw_scatter(spots(results, options.only), "The demo model's ablation", AXES).save(options.folder / "ablation.png")
    pictures = sum(len(result["pictures"]) for result in results)
    print(f"\n{len(results)} trials, {pictures} pictures, {options.steps[0]} + {options.steps[1]} steps\n")
    print(table)
    print(f"In {options.folder}: ablation.md, ablation.json, ablation.png")


def _plain(figures: dict) -> dict:  # type: ignore[type-arg]
    return {
        variant: {name: {key: round(value, 4) for key, value in asdict(one).items()} for name, one in own.items()}
        for variant, own in figures.items()
    }


def main() -> None:
    """Run what is missing, then report."""
    options = arguments()
    (options.folder / "trials").mkdir(parents=True, exist_ok=True)
    if options.worker is not None:
        work(options)
        return
    missing = 0 if options.report else sum(not file.exists() for _, file in planned(options))
    print(f"{len(planned(options))} trials, {missing} to do, on {options.processes} processes", flush=True)
    whole = run_all(options) if missing else True
    report(options)
    if not whole:
        raise SystemExit("bench ablation: a process failed; its output is above. Run it again.")


if __name__ == "__main__":
    main()
