"""The demo model's figures: does it draw what it is told, does it look where the things are, how fast is it.

`python dev.py bench demo_model` prints them and writes `demo/figures.json`, which its card and its tests are held to.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict

import torch
from pack.devtools.comfyui import ROOT, need_comfyui, use_comfyui

use_comfyui(need_comfyui("bench demo_model"), cpu=not torch.cuda.is_available())

from pack.demo import measure  # noqa: E402
from pack.demo.studio import SIDE, Studio  # noqa: E402
from pack.host.demo import DEMO_FILE, load_demo_model  # noqa: E402
from pack.scenescope.files.atomic import write_whole  # noqa: E402

PICTURES = int(os.environ.get("SCENESCOPE_PICTURES", "60"))
"""Generated for each figure."""


def main() -> None:
    """Measure, print, and write the figures."""
    torch.set_num_threads(1)  # where a machine is shared, a second thread waits more than it works
    began = time.perf_counter()
    parts = load_demo_model()
    figures: dict[str, object] = {"bytes": DEMO_FILE.stat().st_size}
    figures["load seconds"] = round(time.perf_counter() - began, 2)
    with torch.inference_mode():
        studio = Studio(parts)
        layout = measure.layouts(41, 1, 2)[0]
        measure.picture_of(studio, layout, 0)
        began = time.perf_counter()
        measure.picture_of(studio, layout, 1)
        figures["picture seconds"] = round(time.perf_counter() - began, 2)
        figures["side"] = SIDE
        for count, name in ((1, "one thing"), (2, "two things"), (3, "three things")):
            figures[name] = asdict(measure.following(studio, measure.layouts(43, PICTURES, count)))
        figures["autoencoder alone"] = asdict(measure.returning(parts[2], PICTURES // 4))
        figures["looking at drawings"] = asdict(measure.looking_at_drawings(studio, PICTURES // 2))
        figures["looking at own"] = asdict(measure.looking_at_own(studio, PICTURES // 2))
    text = json.dumps(figures, indent=2)
    print(text)
    target = ROOT / "demo" / "figures.json"
    write_whole(lambda file: file.write(f"{text}\n".encode()), target, "Demo model")


if __name__ == "__main__":
    main()
