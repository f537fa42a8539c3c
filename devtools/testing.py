"""`dev.py test`: the tiers, two at a time, and at the end which ran and how. Standard library only."""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from .comfyui import HOW_TO_GET_ONE, find_comfyui
from .get_comfyui import get_comfyui
from .setup import Setup
from .tiers import TIERS, Outcome
from .trouble import TroubleError

SIDE_BY_SIDE = 2
"""How many tiers run at a time, where there are as many cores: each computes with one thread."""


def test(options: argparse.Namespace) -> int:
    """Run the tiers and say how each went; the last line alone tells it all."""
    comfyui = find_comfyui()
    if comfyui is None and (options.get_host or options.require_host):
        comfyui = _got(options)
    # The models of the tests are small: a second thread costs more than it gives, most of all where cores are busy.
    threads = (("OMP_NUM_THREADS", "1"),)
    setup = replace(Setup.make(comfyui, ("-k", options.k) if options.k else ()), variables=threads)
    wanted = [name for name in TIERS if not options.only or name in options.only]
    missing = {name: reason for name in wanted if (reason := TIERS[name].why_not(comfyui))}
    here = [name for name in wanted if name not in missing]
    outcomes, lines = run_tiers(here, setup)
    lines |= {name: f"{name:9} did not run: {reason}" for name, reason in missing.items()}
    print("\n" + "\n".join(lines[name] for name in wanted))
    print(f"ran: {', '.join(here) or 'nothing'}; did not run: {', '.join(missing) or 'nothing'}")
    passed, failed = (sum(getattr(outcome, field) for outcome in outcomes) for field in ("passed", "failed"))
    print(f"{passed} passed, {failed} failed", flush=True)
    return int(failed > 0 or not passed)


def _got(options: argparse.Namespace) -> Path | None:
    """A ComfyUI that is not there yet; where it is not required, the reason is said and the rest goes on."""
    if not options.get_host:
        raise TroubleError(f"No ComfyUI was found, and --require-host wants one. {HOW_TO_GET_ONE}")
    try:
        return get_comfyui()
    except TroubleError as error:
        if options.require_host:
            raise
        print(f"{error} The tiers that need one are left out.", flush=True)
        return None


def run_tiers(names: list[str], setup: Setup) -> tuple[list[Outcome], dict[str, str]]:
    """Run tiers side by side, the longest first; one alone speaks as it goes, several speak each when it has ended."""
    lanes = min(SIDE_BY_SIDE, len(names), os.cpu_count() or 1)
    if lanes < 2:
        alone = {}
        for name in names:
            print(headline(name), flush=True)
            alone[name] = _run(name, setup)
        return [outcome for outcome, _ in alone.values()], {name: line for name, (_, line) in alone.items()}
    screen = threading.Lock()
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(lanes) as pool:

        def run(name: str) -> tuple[Outcome, str]:
            with screen:
                print(f"{name} has started; its output follows when it is done.", flush=True)
            said = Path(place) / name
            found = _run(name, replace(setup, said=said))
            with screen:
                print(headline(name) + "\n" + (said.read_text("utf-8") if said.exists() else ""), flush=True)
            return found

        order = sorted(names, key=lambda name: -TIERS[name].minutes)
        try:
            done = dict(zip(order, pool.map(run, order), strict=True))
        except BaseException:  # Ctrl-C reaches the tiers that run; those that wait must not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcome for outcome, _ in done.values()], {name: line for name, (_, line) in done.items()}


def headline(tier: str) -> str:
    """What stands over a tier's own words."""
    return f"\n== {tier} " + "=" * 70


def _run(name: str, setup: Setup) -> tuple[Outcome, str]:
    """Run a tier, and return how it went and the line that tells it."""
    start = time.monotonic()
    outcome = TIERS[name].run(setup)
    seconds = time.monotonic() - start
    return outcome, f"{name:9} {outcome.passed:5} passed {outcome.failed:4} failed {seconds:7.1f} s"
