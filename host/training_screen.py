"""What a training node shows while it runs: bar, time left, picture, and an event for the front end.

The websocket event `scenescope.training`, and the ui output `scenescope_training` (a list of one), carry an object:

    node          the node's execution id, as text
    run           the run's name: its folder below output/training
    status        "preparing", "training", "stopped" or "finished"
    message       a sentence for a person
    step, steps   steps taken, of the whole run
    phase         1 or 2; phase1_steps says where the second begins
    seconds_left  a guess, or null
    curves        steps: list of int; masked, attention, prior: lists as long, running means over 25 steps, null for
                  none; fits: the same by handle (IoU of map and mask); fit, fit_first: by handle, the mean of the last
                  and of the first 25 drawings, or null. At most 100 places.
    images        sample pictures so far, as the host names files: {filename, subfolder, type}

Events come at most twice a second; the first and the last are always sent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import comfy.utils
from PIL import Image

from .screen import say_on_node, tell_front_end

EVENT = "scenescope.training"
BETWEEN_EVENTS, BETWEEN_PICTURES = 0.5, 2.0  # seconds


class TrainingScreen:
    """Bar, text, picture and event of one node.

    Args:
        node: its execution id; None outside of a prompt.
        total: steps of the bar.
    """

    def __init__(self, node: str | None, total: int) -> None:
        self._node, self._total = node, total
        self._bar = comfy.utils.ProgressBar(total, node_id=node)
        self._began: tuple[float, int] | None = None
        self._event_at = self._picture_at = float("-inf")

    def say(self, text: str) -> None:
        """A line on the node."""
        say_on_node(self._node, text)

    def wants_picture(self) -> bool:
        """Whether it is time for another picture."""
        return time.monotonic() - self._picture_at >= BETWEEN_PICTURES

    def step(self, step: int, picture: Image.Image | None = None) -> float | None:
        """Show a step on the bar, with a picture perhaps.

        Returns:
            Seconds left, None while that is not known.
        """
        now = time.monotonic()
        if picture is not None:
            self._picture_at = now
        self._bar.update_absolute(step, self._total, None if picture is None else ("JPEG", picture, max(picture.size)))
        if self._began is None:
            self._began = (now, step)
        began, first = self._began
        return (now - began) / (step - first) * (self._total - step) if step > first else None

    def wants_event(self) -> bool:
        """Whether it is time for another event."""
        return time.monotonic() - self._event_at >= BETWEEN_EVENTS

    def tell(self, event: Mapping[str, Any]) -> None:
        """Send the event to the front end that queued the prompt."""
        self._event_at = time.monotonic()
        tell_front_end(EVENT, self._node, event)


def time_text(seconds: float | None) -> str:
    """A time left, for a person.

    >>> [time_text(value) for value in (None, 12.4, 200.0, 9000.0)]
    ['', ', 12 s left', ', 3 min 20 s left', ', 2 h 30 min left']
    """
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f", {whole} s left"
    if whole < 3600:
        return f", {whole // 60} min {whole % 60} s left"
    return f", {whole // 3600} h {whole % 3600 // 60} min left"
