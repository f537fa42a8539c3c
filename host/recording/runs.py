"""The runs that one recorded MODEL has made, and which of them a LATENT came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from comfy_execution.utils import get_executing_context

from ...scenescope.attention.record.evaluation import reasons_text
from ...scenescope.attention.record.recording import Recording
from ...scenescope.attention.record.selection import Selection
from ...scenescope.dims import bytes_text
from ...scenescope.errors import RecordingError
from ..editor.messages import say_on_node

KEPT_RUNS = 8
REMEMBERED_RUNS = 256  # of older ones only the latent is kept, to say what became of their maps

_DROPPED = RecordingError(
    f"Attention Maps: this run's maps are gone; a recorder keeps the last {KEPT_RUNS} runs. Use Sample and Record, "
    "which keeps the maps of every run, or record fewer runs in one queue."
)


@dataclass(frozen=True)
class FinishedRun:
    """A recorded run.

    Args:
        recording: its maps, or the reason why there are none.
        output: (batch channel height width) float32, the latent it ended with, by which it is recognised.
        prompt: id of the queued prompt it ran in, None outside of one.
        node: id of the node that sampled, None outside of a prompt.
    """

    recording: Recording | RecordingError
    output: torch.Tensor
    prompt: str | None
    node: str | None


class RecordedRuns:
    """The RECORDER socket's value: what to record, and the finished runs.

    The host hands the same object out again while its node is cached, so runs of an earlier prompt are dropped when the
    same sampler runs again; a sampler whose result was reused keeps its run. `runs` has the oldest first.

    Args:
        selection: what each run keeps.
        node: id of the recording node.
        live_words: whose maps grow on that node while a run is sampled; empty for those with the largest shares.
    """

    def __init__(self, selection: Selection, node: str | None = None, live_words: str = "") -> None:
        self.selection, self.node, self.live_words = selection, node, live_words
        self.runs: list[FinishedRun] = []

    def add(self, recording: Recording | RecordingError, output: torch.Tensor) -> None:
        """Take a finished run, or the reason why it left nothing."""
        context = get_executing_context()
        prompt, node = (context.prompt_id, context.node_id) if context is not None else (None, None)
        self.runs = [run for run in self.runs if node is None or run.node != node or run.prompt == prompt]
        older = [replace(run, recording=_DROPPED) for run in self.runs[: 1 - KEPT_RUNS]]
        newest = FinishedRun(recording, output.detach().cpu().clone(), prompt, node)
        self.runs = [*older, *self.runs[1 - KEPT_RUNS :], newest][-REMEMBERED_RUNS:]
        if isinstance(recording, RecordingError):
            say_on_node(self.node, str(recording))
            return
        skipped = f"; not recorded: {reasons_text(recording.skipped)}" if recording.skipped else ""
        say_on_node(self.node, f"Recorded {len(recording.maps)} maps, {bytes_text(recording.bytes_held)}{skipped}")

    def find(self, latent: torch.Tensor | None, number: int = 0) -> tuple[Recording, str]:
        """Pick a run.

        Args:
            latent: (batch channel height width) the sampler's result, None where only a picture is known.
            number: 0 for the run that made the latent, else 1 for the first run, 2 for the second, -1 for the last.

        Returns:
            The recording, and how it was picked, for a person.

        Raises:
            RecordingError: there is no run, or not that many.
        """
        if not self.runs:
            raise RecordingError(
                "Attention Maps: nothing has been recorded. Connect the MODEL output of Record Attention to the "
                "sampler. If it is connected, ComfyUI reused the sampler's cached result: change the seed, or use "
                "Sample and Record."
            )
        run, how = self._pick(latent, number)
        if isinstance(run.recording, RecordingError):
            raise run.recording
        return run.recording, how

    def _pick(self, latent: torch.Tensor | None, number: int) -> tuple[FinishedRun, str]:
        count = len(self.runs)
        if number:
            index = number - 1 if number > 0 else count + number
            if not 0 <= index < count:
                raise RecordingError(
                    f"Attention Maps: there is no run {number}. Choose 1 to {count}, or -1 for the last."
                )
            return self.runs[index], f"run {index + 1} of {count}"
        if latent is not None:
            for index, run in enumerate(self.runs):
                if run.output.shape == latent.shape and torch.equal(run.output.to(latent), latent):
                    return run, f"run {index + 1} of {count}, the one that made this latent"
        note = "" if count == 1 else "; the input is not the direct result of a recorded run"
        return self.runs[-1], f"run {count} of {count}, the last{note}"
