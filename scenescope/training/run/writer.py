"""Saving during the next step: states are written in a thread, one after another."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .state import State, StateStore

Snapshot = Callable[[], Callable[[], State]]
"""Begins to copy a run's state, and returns what gives it."""


class StateWriter:
    """Writes a run's states in their order; the file is always a whole one, the last that was written.

    Args:
        store: where they are kept.
        kept: the step that is kept there already, or that needs no keeping.
        beside: whether the run goes on meanwhile. On the CPU it does not: a copy would need as much memory again.
    """

    def __init__(self, store: StateStore, kept: int, *, beside: bool) -> None:
        self._store, self._kept, self._beside = store, kept, beside
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def after_step(self, step: int, snapshot: Snapshot, *, last: bool) -> None:
        """Save a step if it is due; an earlier failure is raised first."""
        self.check()
        if last or step % self._store.every == 0:
            self.save(snapshot())
            self._kept = step

    def after_failure(self, step: int, snapshot: Snapshot | None) -> None:
        """Wait for the writing, and keep the last step where it is not kept; None where it was not taken whole."""
        failed = self.ended() is not None
        if snapshot is not None and (failed or step != self._kept):
            self.save(snapshot())
            self.finish()

    def save(self, state: Callable[[], State]) -> None:
        """Write a state, after the one before.

        Args:
            state: gives it, on the CPU; called in the thread, where it may wait for the device.

        Raises:
            FileError, InputError: this state cannot be written, or the one before could not.
        """
        self.finish()
        if not self._beside:
            self._store.save(state())
            return
        self._thread = threading.Thread(target=self._write, args=(state,), name="scenescope state")
        self._thread.start()

    def check(self) -> None:
        """Raise the error of a finished write; one that is under way is not waited for."""
        if self._thread is None or not self._thread.is_alive():
            self.finish()

    def finish(self) -> None:
        """Wait for the write, and raise its error."""
        error = self.ended()
        if error is not None:
            raise error

    def ended(self) -> BaseException | None:
        """Wait for the write; gives its error, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        return error

    def _write(self, state: Callable[[], State]) -> None:
        try:
            self._store.save(state())
        except BaseException as error:  # noqa: BLE001  it is raised where the run can tell it
            self._error = error
