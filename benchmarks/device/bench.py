"""The device that is measured, a GPU or in a rehearsal the simulated one, and the notes, which are written at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from pack.benchmarks.lab import markdown
from pack.benchmarks.lab.files import write
from pack.benchmarks.lab.meter import Meter, Work

GIB = 2**30


@dataclass
class Bench:
    """A part of the benchmark while it runs.

    Args:
        part: its name.
        folder: takes its notes.
        rehearse: on the simulated device, with the demo model and a step or two: the figures mean nothing.
    """

    part: str
    folder: Path
    rehearse: bool
    rows: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def device(self) -> torch.device:
        """That the host computes on."""
        import comfy.model_management

        return comfy.model_management.get_torch_device()

    @cached_property
    def meter(self) -> Meter:
        """Of this device."""
        return Meter(self.device)

    @property
    def side(self) -> int:
        """Side of the pictures."""
        return 64 if self.rehearse else 512

    @property
    def scene(self) -> Any:
        """Two things to learn, of that size."""
        from pack.tests.support.host.learning import small_scene

        return small_scene(self.side)

    def note(self, what: str, **figures: Any) -> None:
        """Keep a row, on the disk when this returns: an interrupted run counts up to here."""
        self.rows.append({"what": what, **figures})
        write(self.folder / f"{self.part}.json", json.dumps(self.rows, indent=1))

    def trying(self, what: str, run: Callable[[], dict[str, Any]]) -> None:
        """Note what something gives, or the error that it ends with; the next thing is tried in any case."""
        try:
            figures = run()
        except Exception as error:  # noqa: BLE001  it is told in the table
            figures = {"error": error_text(error)}
        self.note(what, **figures)
        if "meter" in vars(self) and self.meter.module is not None:  # the server's part computes elsewhere
            self.meter.module.empty_cache()

    def steps(self, step: Work, warm: int, count: int) -> list[float]:
        """Seconds of some steps after some that warm up; in a rehearsal of one."""
        return self.meter.steps(step, *((0, 1) if self.rehearse else (warm, count)))

    def peaks(self) -> dict[str, float]:
        """GiB that were allocated and reserved at most since the meter forgot its peaks."""
        allocated, reserved = self.meter.peak(), self.meter.reserved()
        return {"allocated GiB": round(allocated / GIB, 2), "reserved GiB": round(reserved / GIB, 2)}

    def models(self) -> tuple[Any, Any, Any]:
        """MODEL, CLIP and VAE: full size with random weights in half precision; the demo model in a rehearsal."""
        if self.rehearse:
            return _demo()
        from pack.tests.support.host.checkpoint import full_size

        return full_size()


@cache
def _demo() -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of the demo model, loaded once for all parts that one process rehearses."""
    from pack.host.demo import load_demo_model

    return load_demo_model()


def error_text(error: BaseException) -> str:
    """An error in one line of a table."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:240]


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """All notes as one Markdown table.

    >>> print(table({"versions": [{"what": "torch", "version": "2.11"}], "server": [{"what": "part", "error": "a|b"}]}))
    | part | what | figures |
    | --- | --- | --- |
    | versions | torch | version 2.11 |
    | server | part | **error a/b** |
    """
    lines = []
    for part, noted in rows.items():
        for row in noted:
            told = {name: value for name, value in row.items() if name not in ("what", "error")}
            figures = "; ".join(f"{name} {_short(value)}" for name, value in told.items())
            wrong = f"**error {_short(row['error'])}**" if "error" in row else ""
            lines.append([part, row["what"], "; ".join(filter(None, (figures, wrong)))])
    return markdown.table(["part", "what", "figures"], lines)


def _short(value: Any) -> str:
    return (f"{value:.4g}" if isinstance(value, float) else str(value)).replace("|", "/")
