"""Maps that grow on a node while its run is sampled.

The websocket event `scenescope.live` goes to the front end that queued the prompt, where it is connected. It carries:

    node         the recording node's execution id, as text
    status       "sampling", "done" or "stopped"
    step, steps  the step that was just made, from 1, of how many
    branch       whose attention it is
    latent       [height, width] of the picture in latent cells
    note         why the words asked for are not shown, or ""
    maps         for each word: label; area, [height, width, top, left] in latent cells or null; grid: [height, width];
                 top, its largest share; cells: base64 of bytes, 255 for top. The mean over the steps so far.

Events come at most five times a second; the last one of a run is always sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from ...scenescope.attention.read.live import LiveMaps
from ...scenescope.attention.record.budget import RunSpec
from ...scenescope.attention.record.recording import AttentionMap
from ...scenescope.attention.record.selection import Selection
from ..editor.messages import map_text, somebody_looks, tell_front_end

EVENT = "scenescope.live"
BETWEEN_EVENTS = 0.2  # seconds


class LiveScreen:
    """Sends the maps of one run. Nothing in it can stop the run: what fails is logged, and no more is sent.

    Args:
        node: the recording node's execution id.
        run: its layers, entries and steps.
        selection: what is recorded.
        words: whose maps; empty for those with the largest shares.
    """

    def __init__(self, node: str, run: RunSpec, selection: Selection, words: str) -> None:
        self._node, self._run = node, run
        self._maps: LiveMaps | None = LiveMaps(run.layers, run.entries, run.latent, selection, words)
        self._step = 0
        self._sent_at = float("-inf")

    def step(self, step: int, maps: Sequence[AttentionMap]) -> None:
        """Take what a step showed."""
        self._step = step + 1
        if self._maps is None or not maps:
            return
        with self._guard():
            self._maps.add(maps)
            if time.monotonic() - self._sent_at >= BETWEEN_EVENTS and somebody_looks(self._node):
                self._sent_at = time.monotonic()
                self._tell(self._maps, "sampling")

    def end(self, status: Literal["done", "stopped"], rest: Callable[[], Sequence[AttentionMap]] = tuple) -> None:
        """Say that the run is over.

        Args:
            status: how it ended.
            rest: gives the maps that no step has shown yet.
        """
        with self._guard():
            if self._maps is not None:
                self._maps.add(rest())
            if self._maps is not None and somebody_looks(self._node):
                self._tell(self._maps, status)
        self._maps = None

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # looking must not harm the picture
            logging.exception("SceneScope: the maps are no longer shown while sampling")
            self._maps = None

    def _tell(self, maps: LiveMaps, status: str) -> None:
        shown: list[dict[str, Any]] = []
        for item in maps.so_far():
            area = None if item.area is None else list(item.area)
            shown.append({"label": item.label, "area": area, **map_text(item.values, float(item.values.max()))})
        if shown:
            payload = {"status": status, "step": self._step, "steps": max(self._run.steps, self._step)}
            about = {"branch": maps.branch, "latent": list(self._run.latent), "note": maps.note}
            tell_front_end(EVENT, self._node, payload | about | {"maps": shown})
