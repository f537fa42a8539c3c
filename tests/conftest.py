"""The pack is loaded once for all tests, as ComfyUI loads it, under the name `pack`."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

runpy.run_path(str(ROOT / "devtools" / "as_pack.py"))["load_pack"]()
