"""Make the demo model from nothing: `python demo/train.py --comfyui PATH --state FOLDER`; run it again to go on."""

from __future__ import annotations

import argparse
import functools
import importlib
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True, help="folder of a ComfyUI checkout")
    parser.add_argument("--state", type=Path, required=True, help="folder for training state; keep it to resume")
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "scenescope-demo.safetensors")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--stage", choices=("decoder", "denoiser", "export", "all"), default="all")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="without it, a CUDA device where there is one")
    parser.add_argument("--minutes", type=float, nargs=2, metavar=("DECODER", "DENOISER"), help="of this run's stages")
    parser.add_argument("--batch", type=int, nargs=2, metavar=("DECODER", "DENOISER"), help="crops, pictures a step")
    parser.add_argument("--start", type=Path, help="a model file to begin from; without it, from nothing")
    parser.add_argument(
        "--weights", choices=("last", "averaged"), default="averaged", help="of the denoiser, to export"
    )
    parser.add_argument("--samples", type=float, default=5, help="minutes between samples; 0 for none (5)")
    return parser.parse_args()


DEFAULTS = {"cpu": ((90, 400), (8, 16)), "cuda": ((3, 6), (128, 1280))}
"""Device -> minutes and batches of both stages."""


def captions_tokens() -> tuple[list[int], Any]:
    """Find the token ids that captions use, and return them with the function from a word to its ids."""
    from comfy.sd1_clip import SDTokenizer

    captions = importlib.import_module("pack.demo.captions")
    tokenizer = SDTokenizer().tokenizer

    @functools.cache
    def ids_of(word: str) -> list[int]:
        ids: list[int] = tokenizer(word)["input_ids"][1:-1]
        return ids

    return sorted({i for word in captions.vocabulary() for i in ids_of(word)} | {49406, 49407}), ids_of


def export(options: argparse.Namespace, out: Path) -> str:
    """Write the model file from the state so far; returns what was written, in words."""
    decoder, denoiser = (importlib.import_module(f"pack.demo.{name}") for name in ("decoder", "denoiser"))
    known, _ = captions_tokens()
    model, step = denoiser.trained(options.state, known, averaged=options.weights == "averaged")
    drawer, drawn = decoder.averaged(options.state)
    notes = {"decoder steps": drawn, "denoiser steps": step}
    size = importlib.import_module("pack.demo.export").export(out, model, drawer, notes)
    return f"{out}: {size / 1e6:.2f} MB after {drawn} and {step} steps"


def sampler(options: argparse.Namespace) -> Callable[[], None]:
    """Make what is called after each saving: now and then it draws samples into the state folder and judges them."""
    last = [time.monotonic()]

    def look() -> None:
        if options.samples and time.monotonic() - last[0] > 60 * options.samples:
            preview = options.state / "preview.safetensors"
            export(options, preview)
            report = importlib.import_module("pack.demo.measure").glance(preview, options.state / "samples.png")
            print(report, file=sys.stderr, flush=True)
            last[0] = time.monotonic()

    return look


def main() -> None:
    """Run the stages in order; each goes on from the state folder."""
    options = arguments()
    options.state.mkdir(parents=True, exist_ok=True)
    runpy.run_path(str(ROOT / "devtools" / "as_pack.py"))["load_pack"]()
    sys.path.insert(0, str(options.comfyui))
    import torch
    from comfy.cli_args import args

    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    args.cpu, args.use_pytorch_cross_attention = options.device == "cpu", True
    torch.set_flush_denormal(True)
    minutes, batches = options.minutes or DEFAULTS[options.device][0], options.batch or DEFAULTS[options.device][1]
    decoder, denoiser = (importlib.import_module(f"pack.demo.{name}") for name in ("decoder", "denoiser"))
    job = importlib.import_module("pack.demo.state").Job
    shared = {"seed": options.seed, "device": options.device, "start": options.start}
    if options.stage in ("decoder", "all"):
        decoder.train_decoder(job(options.state, minutes=minutes[0], batch=batches[0], **shared))
    if options.stage in ("denoiser", "all"):
        own = job(options.state, minutes=minutes[1], batch=batches[1], on_save=sampler(options), **shared)
        denoiser.train_denoiser(own, *captions_tokens())
    if options.stage in ("export", "all"):
        print(export(options, options.out))


if __name__ == "__main__":
    main()
