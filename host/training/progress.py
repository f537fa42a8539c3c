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
                  none; ious: the same by handle (IoU of map and mask); iou, iou_first: by handle, the mean of the last
                  and of the first 25 drawings, or null. At most 100 places.
    caution       what the run leaves out or should be known of it, "" for nothing
    images        sample pictures so far, as the host names files: {filename, subfolder, type}

Events come at most twice a second; the first and the last are always sent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import comfy.utils
from PIL import Image

from ...scenescope.training.settings import Settings
from ..editor.messages import say_on_node, tell_front_end

EVENT = "scenescope.training"
BETWEEN_EVENTS, BETWEEN_PICTURES = 0.5, 2.0  # seconds


SLOWER = 3.0
"""How many steps of phase 1 a step of phase 2 lasts, until this is known: 2 to 4 were measured."""


class EtaEstimator:
    """Guesses the seconds that are left; each phase has a pace of its own.

    Args:
        phase1_steps: of the first phase.
        steps: of both.

    >>> pace = EtaEstimator(3, 5)
    >>> [pace.after(step, at) for step, at in ((1, 10.0), (2, 11.0), (3, 12.0), (4, 17.0), (5, 22.0))]
    [None, 7.0, 6.0, 5.0, 0.0]
    """

    def __init__(self, phase1_steps: int, steps: int) -> None:
        self._first, self._steps = phase1_steps, steps
        self._last: float | None = None
        self._spent = {1: [0.0, 0.0], 2: [0.0, 0.0]}  # seconds and steps of each phase

    def after(self, step: int, now: float) -> float | None:
        """Take note that a step has been taken; None as long as nothing is known."""
        if self._last is not None:
            spent = self._spent[1 if step <= self._first else 2]
            spent[0], spent[1] = spent[0] + now - self._last, spent[1] + 1
        self._last = now
        paces = [seconds / steps if steps else 0.0 for seconds, steps in self._spent.values()]
        if not any(paces):
            return None
        left = max(self._first - step, 0), self._steps - max(step, self._first)
        return left[0] * paces[0] + left[1] * (paces[1] or SLOWER * paces[0])


class NodeProgress:
    """Bar, text, picture and event of one node.

    Args:
        node: its execution id; None outside of a prompt.
        settings: the steps of the phases.
        caution: what to say with every line; "" for nothing.
    """

    def __init__(self, node: str | None, settings: Settings, caution: str = "") -> None:
        self._node, self._total, self.caution = node, settings.steps, caution
        self._bar = comfy.utils.ProgressBar(settings.steps, node_id=node)
        self._pace = EtaEstimator(settings.phase1_steps, settings.steps)
        self._event_at = self._picture_at = float("-inf")

    def say(self, text: str) -> None:
        """A line on the node."""
        say_on_node(self._node, "\n".join(filter(None, (text, self.caution))))

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
        return self._pace.after(step, now)

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
