"""What a person asks to be recorded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.scenescope.attention.record.choices import choose_heads, choose_steps
from pack.scenescope.attention.record.selection import NEGATIVE, POSITIVE, Selection, branch_of
from pack.scenescope.dims import grid_of
from pack.scenescope.errors import InputError, SelectionError

totals = st.integers(1, 60)


@pytest.mark.parametrize(
    ("text", "total", "steps"),
    [
        ("all", 3, [0, 1, 2]),
        ("", 2, [0, 1]),
        ("first", 5, [0]),
        ("LAST", 5, [4]),
        ("-1, -5", 5, [0, 4]),
        ("every 4", 9, [0, 4, 8]),
        ("0-2; last", 20, [0, 1, 2, 19]),
        ("2 - 4", 20, [2, 3, 4]),
        ("2 to 4\n7..8", 20, [2, 3, 4, 7, 8]),
        ("3, 99", 5, [3]),
        ("first, last", 1, [0]),
        ("0-999999999999", 4, [0, 1, 2, 3]),
    ],
)
def test_steps_are_read_as_people_write_them(text: str, total: int, steps: list[int]):
    """Oracle: by hand. The last line would fill the memory if a range were made before it is cut."""
    assert sorted(choose_steps(text, total)) == steps


@given(total=totals, data=st.data())
def test_numbers_choose_themselves_counted_from_either_end(total: int, data: st.DataObject):
    """Oracle: Python's own indexing."""
    wanted = data.draw(st.lists(st.integers(-total, total - 1), min_size=1))
    chosen = choose_steps(", ".join(map(str, wanted)), total)
    assert chosen == {range(total)[index] for index in wanted}


@given(total=totals, first=st.integers(0, 80), last=st.integers(0, 80))
def test_a_range_is_what_of_it_lies_in_the_run(total: int, first: int, last: int):
    """Oracle: counting through all steps; nothing left is an error that names the steps there are."""
    expected = {step for step in range(total) if first <= step <= last}
    if expected:
        assert choose_steps(f"{first}-{last}", total) == expected
    else:
        with pytest.raises(SelectionError, match=rf"has {total} steps? \(0{f' to {total - 1}' if total > 1 else ''}\)"):
            choose_steps(f"{first}-{last}", total)


@given(total=totals, every=st.integers(1, 80))
def test_every_so_many_begins_with_the_first(total: int, every: int):
    """Oracle: the remainder."""
    assert choose_steps(f"every {every}", total) == {step for step in range(total) if step % every == 0}


@given(text=st.text(max_size=12), total=totals)
def test_any_text_gives_steps_of_the_run_or_the_packs_own_error(text: str, total: int):
    """Oracle: an invariant."""
    try:
        chosen = choose_steps(text, total)
    except SelectionError:
        return
    assert chosen
    assert chosen <= set(range(total))


@pytest.mark.parametrize("text", ["some", "every 0", "every", "1.5", "1 2", "--3", "all last"])
def test_what_is_not_understood_is_named(text: str):
    """Oracle: the message."""
    with pytest.raises(SelectionError, match=f"{text!r} is not a choice of steps"):
        choose_steps(text, 20)


@pytest.mark.parametrize("text", [",", "20", "-21", "7-3"])
def test_steps_outside_the_run_are_refused(text: str):
    """Oracle: the message."""
    with pytest.raises(SelectionError, match=r"matches no step of this run, which has 20 steps \(0 to 19\)"):
        choose_steps(text, 20)


@pytest.mark.parametrize(
    ("branches", "kept"),
    [
        ((POSITIVE, NEGATIVE), [POSITIVE, NEGATIVE, "middle", "other 2"]),
        ((POSITIVE,), [POSITIVE]),
        ((NEGATIVE,), [NEGATIVE]),
        ((POSITIVE, "middle"), [POSITIVE, "middle", "other 2"]),
    ],
)
def test_further_branches_are_kept_where_both_are(branches: tuple[str, ...], kept: list[str]):
    """Oracle: the rule, by hand."""
    selection = Selection(branches=branches)
    assert [name for name in (POSITIVE, NEGATIVE, "middle", "other 2") if selection.keeps(name)] == kept


def test_the_hosts_places_have_names():
    """Oracle: the host's order."""
    assert [branch_of(place) for place in range(4)] == ["positive", "negative", "other 2", "other 3"]


def test_numbers_take_the_bytes_of_their_type():
    """Oracle: by hand."""
    assert [Selection(precision=kind).item_bytes for kind in (torch.float16, torch.bfloat16, torch.float32)] == [
        2,
        2,
        4,
    ]


@pytest.mark.parametrize("text", ["9" * 5000, "-" + "9" * 5000, "0-" + "9" * 5000, "every " + "9" * 5000])
def test_a_number_of_thousands_of_digits_is_refused_in_a_short_sentence(text):
    """Oracle: Python itself refuses to read numbers of more than 4300 digits, with an error of its own."""
    for ask in (lambda: choose_steps(text, 20), lambda: choose_heads(text, 8), lambda: grid_of(text)):
        with pytest.raises(InputError) as raised:
            ask()
        assert len(str(raised.value)) < 300
