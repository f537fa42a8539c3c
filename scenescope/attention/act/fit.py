"""Whether a recording fits the run that it is to be replayed in, and which conditionings belong together."""

from __future__ import annotations

from ...errors import HostError, InputError
from ..record.budget import RunSpec
from ..record.recording import Entry, Recording
from ..record.selection import Branch


def check_fits(recording: Recording, run: RunSpec) -> None:
    """Refuse a recording of another model, size or number of pictures.

    Raises:
        HostError: the run is of another U-Net.
        InputError: its size or number of pictures is another.
    """
    _check_model(recording, run)
    _check_picture(recording, run)


def entry_pairs(recording: Recording, run: RunSpec, branch: Branch) -> list[tuple[Entry, Entry]]:
    """Each entry of a branch with the one that it was in the recorded run, which comes first.

    Raises:
        InputError: the branch is not evaluated, or its conditionings are others.
    """
    old, new = ([entry for entry in its.entries if entry.branch == branch] for its in (recording, run))
    if not new:
        raise InputError(
            f"Replay Attention: the {branch} conditioning is not evaluated in this run (at CFG 1 the negative is left "
            "out). Choose another branch, or another CFG."
        )
    if len(old) != len(new) or [entry.area for entry in old] != [entry.area for entry in new]:
        raise InputError(
            f"Replay Attention: the {branch} prompt has {len(new)} conditionings, but the recorded run had {len(old)}, "
            "or they had other areas. Combine them as there, or record again."
        )
    return list(zip(old, new, strict=True))


def _check_model(recording: Recording, run: RunSpec) -> None:
    there = set(run.layers)
    if any(layer not in there for layer in recording.layers):
        raise HostError(
            "Replay Attention: the maps were recorded with a model that has other blocks, heads or widths. Record "
            "with the model that you replay on."
        )


def _check_picture(recording: Recording, run: RunSpec) -> None:
    if recording.latent != run.latent:
        raise InputError(
            f"Replay Attention: the recorded picture has {recording.latent} latent cells, and this run has "
            f"{run.latent}. Sample at the same size, or record at this one."
        )
    if recording.images not in (1, run.images):
        raise InputError(
            f"Replay Attention: the recording has {recording.images} pictures, and this run has {run.images}. Sample "
            "as many, or record one."
        )
