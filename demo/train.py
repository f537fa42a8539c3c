"""Make the demo model from nothing: `python demo/train.py --comfyui PATH --state FOLDER`; run it again to go on."""

from __future__ import annotations

import argparse
import functools
import importlib
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True, help="folder of a ComfyUI checkout")
    parser.add_argument("--state", type=Path, required=True, help="folder for training state; keep it to resume")
    parser.add_argument("--out", type=Path, default=ROOT / "demo" / "scenescope-demo.safetensors")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stage", choices=("decoder", "denoiser", "export", "all"), default="all")
    parser.add_argument("--minutes", type=float, default=240, help="how long to train the denoiser in this run")
    parser.add_argument("--workers", type=int, default=2, help="processes that train together, one thread each")
    parser.add_argument("--weights", choices=("last", "averaged"), default="last", help="of the denoiser, to export")
    parser.add_argument("--rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def captions_tokens() -> tuple[list[int], Any]:
    """Find the token ids that captions use, and return them with the function from a word to its ids."""
    from comfy.sd1_clip import SDTokenizer

    vocabulary = importlib.import_module("pack.scenescope.world.vocabulary")
    tokenizer = SDTokenizer().tokenizer

    @functools.cache
    def ids_of(word: str) -> list[int]:
        ids: list[int] = tokenizer(word)["input_ids"][1:-1]
        return ids

    return sorted({i for word in vocabulary.vocabulary() for i in ids_of(word)} | {49406, 49407}), ids_of


def train_together(options: argparse.Namespace, denoiser: Any) -> None:
    """Train the denoiser in several processes, which meet through a file in the state folder."""
    import torch.distributed as dist

    meeting, others = options.state / "meeting", []
    if options.rank == 0:
        meeting.unlink(missing_ok=True)
        command = [sys.executable, *sys.argv, "--stage", "denoiser", "--rank"]
        others = [subprocess.Popen([*command, str(rank)]) for rank in range(1, options.workers)]
    if options.workers > 1:
        where = meeting.resolve().as_uri()
        dist.init_process_group("gloo", init_method=where, rank=options.rank, world_size=options.workers)
    known, ids_of = captions_tokens()
    share = denoiser.Share(options.rank, options.workers)
    denoiser.train_denoiser(
        options.state, known=known, ids_of=ids_of, seed=options.seed, minutes=options.minutes, share=share
    )
    for other in others:
        other.wait()


def main() -> None:
    """Run the stages in order; each goes on from the state folder."""
    options = arguments()
    options.state.mkdir(parents=True, exist_ok=True)
    runpy.run_path(str(ROOT / "devtools" / "as_pack.py"))["load_pack"]()
    sys.path.insert(0, str(options.comfyui))
    import torch
    from comfy.cli_args import args

    args.cpu, args.use_pytorch_cross_attention = not torch.cuda.is_available(), True
    torch.set_num_threads(1)
    decoder = importlib.import_module("pack.demo.decoder")
    denoiser = importlib.import_module("pack.demo.denoiser")
    if options.stage in ("decoder", "all"):
        decoder.train_decoder(options.state, seed=options.seed)
    if options.stage in ("denoiser", "all"):
        train_together(options, denoiser)
    if options.stage in ("export", "all"):
        known, _ = captions_tokens()
        model, step = denoiser.trained(options.state, known, averaged=options.weights == "averaged")
        drawer, _ = decoder.averaged(options.state)
        size = importlib.import_module("pack.demo.export").export(options.out, model, drawer, {"steps": step})
        print(f"{options.out}: {size / 1e6:.2f} MB after {step} steps")


if __name__ == "__main__":
    main()
