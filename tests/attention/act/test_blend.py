"""Where a replay lets go: the region of words in the recorded run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.scenescope.attention.act.blend import CUT, GROW, region_of_words
from pack.scenescope.attention.act.region import region_of
from pack.scenescope.attention.act.replay import Playing, Replay
from pack.scenescope.errors import InputError, RecordingError, WordError
from pack.tests.attention.act.test_replay import (
    GRID,
    IMAGES,
    LATENT,
    LAYER,
    NEW,
    OLD,
    call_of,
    projected,
    run_of,
    taped,
)
from pack.tests.support.recordings import entry

SWAPPED = entry("a red dog")


def region_by_hand(recording, column: int) -> torch.Tensor:
    """The mean of output 9 to 11 at the last step, cut and widened."""
    last = [
        m for m in recording.maps if m.address.step == 4 and m.address.block in ("output 9", "output 10", "output 11")
    ]
    mean = torch.stack([m.maps.float().mean(dim=1)[..., column] for m in last]).mean(dim=0)
    return region_of(mean.unflatten(-1, tuple(LATENT)), None, CUT, GROW)


@pytest.mark.parametrize(("target", "words"), [(NEW, "cat"), (NEW, "red cat"), (SWAPPED, "dog"), (SWAPPED, "cat, red")])
def test_words_of_either_prompt_are_free_where_they_were_looked_at(target, words):
    """Oracle: maps by hand; a dog in the place of a cat is where the cat was looked at."""
    recording = taped()
    free = Replay(recording, Playing(free_words=words)).begin(run_of(recording, target))._free
    columns = {"cat": [3], "dog": [3], "red cat": [2, 3], "cat, red": [3, 2]}[words]
    if words == "red cat":  # a phrase is the mean of its tokens
        last = [m for m in recording.maps if m.address.step == 4 and m.address.order >= 13]
        mean = torch.stack([m.maps.float().mean(dim=1)[..., columns].mean(dim=-1) for m in last]).mean(dim=0)
        wanted = region_of(mean.unflatten(-1, tuple(LATENT)), None, CUT, GROW)
    else:
        wanted = torch.stack([region_by_hand(recording, column) for column in columns]).amax(dim=0)
    assert torch.equal(free, wanted)


def test_a_mask_and_words_are_free_together_and_each_picture_of_a_batch_has_its_own():
    """Oracle: the larger of both, cell by cell; queries outside are played after the share, those inside are not."""
    recording = taped()
    masks = torch.zeros(IMAGES, *LATENT)
    masks[1, :, :12] = 1
    playing = Playing(free=masks, free_words="cat")
    act = Replay(recording, playing).begin(run_of(recording))
    wanted = torch.maximum(masks, region_by_hand(recording, 3))
    call = call_of(step=4)
    query, _ = projected(call, NEW.tokens)
    own = (act.write(LAYER, call).query(query, GRID) == query).all(dim=-1)[IMAGES:].reshape(IMAGES, *GRID)
    blocks = wanted.unfold(1, LATENT.height // GRID.height, LATENT.height // GRID.height)
    blocks = blocks.unfold(2, LATENT.width // GRID.width, LATENT.width // GRID.width)
    assert torch.equal(own, blocks.amin(dim=(-2, -1)) == 1)


def test_what_cannot_be_found_is_said_before_anything_is_sampled():
    """Oracle: the sentences."""
    recording = taped()

    def begin(target=NEW, **more):
        return Replay(recording, Playing(**more)).begin(run_of(recording, target))

    with pytest.raises(WordError, match="`striped` is new and stands for no word of the recorded prompt"):
        begin(free_words="striped")
    with pytest.raises(WordError, match="bird"):
        begin(free_words="bird")
    with pytest.raises(InputError, match="free has 3 masks for 2 pictures"):
        begin(free=torch.ones(3, 8, 8))
    with pytest.raises(InputError, match="not numbers"):
        begin(free=torch.full((8, 8), float("nan")))
    early = recording.where(lambda at: at.step < 3)
    with pytest.raises(RecordingError, match="free_words needs the maps of the recorded run's last step"):
        Replay(early, Playing(free_words="cat")).begin(run_of(recording))
    assert region_of_words(recording, OLD, OLD, None, "cat").shape == (IMAGES, *LATENT)


def test_a_recording_that_ends_with_the_share_says_that_nothing_is_held_around():
    """Oracle: the sentence; two of five steps are kept."""
    recording = taped()
    kept = {at: pair for at, pair in recording.projections.items() if at.step < 2}
    for tape, said in ((replace(recording, projections=kept), True), (recording, False)):
        act = Replay(tape, Playing(free_words="cat")).begin(run_of(recording))
        for step in range(5):
            act.write(LAYER, call_of(step=step))
        assert ("nothing is held around the free region" in act.finish({})) == said
