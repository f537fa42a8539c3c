"""All that only a GPU can tell, in one command: figures, checks, refusals, each kept at once, and a table at the end.

Every part runs in a process of its own and writes its JSON into the folder as it goes; what fails is told in the table
and the next part goes on. The parts, in their order:

- versions: of what is measured, and of what measures it.
- checks: the tests of tests/gpu, which count the waits by `torch.cuda.set_sync_debug_mode`.
- recording: time, latents and peaks, without and with, for each back-end that is installed and five ways to record.
- training: seconds, peaks and losses of a step in each precision, its kernels, and a straightforward loop's.
- memory: 6, 8 and 12 GiB, and a run cancelled inside a step.
- compiled: a compiled model, recorded and trained.
- server: a real server in each of the host's memory modes.
- demo: steps a second of the demo model's own training.

Together they may take eight minutes.

    python dev.py bench gpu
    python dev.py bench gpu --only versions recording --into figures
    python dev.py bench gpu --rehearse      (on a simulated device with the demo model: whether every part runs)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from pack.benchmarks.device import demo, limits, recording, training
from pack.benchmarks.device.bench import GIB, Bench, table
from pack.devtools.as_pack import command
from pack.devtools.comfyui import ROOT, need_comfyui, use_comfyui
from pack.tests.gpu.chosen import REHEARSE


@dataclass(frozen=True)
class Part:
    """A part: what runs it, after how many seconds it is stopped, and whether it needs no host in its process."""

    run: Callable[[Bench], None]
    within: float
    apart: bool = False


def versions(bench: Bench) -> None:
    """What is measured, and with what."""
    import comfyui_version

    names = {"Python": platform.python_version(), "torch": torch.__version__, "ComfyUI": comfyui_version.__version__}
    bench.note("versions", **names, CUDA=torch.version.cuda or "none")
    found = bench.meter.module.get_device_properties(0)
    bench.note("device", name=found.name, GiB=found.total_memory / GIB, capability=f"{found.major}.{found.minor}")
    seconds = bench.meter.seconds(bench.models)
    bench.note("loading MODEL, CLIP and VAE (the first time, making the file)", s=seconds)


def checks(bench: Bench) -> None:
    """The tests on the device, each with its outcome; in a rehearsal each once on the simulated device."""
    pytest = Path(sys.executable).with_name("pytest" + Path(sys.executable).suffix)
    report = bench.folder / "checks.xml"
    report.unlink(missing_ok=True)
    words = [str(pytest), "tests/gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    variables = os.environ | ({REHEARSE: "1"} if bench.rehearse else {})
    done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if not report.exists():
        raise RuntimeError(f"pytest left no report: {(done.stderr or done.stdout).strip()[-200:]}")
    cases = list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
    for case in cases:
        wrong = [part.get("message", "") for part in case if part.tag in ("failure", "error")]
        bench.note(str(case.get("name")), s=float(case.get("time", 0)), **({"error": wrong[0][:240]} if wrong else {}))
    if not cases:
        raise RuntimeError(f"no test ran: {done.stdout.strip()[-200:]}")


PARTS = {
    "versions": Part(versions, 30),
    "checks": Part(checks, 55, apart=True),
    "recording": Part(recording.recording, 75),
    "training": Part(training.training, 95),
    "memory": Part(limits.memory, 40),
    "compiled": Part(recording.compiled, 30),
    "server": Part(limits.server, 135, apart=True),
    "demo": Part(demo.demo, 20),
}
"""In their order; their limits are eight minutes together, for a GPU of a data centre."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some alone: {', '.join(PARTS)}")
    reader.add_argument("--into", type=Path, help="folder for JSON and table; without it a new one")
    rehearsed = "on a simulated device with the demo model; figures mean nothing"
    reader.add_argument("--rehearse", action="store_true", help=rehearsed)
    reader.add_argument("--slower", type=float, default=1.0, metavar="TIMES", help="multiply the time of each part")
    reader.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return reader.parse_args()


def run_part(options: argparse.Namespace, comfyui: Path) -> None:
    """Run a part in this process."""
    if not PARTS[options.part].apart:
        use_comfyui(comfyui, cpu=options.rehearse)
    if options.rehearse and not PARTS[options.part].apart:
        rehearse_here()
    run_on(Bench(options.part, options.into, options.rehearse))


def run_on(bench: Bench) -> None:
    """Run a part on the device that the host has by now."""
    torch.manual_seed(1)
    with torch.inference_mode(bench.part != "demo"):  # as the host runs nodes; the demo model's training is none
        PARTS[bench.part].run(bench)


def rehearse_here() -> None:
    """Let the host take the simulated device for its GPU, as long as this process lives."""
    import pytest
    from pack.tests.rehearsal.simulated.host import put_host_on_device

    torch.set_num_threads(1)
    put_host_on_device(pytest.MonkeyPatch())


def kept(options: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """Run a part in a process of its own; its notes, and how it ended where it did not end well."""
    own = options.into / f"{name}.json"
    own.unlink(missing_ok=True)
    rehearsed = ["--rehearse"] if options.rehearse else []
    words = command(Path(__file__).resolve(), "--part", name, "--into", options.into, *rehearsed)
    within, log = PARTS[name].within * options.slower * (4 if options.rehearse else 1), options.into / f"{name}.log"
    with log.open("wb") as said:
        status = ended(words, within, said)
    wrong = ""
    if status is None:
        wrong = f"stopped after {within:.0f} s; the results above are valid"
    elif status:
        last = log.read_text("utf-8", "replace").strip().splitlines() or [f"exit status {status}"]
        wrong = last[-1][:240]
    rows = json.loads(own.read_text("utf-8")) if own.exists() else []
    return [*rows, *([{"what": "the part failed", "error": wrong}] if wrong else [])]


def ended(words: list[str], within: float, said: IO[bytes]) -> int | None:
    """Run a command in a session of its own; its exit status, or None where it and all that it started was ended."""
    process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        return process.wait(within)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
            process.wait()


def main() -> int:
    """Run the parts in turn, and print the table; 1 where any of it went wrong."""
    options = arguments()
    comfyui = need_comfyui("bench gpu")
    if not options.rehearse and not torch.cuda.is_available():
        print("It did not run: no CUDA device was found. Run it where there is one, or add --rehearse.")
        return 0  # among all benchmarks it is no failure
    options.into = (options.into or Path(tempfile.mkdtemp(prefix="scenescope-gpu-"))).resolve()
    options.into.mkdir(parents=True, exist_ok=True)
    if options.part:
        run_part(options, comfyui)
        return 0
    rows = {}
    for name in options.only or PARTS:
        print(f"{name} ...", flush=True)
        rows[name] = kept(options, name)
        (options.into / "table.md").write_text(table(rows) + "\n", "utf-8")
    print(f"\n{table(rows)}\n\nThe notes are in {options.into}", flush=True)
    return int(any("error" in row for noted in rows.values() for row in noted))


if __name__ == "__main__":
    sys.exit(main())
