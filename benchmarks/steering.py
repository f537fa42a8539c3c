"""What steering and regions do, on the demo model: things put into places, switched off, brought back, coloured.

    python dev.py bench steering --part two --pictures 100
    python dev.py bench steering --part three drawn regions gate bind bind3 time

Part two: two things into masks, mirrored masks and boxes, one switched off, the Prompt Doctor's numbers. Part three:
three things into masks, missing ones brought back. drawn: what the world's own drawings reach by the same measure.
regions: live regions, and one of two things taken away while the other is held. gate, bind, bind3: colours by regions,
four seeds a prompt. Layouts are of held-out combinations, and their seeds are used for nothing else. Every arm of a
case has the same prompt and noise; pictures of many prompts are sampled in one call. Cases are kept as soon as they are
done: an interrupted run resumes, and more pictures are added to those that are there. Results of another model
(`--model FILE`) are kept apart.
"""

from __future__ import annotations

import argparse
import os

import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench steering"))

from pack.benchmarks.acting.cases import cases_of, shared_arguments, table  # noqa: E402 - ComfyUI comes first
from pack.benchmarks.acting.looks import looks_from  # noqa: E402
from pack.benchmarks.acting.looks import table as looks_table  # noqa: E402
from pack.benchmarks.acting.steering import LOOKS, PARTS  # noqa: E402
from pack.benchmarks.acting.studio import Studio  # noqa: E402


def main() -> None:
    """Measure what is missing, and print a table for each part."""
    reader = argparse.ArgumentParser(prog="dev.py bench steering", description=__doc__)
    shared_arguments(reader, 100)
    reader.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="which parts")
    options = reader.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    cases = cases_of("steering", options)
    names = {part: [f"{part} {at}" for at in range(-(-options.pictures // PARTS[part][1]))] for part in options.part}
    studio = None
    with torch.inference_mode():
        for part, own in names.items() if not options.report else ():
            measure, _, together = PARTS[part]
            for batch in cases.batches(own, together):
                studio = studio or Studio(options.model)
                for name, result in zip(batch, measure(studio, [int(n.split()[1]) for n in batch]), strict=True):
                    cases.add(name, result)
    for part, own in names.items():
        arms = cases.arms(own)
        seen = arms.pop(LOOKS, {})
        done = sum(name in cases for name in own)
        print(f"\n{part}, {done * PARTS[part][1]} pictures of {done} prompts\n\n{table(arms)}")
        if seen:
            print(f"\nPrompt Doctor\n\n{looks_table(looks_from(seen))}")
    print(f"\nKept in {cases.file}")


if __name__ == "__main__":
    main()
