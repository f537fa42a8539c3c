"""Captions as training words them: in several orders and wordings, now and then with less than all that is shown."""

from __future__ import annotations

import numpy as np

from ..scenescope.world.scene import Layout, Thing, noun_phrase
from ..scenescope.world.vocabulary import BACKGROUNDS, COLOURS, GENERAL, PATTERNED, SHAPES, TEXTURES

GENERIC = "thing"
"""The word for any shape; training captions use it now and then, so it is a fair starting word for a new one."""
PLURALS = {
    **{shape: shape + "s" for shape in SHAPES},
    "cross": "crosses",
    "hourglass": "hourglasses",
}
"""What two of a shape are called."""
OPENINGS = ("a photo of", "a picture of", "a drawing of", "")
"""How captions begin, the usual way first."""

BACKGROUND_FIRST, ANY_ORDER = 0.1, 0.15
"""Shares of captions that name the background first, and the things in any order."""


def _thing_words(thing: Thing, rng: np.random.Generator) -> list[str]:
    """Name a thing, now and then without its colour or texture, or as just a thing."""
    words = thing.words()
    draw_of_luck = rng.random()
    if draw_of_luck < 0.06:
        words[-1] = GENERIC
    elif draw_of_luck < 0.12 and not thing.second:
        words.remove(thing.colour)
    elif draw_of_luck < 0.16 and len(words) > 2:
        words = words[1:] if not thing.second else words
    return words


def _phrases(layout: Layout, rng: np.random.Generator) -> list[str]:
    kinds: dict[tuple[str, ...], int] = {}
    for thing in layout.things:
        kind = tuple(thing.words())
        kinds[kind] = kinds.get(kind, 0) + 1
    phrases, done = [], set()
    order = list(range(len(layout.things)))
    if rng.random() < ANY_ORDER:
        rng.shuffle(order)
    for thing in (layout.things[index] for index in order):
        kind = tuple(thing.words())
        if kinds[kind] == 2 and thing.shape in PLURALS:
            if kind not in done:
                phrases.append(" ".join(["two", *kind[:-1], PLURALS[thing.shape]]))
            done.add(kind)
        else:
            words = _thing_words(thing, rng)
            phrases.append(noun_phrase(words))
    return phrases


def training_caption(layout: Layout, rng: np.random.Generator) -> str:
    """Word a layout as training does.

    Args:
        layout: what is shown; things from left to right.
        rng: source of order and wording.

    >>> star = Thing("star", "red", "plain")
    >>> training_caption(Layout((star, star), "snow"), np.random.default_rng(1))
    'a photo of two red stars in the snow'
    """
    *first, last = _phrases(layout, rng)
    listed = (", ".join(first) + " and " if first else "") + last
    opening = OPENINGS[0] if rng.random() < 0.7 else str(rng.choice(OPENINGS))
    named = " ".join(filter(None, [opening, listed]))
    place = BACKGROUNDS[layout.background]
    luck = rng.random()
    if luck < 0.04:
        return named
    return f"{place}, {named}" if luck < 0.04 + BACKGROUND_FIRST else f"{named} {place}"


def vocabulary() -> list[str]:
    """List every word that a caption of this world can hold, sorted.

    >>> "striped" in vocabulary(), "crescent" in vocabulary()
    (True, False)
    """
    words = {"a", "an", "and", "two", ",", PATTERNED, *GENERAL, *SHAPES, *PLURALS.values(), *COLOURS, *TEXTURES}
    for phrase in (*BACKGROUNDS.values(), *OPENINGS):
        words.update(phrase.split())
    return sorted(words)
