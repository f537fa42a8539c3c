"""From recorded maps to one map per word: aggregation, for heatmaps and for the training loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor

from ...dims import Grid, indexed
from ...errors import InputError, RecordingError, WordError
from ...resample import resize
from ..record.choices import choose_heads
from ..record.recording import AttentionMap, Recording
from ..words.find import WordMatch
from .view import View, Viewed, refuse_overflow, viewed

LayerMaps = tuple[Tensor, Grid, int]  # (image head query token), grid of its queries, heads of the layer
Merge = Literal["mean", "sum", "first"]

MERGES: tuple[Merge, ...] = get_args(Merge)


def aggregate_on_grid(maps: Iterable[LayerMaps], grid: Grid) -> Tensor:
    """Average the layers of exactly one grid over layers and heads; gradients flow.

    Source: Hertz et al. 2022 and Avrahami et al. 2023 (Break-a-Scene), `aggregate_attention`: all heads of all layers
    with that many queries, with equal weight. Here the grid is compared, not its number of cells, so that 8x32 is not
    taken for 16x16; a layer that was recorded as the mean of its heads counts with as many heads as it has.

    Args:
        maps: (image head query token) of any float type, with the grid of the queries and the layer's number of heads;
            read one at a time, so a generator is never held whole. Layers of other grids are passed over.
        grid: the grid wanted.

    Returns:
        (image height width token) float32, shares of attention; along token they sum to what the rows did.

    Raises:
        RecordingError: no layer has this grid.

    >>> layers = [(torch.full((1, 1, 4, 2), share), Grid(2, 2), 8) for share in (0.2, 0.4)]
    >>> aggregate_on_grid(layers, Grid(2, 2))[0, 0, 0].tolist()
    [0.30000001192092896, 0.30000001192092896]
    """
    total, count, others = None, 0, []
    for layer, own, heads in maps:
        if own != grid:
            others.append(str(own))
            continue
        part = layer.float().mean(dim=1) * heads  # (image query token)
        total = part if total is None else total + part
        count += heads
    if total is None:
        there = ", ".join(dict.fromkeys(others)) or "none"
        raise RecordingError(f"Aggregation: no layer has the grid {grid}. Choose a grid that layers have: {there}.")
    return rearrange(total / count, "image (height width) token -> image height width token", height=grid.height)


@dataclass(frozen=True)
class Heatmaps:
    """One map for each word.

    Args:
        values: (image height width word) float32, shares of attention 0..1; 0 outside the entry's area.
        words: what each map is called.
        uniform: (word) float32, the share that attention spread evenly over all keys would give.
        covered: (height width) float32, how much of each cell lies inside the entry's area; all 1 without an area.
        latent: the latent's grid.
        steps: the sampler steps that were averaged.
        blocks: the blocks that were averaged.
        maps: how many recorded maps were averaged.
        resampled: of these, the maps whose layer worked on another grid than its own, by that grid: a patch had made
            the features smaller or larger for some steps.
    """

    values: Tensor
    words: tuple[str, ...]
    uniform: Tensor
    covered: Tensor
    latent: Grid
    steps: tuple[int, ...]
    blocks: tuple[str, ...]
    maps: int = 0
    resampled: tuple[tuple[Grid, int], ...] = ()

    @property
    def grid(self) -> Grid:
        """The grid of the maps."""
        return Grid(*self.values.shape[1:3])

    def on(self, grid: Grid) -> Heatmaps:
        """The same maps on another grid: means by area where it is coarser, bilinear where it is finer."""
        values = resize(self.values.movedim(-1, 1), grid).movedim(1, -1)
        return replace(self, values=values, covered=resize(self.covered, grid))


def heatmaps(
    recording: Recording, words: Sequence[WordMatch], view: View | None = None, *, merge: Merge = "mean"
) -> Heatmaps:
    """Aggregate a recording into one map for each word.

    Only the columns of the words are read, one layer at a time, so that what is held beside the recording is small.
    Within one grid every head counts the same; between grids every layer counts the same; then every step counts the
    same. Each map is read on the grid that it was made on, whatever its layer's usual one is. An entry with an area
    fills its part of the picture, and the rest is 0: nothing there looked at its words.

    Args:
        recording: what a run left.
        words: as `find_words` gives them: each with its occurrences, and each of these with its columns.
        view: which blocks, heads, steps, branch, entry, picture and grid.
        merge: a word of several tokens is the `mean` of its columns, their `sum`, or its `first` column alone;
            several occurrences are averaged.

    Raises:
        SelectionError: the view names what was not recorded.
        RecordingError: nothing was recorded, or single heads are wanted of a mean.
        WordError: no word was given, or a column is not there.
    """
    return heatmaps_of(viewed(recording, view or View()), words, merge=merge)


def heatmaps_of(seen: Viewed, words: Sequence[WordMatch], *, merge: Merge = "mean") -> Heatmaps:
    """The same of a view that is resolved already.

    Raises:
        RecordingError: single heads are wanted of a mean, or the model's numbers overflowed.
        WordError: no word was given, or a column is not there.
    """
    maps, place = seen.maps, seen.placement
    columns, weights = _merging(words, maps[0].maps.shape[-1], merge)
    sums: dict[Grid, Tensor] = {}
    for _, of_step in groupby(maps, key=lambda item: item.address.step):
        group = list(of_step)
        for grid in sorted({item.query_grid for item in group}, reverse=True):
            layers = [item for item in group if item.query_grid == grid]
            part = aggregate_on_grid(_columns_of(layers, columns, seen.view), grid)
            part = part * (len(layers) / len(group))  # (image height width column)
            sums[grid] = sums[grid].add_(part) if grid in sums else part
    placed = (place.place((part @ weights).movedim(-1, 1), seen.grid) for part in sums.values())
    values = reduce(torch.add, placed).movedim(1, -1) / len(seen.steps)  # (image height width word)
    refuse_overflow(values)
    return Heatmaps(
        values=values,
        words=names_of(words),
        uniform=weights.sum(dim=0) / maps[0].maps.shape[-1],
        covered=place.covered(seen.grid),
        latent=seen.recording.latent,
        steps=seen.steps,
        blocks=tuple(dict.fromkeys(item.address.block for item in sorted(maps, key=lambda item: item.address.order))),
        maps=len(maps),
        resampled=seen.resampled(),
    )


def names_of(words: Sequence[WordMatch]) -> tuple[str, ...]:
    """What the maps are called: the words, with `#2` where several places of one word are shown apart."""
    often = Counter(word.label for word in words)
    return tuple(
        f"{word.label}#{word.words[0].occurrence}" if often[word.label] > 1 and word.words else word.label
        for word in words
    )


def _columns_of(layers: Sequence[AttentionMap], columns: Tensor, view: View) -> Iterator[LayerMaps]:
    for item in layers:
        maps = item.maps if view.image is None else _image_of(item.maps, view.image)
        chosen = choose_heads(view.heads, item.heads)
        if chosen is not None:
            if maps.shape[1] != item.heads:
                raise RecordingError(
                    f"Heatmap: single heads were not recorded ({item.address.block} was kept as the mean of its "
                    f"{item.heads} heads). In Record Attention set heads to `each`, and sample again."
                )
            maps = maps[:, list(chosen)]
        yield maps[..., columns], item.query_grid, len(chosen or ()) or item.heads


def _image_of(maps: Tensor, image: int) -> Tensor:
    if not 0 <= image < maps.shape[0]:
        raise InputError(
            f"Heatmap: image_index is {image}, but the batch has {indexed(maps.shape[0], 'picture')}. Choose one of "
            "them."
        )
    return maps[image : image + 1]


def _merging(words: Sequence[WordMatch], keys: int, merge: Merge) -> tuple[Tensor, Tensor]:
    """The columns that are needed, and how they make up each word: (column), (column word) float32."""
    used = sorted({column for word in words for column in word.columns})
    if not used or not all(word.occurrences and all(word.occurrences) for word in words):
        raise WordError("Heatmap: one of the words has no tokens. Choose a word of the prompt.")
    if used[0] < 0 or used[-1] >= keys:
        raise WordError(
            f"Heatmap: token {used[-1]} is outside this run's prompt, whose tokens are 0 to {keys - 1}. Take the words "
            "from the prompt that was sampled."
        )
    row = {column: index for index, column in enumerate(used)}
    weights = torch.zeros(len(used), len(words))
    for index, word in enumerate(words):
        for place in word.occurrences:
            part = place[:1] if merge == "first" else place
            for column in part:
                weights[row[column], index] += 1 / len(word.occurrences) / (1 if merge == "sum" else len(part))
    return torch.tensor(used), weights
