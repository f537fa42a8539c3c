"""How well the Prompt Doctor tells what is missing, on the demo model: its measure, its limits, and a control.

    python dev.py bench doctor --pictures 60 --seed 51
    python dev.py bench doctor --pictures 100 --seed 52      (not the seed that the limits were set on)

Pictures of two and of three things, in combinations that were held back from training, are sampled and recorded; the
world's own checker says which things came out. What did not is `gone` where nothing in its colour is in the picture,
and `spoilt` where something is: in another shape, or grown together with another thing. AUC is the share of pairs of
such a thing and one that is there that the measure orders rightly; the control gives each thing the number of another
one of its picture.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import torch
from pack.devtools.comfyui import need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench doctor"))

from pack.benchmarks.acting.cases import cases_of, shared_arguments  # noqa: E402
from pack.benchmarks.acting.crowd import Pose  # noqa: E402
from pack.benchmarks.acting.looks import Look, leaks, looks_of, table  # noqa: E402
from pack.benchmarks.acting.studio import TOGETHER, Studio  # noqa: E402
from pack.demo.measure import layouts  # noqa: E402
from pack.scenescope.world.scene import full_caption  # noqa: E402


def main() -> None:
    """Measure what is missing, and print the table."""
    reader = argparse.ArgumentParser(prog="dev.py bench doctor", description=__doc__)
    shared_arguments(reader, 60)
    reader.add_argument("--seed", type=int, default=51, help="of the layouts; the limits were set on 51")
    options = reader.parse_args()
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    cases, studio = cases_of(f"doctor-{options.seed}", options), None
    names = [f"{count} {index}" for count in (2, 3) for index in range(options.pictures)]
    wanted = {count: layouts(options.seed, options.pictures, count) for count in (2, 3)}
    with torch.inference_mode():
        for batch in cases.batches([] if options.report else names, TOGETHER):
            studio = studio or Studio(options.model)
            own = [(wanted[int(count)][int(index)], int(index)) for count, index in map(str.split, batch)]
            recorded = studio.recorded([Pose(full_caption(layout), index) for layout, index in own], options.seed)
            for name, (layout, _), (picture, recording) in zip(batch, own, recorded, strict=True):
                cases.add(name, [asdict(look) for look in looks_of(picture, recording, layout)])
    looks = [Look(**row) for name in names for row in cases.known.get(name, ())]
    print(f"{table(looks)}\n\n{leaks(looks)}\n\nKept in {cases.file}")


if __name__ == "__main__":
    main()
