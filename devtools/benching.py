"""`dev.py bench`: the benchmarks, each in a process of its own. Standard library only."""

from __future__ import annotations

import argparse
from pathlib import Path

from .comfyui import find_comfyui
from .setup import ROOT, Setup
from .trouble import TroubleError


def bench(options: argparse.Namespace) -> int:
    """Run the benchmarks, each in a process of its own; each prints a table."""
    found = {file.stem: file for file in sorted((ROOT / "benchmarks").glob("[!_]*.py"))}
    if "--checkpoint" in options.words and not options.names:
        options.names = ["checkpoint"]
    if options.words and len(options.names) != 1:
        raise TroubleError(f"{' '.join(options.words)} is an option of one benchmark. Write its name before it.")
    if options.list:
        print("\n".join(found) or "There are no benchmarks yet.")
        return 0
    if unknown := sorted(set(options.names) - set(found)):
        raise TroubleError(f"{', '.join(unknown)} is not among the benchmarks. Choose from {', '.join(found)}.")
    setup = Setup.make(find_comfyui())
    failed = 0
    for name in options.names or found:
        print(f"\n== {name} " + "=" * 70, flush=True)
        words = (ROOT / "devtools" / "as_pack.py", found[name], *options.words)
        failed += setup.call(setup.python, *words, cwd=Path.cwd()) != 0
    return int(failed > 0)
