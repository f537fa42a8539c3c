"""What Steer Words is asked for: lines, masks, boxes, and what is to be held."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import folder_paths
import pytest
import torch
from comfy_api.latest import io
from pack.host.acting.steer import Odds, keeping_others, places_of, steered, steerings_of, with_paint
from pack.nodes.steer import SteerWords
from pack.scenescope.dims import Grid
from pack.scenescope.errors import FileError, InputError, WordError
from pack.scenescope.training.scene.masks import PALETTE
from pack.tests.host.acting.test_steering import EACH, recording_of, run, table
from pack.tests.support.host.runs import Run, conditioning
from PIL import Image

LINES = "red circle\n\n blue square \n"


def test_lines_take_masks_then_boxes_and_the_rest_is_steered_everywhere():
    """Oracle: by hand; core's boxes come as one, as a list, and as a list of frames."""
    box = {"x": 8, "y": 16, "width": 24, "height": 40}
    places = places_of("a\nb\nc\nd", [torch.ones(8, 8)], [[box, box | {"x": 0}]])
    assert [place.boxes for place in places] == [(), ((1.0, 2.0, 3.0, 5.0),), ((0.0, 2.0, 3.0, 5.0),)]
    odds = Odds(strength=1.0, inside=5.0, outside=-4.0, end=0.25, branch="both")
    found = steerings_of("a\nb\nc\nd", places, odds)
    assert [(item.words, item.strength, item.outside) for item in found] == [
        ("a", 5.0, -4.0), ("b", 5.0, -4.0), ("c", 5.0, -4.0), ("d", 1.0, 0.0)
    ]  # fmt: skip
    assert {(item.start, item.end, item.branch) for item in found} == {(0.0, 0.25, "both")}
    assert places_of("a", [], box)[0].boxes == places[1].boxes
    assert places[1].on_latent(Grid(8, 12), 1, "").sum() == 15


def test_a_batch_of_masks_is_one_for_each_line_or_one_for_each_picture():
    """Oracle: by hand."""
    batch = torch.arange(4.0)[:, None, None].expand(4, 6, 6) / 4
    two = places_of(LINES, [batch], None)
    assert [place.mask[:, 0, 0].tolist() for place in two] == [[0.0, 0.25], [0.5, 0.75]]
    (one,) = places_of("red circle", [batch], None)
    assert one.mask.shape == (4, 6, 6)
    apart = places_of(LINES, [batch[0], torch.ones(1, 3, 5)], None)
    assert [tuple(place.mask.shape) for place in apart] == [(1, 6, 6), (1, 3, 5)]
    (channelled,) = places_of("red circle", [batch[:, None]], None)
    assert torch.equal(channelled.mask, one.mask)


def test_each_colour_of_a_painted_picture_is_a_lines_place_between_masks_and_boxes():
    """Oracle: by hand: blue lies above red, black is nothing."""
    painted = torch.zeros(1, 8, 8, 3)
    painted[0, :2, :4, 2], painted[0, 4:, 4:, 0] = 1.0, 1.0
    box = {"x": 8, "y": 16, "width": 24, "height": 40}
    mask, blue, red, last = places_of("a\nb\nc\nd", [torch.ones(8, 8)], [box], painted)
    assert torch.equal(blue.mask[0], painted[0, ..., 2])
    assert torch.equal(red.mask[0], painted[0, ..., 0])
    assert (mask.mask.sum(), last.boxes) == (64, ((1.0, 2.0, 3.0, 5.0),))


def strokes(*painted: tuple[tuple[int, int, int], slice]) -> torch.Tensor:
    """The painter's picture, 8x8: flat colours in columns, transparent elsewhere."""
    picture = torch.zeros(8, 8, 4)
    for colour, columns in painted:
        picture[:, columns, :3], picture[:, columns, 3] = torch.tensor(colour) / 255, 1.0
    return picture


def test_paint_in_a_line_s_colour_is_that_line_s_place_and_other_colours_take_the_next_free_line():
    """Oracle: by hand: the palette's third colour, and a grey that is none of its, for the first line."""
    third, grey = strokes((PALETTE[2], slice(0, 3)), ((128, 128, 128), slice(5, 8))), slice(5, 8)
    first, second, last = with_paint("a\nb\nc", (), third)
    assert second is None
    assert (first.mask[0, :, grey].min(), first.mask.sum()) == (1, 24)
    assert (last.mask[0, :, :3].min(), last.mask.sum()) == (1, 24)
    found = steerings_of("a\nb\nc", (first, second, last), Odds(strength=1.0))
    assert [(item.words, item.strength) for item in found] == [("a", 6.0), ("b", 1.0), ("c", 6.0)]
    given = places_of("a\nb\nc", [torch.ones(8, 8)], None)
    assert [place is None for place in with_paint("a\nb\nc", given, third)] == [False, False, False]
    assert with_paint("a", given, None) == with_paint("a", given, torch.zeros(8, 8, 4)) == given


@pytest.mark.parametrize(
    ("colour", "said"),
    [
        (PALETTE[0], "`red circle` has both paint and a connected mask, box or colour"),
        (PALETTE[2], "the painting has a colour for line 3, but there are only 2 lines of words"),
    ],
)
def test_paint_that_no_line_can_have_is_refused(colour, said):
    """Oracle: the sentences."""
    given = places_of(LINES, [torch.ones(8, 8)], None)
    with pytest.raises(InputError, match=said):
        with_paint(LINES, given, strokes((colour, slice(0, 4))))


def test_the_node_reads_what_was_painted_in_it(sd15: Any, tmp_path, monkeypatch):
    """Oracle: the act on the model that comes out; a file that is gone is named with what to do, by the node's name."""
    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    pixels = (strokes((PALETTE[1], slice(2, 5))) * 255).to(torch.uint8).numpy()
    Image.fromarray(pixels, "RGBA").save(tmp_path / "paint.png")
    monkeypatch.setattr(SteerWords, "hidden", io.HiddenHolder.from_dict({}))
    (model,) = SteerWords.execute(sd15, LINES, mask="paint.png [input]").args
    everywhere, placed = [act for act, _ in model.get_attachment("scenescope.act")]
    assert (everywhere.words, everywhere.place) == ("red circle", None)
    assert placed.words == "blue square"
    assert torch.equal(placed.place.mask[0].bool(), strokes((PALETTE[1], slice(2, 5)))[..., 3].bool())
    assert SteerWords.fingerprint_inputs(mask="paint.png [input]") != SteerWords.fingerprint_inputs(mask="")
    with pytest.raises(FileError, match="^Steer Words: the painted masks 'gone.png"):
        SteerWords.execute(sd15, LINES, mask="gone.png [input]")


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ([torch.ones(3, 6, 6)], "there are 3 places but only 2 lines of words"),
        (
            [torch.ones(6, 6), torch.ones(3, 5), torch.ones(6, 6), torch.ones(6, 6)],
            "4 masks of different sizes can't be a batch for 2 lines",
        ),
    ],
)
def test_masks_that_do_not_fit_the_lines_are_refused(masks: list[torch.Tensor], said: str):
    """Oracle: the sentences."""
    with pytest.raises(InputError, match=said):
        steerings_of(LINES, places_of(LINES, masks, None), Odds())


def test_what_is_lifted_gets_free_space_and_the_others_are_held_where_they_were(sd15: Any):
    """Oracle: an invariant: the places of the phrases of one prompt do not overlap, and none is empty."""
    recording, _ = recording_of(sd15, EACH)
    found = keeping_others(recording, "blue square", Odds())
    assert sorted(item.words for item in found) == ["blue square", "red circle"]
    masks = {item.words: item.place.on_latent(recording.latent, 1, "") for item in found}
    assert not (masks["blue square"] * masks["red circle"]).any()
    assert {(item.strength, item.outside) for item in found} == {(6.0, -6.0)}
    with pytest.raises(WordError, match="dog"):
        keeping_others(recording, "dog", Odds())
    wordless, _ = recording_of(sd15, EACH, positive=conditioning(seed=1))
    with pytest.raises(WordError, match="doesn't carry the words of the positive prompt"):
        keeping_others(wordless, "circle", Odds())


def test_each_picture_of_a_batch_keeps_its_own_things_in_place(sd15: Any):
    """Oracle: the same for each picture's recording alone; another number of pictures is refused before sampling."""
    recording, _ = recording_of(sd15, EACH, Run(batch=2))
    found = keeping_others(recording, "blue square", Odds())
    assert [tuple(item.place.mask.shape) for item in found] == [(2, 8, 12)] * 2
    for image in range(2):
        maps = tuple(replace(item, maps=item.maps[image : image + 1]) for item in recording.maps)
        alone = keeping_others(replace(recording, maps=maps, images=1), "blue square", Odds())
        for both, one in zip(found, alone, strict=True):
            assert torch.equal(both.place.mask[image], one.place.mask[0])
    with pytest.raises(InputError, match="sample as many pictures as were recorded"):
        run(steered(sd15, found), Run(batch=3))


def test_what_is_kept_is_found_by_its_own_words_and_needs_some(sd15: Any):
    """Oracle: by hand, columns of the second `a` too; the sentence; a prompt whose words name no thing holds none."""
    recording, _ = recording_of(sd15, EACH)
    both = keeping_others(recording, "a", Odds())
    assert [item.words for item in both][:2] == ["a#1", "a#2"]
    with pytest.raises(WordError, match="^Steer Words: keep_others has the maps of a run, but no words were given"):
        keeping_others(recording, " \n", Odds())
    with pytest.raises(WordError, match="^Steer Words: '<start>' is not a thing"):
        keeping_others(recording, "<start>", Odds())
    words = replace(table(), tokens=table().tokens[:1] + tuple(replace(t, text="in") for t in table().tokens[1:8]))
    settings = replace(recording, entries=tuple(replace(entry, table=words) for entry in recording.entries))
    assert [item.words for item in keeping_others(settings, "in#3", Odds())] == ["in#3"]


def test_what_is_taken_away_is_lowered_everywhere_and_the_others_are_held(sd15: Any):
    """Oracle: by hand: the words' own strength and no place; the other thing's place as when the words are lifted."""
    recording, _ = recording_of(sd15, EACH)
    away, held = keeping_others(recording, "blue square", Odds(strength=-12.0, end=1.0))
    assert (away.words, away.strength, away.outside, away.place, away.end) == ("blue square", -12.0, 0.0, None, 1.0)
    assert (held.words, held.strength, held.outside) == ("red circle", 6.0, -6.0)
    lifted = {item.words: item.place for item in keeping_others(recording, "blue square", Odds())}
    assert torch.equal(held.place.mask, lifted["red circle"].mask)


def test_the_node_steers_by_its_inputs(sd15: Any, monkeypatch: Any):
    """Oracle: the same steerings put on by hand; what came from a doctor is done as well."""
    mask = torch.zeros(1, 64, 96)
    mask[..., :48] = 1
    numbers = {"strength": 2.0, "inside": 6.0, "outside": -6.0, "start": 0.0, "end": 0.5, "branch": "positive"}
    doctored = steerings_of("square", (), Odds(strength=-1.0))
    monkeypatch.setattr(SteerWords, "hidden", io.HiddenHolder.from_dict({}))
    (model,) = SteerWords.execute(sd15, LINES, masks={"mask0": mask, "mask1": None}, steering=doctored, **numbers).args
    wanted = steered(sd15, (*steerings_of(LINES, places_of(LINES, [mask], None), Odds()), *doctored))
    assert torch.equal(run(model), run(wanted))
    assert not torch.equal(run(model), run(sd15))
    said: list[str] = []
    monkeypatch.setattr("pack.nodes.steer.say_on_node", lambda node, text: said.append(text))
    (same,) = SteerWords.execute(sd15, " ", **numbers).args
    assert same is sd15
    assert said == ["No words were given, and no repair: nothing is steered."]
