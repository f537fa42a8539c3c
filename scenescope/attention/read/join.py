"""Several runs of one prompt as one recording: their pictures side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import torch

from ...errors import InputError
from ..record.recording import AttentionMap, Recording


def join_images(recordings: Sequence[Recording]) -> Recording:
    """Put the pictures of several runs into one recording, in the runs' order.

    Args:
        recordings: of one model, one prompt, one size and one selection; runs may differ by seed.

    Returns:
        A recording with the pictures of all. What not every run recorded on the same grid is left out, as are queries
        and keys; what else is known about the run is the first run's, with the seeds of all.

    Raises:
        InputError: the runs are of different sizes or prompts, or share no map.
    """
    first, *others = recordings
    if not others:
        return first
    known = [{item.address: item for item in recording.maps} for recording in recordings]
    common = [address for address in known[0] if all(address in maps for maps in known)]
    shared = [at for at in common if len({(maps[at].query_grid, maps[at].key_grid) for maps in known}) == 1]
    prompts = {
        tuple(entry.table.prompt if entry.table else entry.tokens for entry in one.entries) for one in recordings
    }
    if len(prompts) > 1 or len({one.latent for one in recordings}) > 1 or not shared:
        raise InputError(
            f"Joined recordings: {len(recordings)} runs have {len(prompts)} prompts, sizes "
            f"{', '.join(str(one.latent) for one in recordings)}, and {len(shared)} maps in common. Join runs of one "
            "prompt and one size, which differ only by their seeds."
        )
    skipped: Counter[str] = Counter()
    for recording in recordings:
        skipped.update(recording.skipped)
    seeds = ", ".join(str(one.about["seed"]) for one in recordings if "seed" in one.about)
    return replace(
        first,
        maps=tuple(_joined([maps[address] for maps in known]) for address in shared),
        images=sum(recording.images for recording in recordings),
        projections=MappingProxyType({}),
        skipped=MappingProxyType(dict(skipped)),
        about=MappingProxyType({**first.about, "seeds": seeds} if seeds else dict(first.about)),
    )


def _joined(items: Sequence[AttentionMap]) -> AttentionMap:
    return replace(items[0], maps=torch.cat([item.maps for item in items]))  # (image head query key)
