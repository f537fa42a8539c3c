"""The ablation's own arithmetic: the ways to train as written, and what many trials say together."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from pack.benchmarks.ablation import planned
from pack.benchmarks.lab.scatter import Spot
from pack.benchmarks.lab.tables import (
    MEASURES,
    by_scene,
    differences,
    figure_of,
    holm,
    markdown,
    of_pictures,
    spots,
    summary,
)
from pack.benchmarks.lab.variants import (
    DEFAULT,
    TITLES,
    UNTRAINED,
    WITHOUT_TRAINING,
    read_changes,
    settings_of,
    title_of,
)

STEPS = (30, 70)


def trial(variant: str, scene: int, identity: float, *, things: int = 2, asked: tuple[int, ...] = (0, 1)) -> dict:
    """One trial of one picture in which everything has one value."""
    picture = dict.fromkeys(MEASURES, identity) | {"asked": asked, "leakage": None if len(asked) == 2 else 0.25}
    seconds = {"train": 3.0, "draw": 1.0}
    looked = {} if variant == UNTRAINED else {"fit": [0.5, 0.75], "masked": [0.2, 0.125]}
    return {"variant": variant, "things": things, "scene": scene, "seed": 0, "seconds": seconds, **looked} | {
        "pictures": [picture]
    }


@pytest.mark.parametrize("variant", [name for name in TITLES if name not in WITHOUT_TRAINING])
def test_each_way_to_train_differs_from_its_mode_in_what_its_name_says(variant):
    """Oracle: by hand."""
    mode, _, without = variant.partition("-")
    own, whole = settings_of(variant, STEPS, 3), settings_of(mode, STEPS, 3)
    changed = {name for name in vars(own) if getattr(own, name) != getattr(whole, name)}
    assert (
        changed
        == {
            "": set(),
            "masks": {"masked"},
            "attention": {"attention_weight"},
            "union": {"single"},
            "phase1": {"phase1_steps"},
        }[without]
    )
    assert (own.mode, own.phase1_steps, own.phase2_steps) == (mode, 0 if without == "phase1" else 30, 70)
    assert own.seed == 3


def test_the_table_holds_the_papers_rows():
    """Oracle: by hand: the method, its four ablations, the other mode, and where it all begins."""
    trained = {"full", "full-masks", "full-attention", "full-union", "full-phase1", "lora"}
    assert set(DEFAULT) == trained | set(WITHOUT_TRAINING)
    assert all(title_of(variant) for variant in DEFAULT)


def test_an_unknown_field_is_refused():
    """Oracle: the message."""
    with pytest.raises(SystemExit, match="there is no setting 'speed'. Choose from mode"):
        read_changes("speed=3")


@pytest.mark.parametrize("text", ["true", "True", "TRUE"])
def test_a_switch_is_read_in_any_case(text):
    """Oracle: by hand."""
    assert settings_of(f"lora:text_encoder={text}", STEPS, 0).text_encoder is True
    assert settings_of(f"lora:text_encoder={text}".lower().replace("true", "False"), STEPS, 0).text_encoder is False


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("text_encoder=yes", "bench: text_encoder is 'yes', but it has to be true or false"),
        ("rank=x", "bench: rank is 'x', but it has to be a whole number"),
        ("rank", "bench: rank is '', but it has to be a whole number"),
        ("single=half", "bench: single is 'half', but it has to be a number"),
        ("prior=frosen", "bench: prior is 'frosen', but it has to be one of frozen, class, off"),
    ],
)
def test_a_value_of_another_type_is_refused(change, says):
    """Oracle: the message."""
    with pytest.raises(SystemExit, match=says):
        read_changes(change)


def test_figures_of_prompts_for_one_thing_are_among_the_numbers_and_in_no_table():
    """Oracle: by hand: of two pictures the one that asks for one thing counts."""
    results = [trial("full", scene, 0.5) for scene in range(3)]
    results += [trial("full", scene, 0.25, asked=(0,)) for scene in range(3)]
    figures = summary(results, ["full"])["full"]
    assert (figures["identity alone"].mean, figures["leakage alone"].mean) == (0.25, 0.25)
    assert figures["identity"].mean == 0.375
    results += [trial("lora", scene, 0.75, asked=(0,)) for scene in range(3)]
    assert differences(results, ["lora"], "full")["lora"]["identity alone"].mean == 0.5
    assert "alone" not in markdown(results, ["full"])


def test_scenes_count_the_same_however_many_pictures_they_have():
    """Oracle: by hand: scene 0 has two trials of 0.25 and 0.75, scene 1 one of 0.75: 0.625, not 0.583."""
    results = [trial("lora", 0, 0.25), trial("lora", 0, 0.75), trial("lora", 1, 0.75)]
    assert by_scene(results, of_pictures("identity")) == {(2, 0): 0.5, (2, 1): 0.75}
    assert summary(results, ["lora"])["lora"]["identity"].mean == 0.625


def test_the_interval_is_students():
    """Oracle: a table of Student's t: 2.365 for seven degrees of freedom, 3.182 for three."""
    values = [0.3, 0.5, 0.4, 0.6, 0.45, 0.55, 0.35, 0.65]
    deviation = (sum((value - 0.475) ** 2 for value in values) / 7) ** 0.5
    figure = figure_of(values)
    assert (figure.mean, figure.scenes) == (pytest.approx(0.475), 8)
    assert figure.half == pytest.approx(2.365 * deviation / 8**0.5, rel=1e-3)
    four = figure_of([0.1, 0.3, 0.1, 0.3])
    assert four.half == pytest.approx(3.182 * (0.04 / 3) ** 0.5 / 2, rel=1e-3)


def test_the_interval_covers_what_it_says():
    """Oracle: 95 of 100 means lie in the interval: over 2000 draws of four scenes, to two in a hundred."""
    draws = np.random.default_rng(0).normal(0.5, 0.1, size=(2000, 4))
    figures = [figure_of(list(row)) for row in draws]
    assert np.mean([figure.low <= 0.5 <= figure.high for figure in figures]) == pytest.approx(0.95, abs=0.02)


def test_many_comparisons_are_held_to_more():
    """Oracle: by hand after Holm 1979: of four at 5 % the bounds are 0.0125, 0.0167, 0.025 and 0.05, in that order."""
    chances = {("a", "x"): 0.012, ("b", "x"): 0.016, ("c", "x"): 0.03, ("d", "x"): 0.04}
    assert holm(chances) == {("a", "x"), ("b", "x")}
    assert holm({("a", "x"): 0.02, ("b", "x"): 0.03, ("c", "x"): 0.04}) == set()


def test_a_difference_is_taken_scene_by_scene():
    """Oracle: by hand: scenes differ by much, the ways by 0.1 on each: an interval of no length."""
    results = [trial("full", scene, 0.2 * scene) for scene in range(4)]
    results += [trial("lora", scene, 0.2 * scene + 0.1) for scene in range(4)]
    apart = differences(results, ["full", "lora"], "full")
    assert set(apart) == {"lora"}
    assert apart["lora"]["identity"].mean == pytest.approx(0.1)
    assert apart["lora"]["identity"].half == pytest.approx(0)
    assert apart["lora"]["fit after"].mean == pytest.approx(0)


def test_the_table_marks_what_differs_and_leaves_out_what_was_not_measured():
    """Oracle: by hand."""
    results = [trial("full", scene, 0.5) for scene in range(3)]
    results += [trial(UNTRAINED, scene, 0.25, asked=(0,)) for scene in range(3)]
    lines = markdown(results, ["full", "lora", UNTRAINED]).splitlines()
    assert lines[2] == "| full | - | 0.50 ± 0.00 | 0.50 ± 0.00 | 0.50 ± 0.00 | - | 0.75 ± 0.00 | 3 |"
    assert lines[3] == (
        "| no training, starting words | 0.25 ± 0.00 | 0.25 ± 0.00 * | 0.25 ± 0.00 * | - | 0.25 ± 0.00 | - | 3 |"
    )
    assert "| full | 0.500 ± 0.000 | 0.750 ± 0.000 | 0.200 ± 0.000 | 0.125 ± 0.000 |" in lines
    assert not any("lora" in line for line in lines)


def test_each_way_to_train_is_one_point_of_the_plot():
    """Oracle: by hand; without training nothing is compared with the masks."""
    results = [trial(variant, scene, 0.5, asked=(0,)) for scene in range(3) for variant in ("full", UNTRAINED)]
    assert spots(results, ["full", UNTRAINED]) == [Spot("full", (0.25, 0.25, 0.25), (0.75, 0.75, 0.75))]


def test_a_trial_has_a_file_of_its_own_which_a_change_of_settings_leaves_alone(tmp_path):
    """Oracle: an invariant: the same plan gives the same files, other steps give others, and no training has none."""

    def files(first: int) -> dict[tuple, str]:
        options = argparse.Namespace(steps=[first, 5], seeds=2, first=0, scenes=2, things=[2, 3], family="test")
        options.only, options.templates, options.pictures = ["lora", "lora:rank=4", UNTRAINED], 3, 1
        options.folder = tmp_path
        return {trial: file.name for trial, file in planned(options)}

    first, other = files(10), files(11)
    assert files(10) == first
    assert len(set(first.values())) == 2 * 2 * 2 * 3
    for trial, name in first.items():
        assert (name == other[trial]) == (trial[0] == UNTRAINED)
