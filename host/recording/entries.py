"""The host's conditionings as the entries of a run: whose prompt, which branch, where in the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from comfy.samplers import CFGGuider

from ...scenescope.attention.record.recording import Entry
from ...scenescope.attention.record.selection import NEGATIVE, Branch, branch_of
from ...scenescope.attention.words.tokens import TokenTable, fit_table
from ...scenescope.dims import Grid
from ..prompts.text import TOKENS_KEY

Item = dict[str, Any]
Calling = dict[tuple[int, Any], Entry]
"""Entries by (index in the host's list of conditionings, uuid), which is how a call names its rows."""


class Conditionings:
    """The conditionings that a guider was given, by their names.

    Source: host contract, ComfyUI 0.33 `sampler_helpers.convert_cond`: every conditioning gets a `uuid` of its own, and
    copies of its dictionary keep it.

    Args:
        conds: the guider's lists, by branch.
        latent: the run's grid.
    """

    def __init__(self, conds: Mapping[Branch, Sequence[Item]], latent: Grid) -> None:
        self.latent = latent
        self._lists = {name: list(items) for name, items in conds.items()}
        self._given = dict(conds)

    def entries_of(self, conditionings: Sequence[Sequence[Item] | None]) -> Calling:
        """The entries of a pass; a guider may ask for its lists in any order, and a patch may leave some out.

        Source: host contract, ComfyUI 0.33 `samplers.create_cond_with_same_area_if_none`: where one branch has an area,
        the other gets a copy of that dictionary, words and all, with the encoded prompt of its own conditioning.
        """
        entries: Calling = {}
        for index, items in enumerate(conditionings):
            branch = self._branch(index, items or ())
            known = self._lists.get(branch, [])
            places = {item["uuid"]: place for place, item in enumerate(known)}
            owners = {_context(item): item.get(TOKENS_KEY) for item in reversed(known)}
            for number, item in enumerate(items or ()):
                place, table = places.get(item["uuid"], number), owners.get(_context(item), item.get(TOKENS_KEY))
                entries[index, item["uuid"]] = entry_of(branch, place, item, table, self.latent)
        return entries

    def _branch(self, index: int, items: Sequence[Item]) -> Branch:
        """The guider's name for a list, or for what a patch made of it: the one that it has most in common with.

        The same uuid may stand in two lists: the host gives an area's prompt to the other branch too.
        """
        own = {item["uuid"] for item in items}
        common = {name: len(own & {item["uuid"] for item in known}) for name, known in self._lists.items()}
        return next(
            (name for name, known in self._given.items() if known is items),
            max(common, key=lambda name: (common[name], name == branch_of(index)))
            if any(common.values())
            else branch_of(index),
        )


def _context(item: Item) -> int:
    """Names the encoded prompt that an item shares with its copies."""
    return id(item["model_conds"].get("c_crossattn"))


def planned_entries(guider: Any, known: Conditionings) -> tuple[Entry, ...]:
    """The entries as the model will be asked for them; at CFG 1 the host leaves the negative out."""
    conds = dict(guider.conds)
    plain = type(guider).predict_noise is CFGGuider.predict_noise
    if plain and math.isclose(guider.cfg, 1.0) and not guider.model_options.get("disable_cfg1_optimization", False):
        conds.pop(NEGATIVE, None)
    return tuple(known.entries_of(list(conds.values())).values())


def entries_of_call(entries: Calling, options: Mapping[str, Any]) -> list[Entry] | None:
    """The entries that share a model call's batch, in order; None where the host did not name them.

    Source: host contract, ComfyUI 0.33 `samplers._calc_cond_batch`: `cond_or_uncond` and `uuids` name a call's rows.
    """
    order, ids = options.get("cond_or_uncond"), options.get("uuids")
    if not order or not ids or len(order) != len(ids):
        return None
    found = [entries[pair] for pair in zip(order, ids, strict=True) if pair in entries]
    return found if len(found) == len(order) else None


def entry_of(branch: Branch, number: int, item: Item, table: TokenTable | None, latent: Grid) -> Entry:
    """Describe one of the host's conditionings; its area is clipped to the picture, as the host does."""
    context, area = item["model_conds"]["c_crossattn"].cond, item.get("area")
    if area is not None:
        height, width, top, left = area
        area = (min(height, latent.height - top), min(width, latent.width - left), top, left)
    return Entry(
        branch=branch,
        index=number,
        tokens=context.shape[1],
        area=area,
        strength=float(item.get("strength", 1.0)),
        masked="mask" in item,
        table=None if table is None else fit_table(table, context.shape[1]),
    )
