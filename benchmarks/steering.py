"""What steering and regions do, on the demo model: things put into places, switched off, brought back, coloured.

    python dev.py bench steering --part masks --pictures 100
    python dev.py bench steering --part boxes mirror three off back region gate bind bind3 time

Layouts are of held-out combinations, and their seeds are used for nothing else. Every arm of a case has the same prompt
and noise; the first one is unsteered. Each case is kept as soon as it is done: a run that was broken off goes on, and
more pictures are added to those that are there. Results of another model (`--model FILE`) are kept apart.
"""

from __future__ import annotations

import argparse
import os

import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench steering"))

from pack.benchmarks.acting.cases import cases_of, shared_arguments, table  # noqa: E402 - ComfyUI comes first
from pack.benchmarks.acting.steering import PARTS  # noqa: E402
from pack.benchmarks.acting.studio import Studio  # noqa: E402


def main() -> None:
    """Measure what is missing, and print a table for each part."""
    reader = argparse.ArgumentParser(prog="dev.py bench steering", description=__doc__)
    shared_arguments(reader, 100)
    reader.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="which parts")
    options = reader.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    cases = cases_of("steering", options)
    names = {part: [f"{part} {index}" for index in range(options.pictures)] for part in options.part}
    studio = None
    with torch.inference_mode():
        for part, own in names.items():
            for name in cases.missing(own):
                studio = studio or Studio(options.model)
                cases.add(name, PARTS[part](studio, int(name.split()[1])))
    for part, own in names.items():
        print(f"\n{part}, {options.pictures} prompts\n\n{table(cases.arms(own))}")
    print(f"\nKept in {cases.file}")


if __name__ == "__main__":
    main()
