"""Words: every column has its name, and every word is found or refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pack.scenescope.attention.words.find import asking_for, find_words
from pack.scenescope.attention.words.prompt import segments
from pack.scenescope.attention.words.tokenisation import read_tokens
from pack.scenescope.attention.words.tokens import Token, TokenTable, agreed, fit_table
from pack.scenescope.errors import WordError
from pack.tests.support.prompts import CHUNK, END, START, WORDS, SmallTokenizer, Written, written


def table(*texts: str, **kinds: str) -> TokenTable:
    """A table of one column for each text after a start; punctuation glued as it is given."""
    tokens = [Token(0, 0, 0, "start", "", None)]
    tokens += [Token(at, 0, at, "text", text, at) for at, text in enumerate(texts, start=1)]
    tokens += [
        Token(len(tokens) + at, 0, len(tokens) + at, kind, "", None) for at, kind in enumerate(("end", "padding"))
    ]
    return TokenTable(" ".join(texts), tuple(tokens))


def columns(found: TokenTable, query: str) -> list[tuple[int, ...]]:
    """The columns of each term."""
    return [match.columns for match in find_words(found, query)]


@settings(deadline=None)
@given(made=written())
def test_every_word_however_written_is_found_at_its_columns(made: Written):
    """Oracle: the columns noted while the prompt and its tokens were built side by side."""
    found = made.close()
    for name, places in made.places.items():
        (match,) = find_words(found, name)
        assert match.occurrences == tuple(places)
        for number, place in enumerate(places, start=1):
            assert columns(found, f"{name.upper()}#{number}") == [place]
        times = {1: "once", 2: "twice"}.get(len(places), f"{len(places)} times")
        with pytest.raises(WordError, match=rf"#{len(places) + 1}`: the prompt contains .* only {times}\. Choose"):
            find_words(found, f"{name}#{len(places) + 1}")
        with pytest.raises(WordError, match=rf"#0`: .* Choose {'1' if len(places) == 1 else 'a number from 1 to'}"):
            find_words(found, f"{name}#0")


def test_an_embedding_that_is_not_there_leaves_its_neighbours_their_vectors():
    """Oracle: the columns noted while the prompt was built: one vector for `<asset0>`, three for `bad-hands_5`."""
    made = Written(SmallTokenizer([1]))
    made.prompt = "a "
    made.add(made.tokenizer.spell("a"), 1.0)
    made.vectors("embedding:", "gone", 0)
    made.vectors("", "<asset0>", 1)
    made.vectors("embedding:", "bad-hands_5", 3)
    assert columns(made.close(), "<asset0>, bad-hands_5") == [(2,), (3, 4, 5)]


@settings(deadline=None)
@given(made=written())
def test_words_start_end_and_padding_share_out_all_columns(made: Written):
    """Oracle: an invariant, and the number of tokens; `each` is every place of every name."""
    found = made.close()
    named = [column for word in found.words() for column in word.columns]
    special = [column for kind in ("start", "end", "padding") for column in found.columns(kind)]
    assert sorted(named + special) == list(range(sum(map(len, made.chunks))))
    assert len(found.columns("start")) == len(found.columns("end")) == len(made.chunks)
    if made.places:
        each = [column for match in find_words(found, "each") for column in match.columns]
        assert sorted(each) == sorted(column for places in made.places.values() for place in places for column in place)


@settings(deadline=None)
@given(made=written(), word=WORDS)
def test_a_word_that_is_not_there_is_refused_by_name(made: Written, word: str):
    """Oracle: the names noted while the prompt was built; the message lists them."""
    found = made.close()
    if word.casefold() in made.places:
        return
    with pytest.raises(WordError) as raised:
        find_words(found, word)
    assert repr(word) in str(raised.value)
    for name in made.places:
        assert name in str(raised.value).casefold()


@settings(deadline=None)
@given(made=written(), data=st.data())
def test_any_words_of_a_prompt_can_be_asked_for_and_no_others_are_found(made: Written, data: st.DataObject):
    """Oracle: their own columns."""
    table = made.close()
    words = [word for word in table.words() if data.draw(st.booleans())]
    assume(words)
    found = find_words(table, asking_for(table, words))
    wanted = sorted(column for word in words for column in word.columns)
    assert sorted(column for match in found for column in match.columns) == wanted


@settings(deadline=None)
@given(made=written(), query=st.text(max_size=30))
def test_anything_typed_is_found_or_refused_by_name(made: Written, query: str):
    """Oracle: the only two ends there are; what is found lies among the columns."""
    found = made.close()
    try:
        matches = find_words(found, query)
    except WordError as error:
        matches, message = (), str(error)
        assert message.startswith("Words: ")
    assert all(0 <= column < len(found.tokens) for match in matches for column in match.columns)
    assert all(match.columns for match in matches)


@settings(deadline=None)
@given(made=written())
def test_each_word_has_the_weight_that_the_tokens_have(made: Written):
    """Oracle: the weights in the tokens."""
    weights = [given_token[1] for chunk in made.chunks for given_token in chunk]
    for word in made.close().words():
        assert {weights[column] for column in word.columns} == {word.weight}


@settings(deadline=None)
@given(made=written())
def test_words_are_read_off_the_tokens_where_the_prompt_is_not_known(made: Written):
    """Oracle: the columns noted while the prompt was built; words of letters only, since the double glues nothing."""
    made.close()
    found = read_tokens(None, made.chunks, made.tokenizer.codec())
    assert len(found.tokens) == sum(map(len, made.chunks))
    for name, places in made.places.items():
        if name.isalnum() and name != "moss":
            assert all(place in find_words(found, name)[0].occurrences for place in places)


def test_a_prompt_that_does_not_belong_to_the_tokens_is_not_believed():
    """Oracle: by hand; the tokens say cat."""
    made = Written(SmallTokenizer([3]))
    made.word("cat", "{}", 1.0)
    made.close()
    found = read_tokens("a red dog", made.chunks, made.tokenizer.codec())
    assert [word.text for word in found.words()] == ["cat"]


def test_words_are_as_they_were_typed():
    """Oracle: by hand."""
    made = Written(SmallTokenizer([2]))
    for text, writing in (("Photo", "{}"), ("Éclair", "({}:1.2)"), ("don't", "{},")):
        made.word(text, writing, 1.2 if ":" in writing else 1.0)
    made.vectors("embedding:", "bad-hands_5", 3)
    found = made.close()
    assert [word.text for word in found.words()] == ["Photo", "Éclair", "don't", ",", "bad-hands_5"]
    assert [(token.text, token.vector, token.vectors) for token in found.tokens if token.kind == "embedding"] == [
        ("bad-hands_5", vector, 3) for vector in range(3)
    ]


def test_a_missing_embedding_names_no_column_and_shifts_none():
    """Oracle: by hand; of two embeddings side by side the first has no file."""
    made = Written(SmallTokenizer([3]))
    made.vectors("embedding:", "gone", 0)
    made.vectors("embedding:", "moss", 1)
    made.word("cat", "{}", 1.0)
    found = made.close()
    assert columns(found, "embedding:moss, cat") == [(1,), (2,)]
    with pytest.raises(WordError, match="'embedding:gone' is not in the prompt"):
        find_words(found, "embedding:gone")


def test_padding_that_has_the_id_of_the_end_is_told_apart_with_and_without_word_ids():
    """Oracle: by hand; SD1.5 pads with the end's own id."""
    numbered = [[(START, 1.0, 0), (7, 1.0, 1), (END, 1.0, 0), (END, 1.0, 0)]]
    plain = [[(value, weight) for value, weight, _ in numbered[0]]]
    codec = SmallTokenizer([3], {b"cat ": 7}).codec()
    for chunks in (numbered, plain):
        kinds = [token.kind for token in read_tokens("cat", chunks, codec).tokens]
        assert kinds == ["start", "text", "end", "padding"]


def test_an_end_typed_into_the_prompt_is_text():
    """Oracle: by hand; the word id says so."""
    chunk = [(START, 1.0, 0), (END, 1.0, 1), (7, 1.0, 1), (END, 1.0, 0), (END, 1.0, 0)]
    pieces = {END: b"<|endoftext|> ", 7: b"cat "}
    codec = SmallTokenizer([3], {piece: number for number, piece in pieces.items()}).codec()
    found = read_tokens("<|endoftext|> cat", [chunk], codec)
    assert [token.kind for token in found.tokens] == ["start", "text", "text", "end", "padding"]
    assert columns(found, "endoftext, cat") == [(1,), (2,)]


def test_one_token_of_several_vectors_takes_as_many_columns():
    """Oracle: by hand, from how the host joins the vectors."""
    chunk = [(START, 1.0, 0), (torch.zeros(3, 4), 1.0, 1), (END, 1.0, 0)]
    found = read_tokens("embedding:moss", [chunk], SmallTokenizer([3]).codec())
    assert columns(found, "moss") == [(1, 2, 3)]
    assert len(found.tokens) == 5


def test_phrases_pass_over_case_weights_and_punctuation():
    """Oracle: by hand."""
    found = table("a", "Blue", "-", "Eyed", "cat", ",", "red", "cat")
    assert columns(found, "blue-eyed, BLUE EYED, (blue_eyed cat:1.2), eyed cat red") == [
        (2, 4), (2, 4), (2, 4, 5), (4, 5, 7),
    ]  # fmt: skip
    assert columns(found, "cat") == [(5, 8)]
    assert columns(found, "cat#2") == [(8,)]
    assert columns(found, "cat#1, red") == [(5,), (7,)]
    assert columns(table("Éclair"), "e\u0301clair") == [(1,)]
    for absent in ("blue cat", "cat eyed", "cat red cat cat", "lue"):
        with pytest.raises(WordError):
            find_words(found, absent)


def test_special_columns_are_asked_for_by_name():
    """Oracle: by hand, two chunks of which the second pads."""
    made = Written(SmallTokenizer([1]))
    made.word("abcabc", "{}", 1.0)
    made.word("cabcab", "{}", 1.0)
    found = made.close()
    starts, ends = (0, CHUNK), (CHUNK - 1, CHUNK + 3)
    assert columns(found, "<start>, <end>, <start>#2, <end>#1") == [starts, ends, (CHUNK,), (CHUNK - 1,)]
    assert columns(found, "<padding>") == [tuple(range(CHUNK + 4, 2 * CHUNK))]
    with pytest.raises(WordError, match="this prompt has no <padding>"):
        find_words(TokenTable("", found.tokens[:3]), "<padding>")


def test_a_backslash_takes_the_meaning_from_what_follows():
    """Oracle: by hand."""
    found = table("each", ",", "C", "#", "2", "(", "cat", ")", "start")
    assert columns(found, r"\each") == [(1,)]
    assert columns(found, r"\,") == [(2,)]
    assert columns(found, r"C\#2") == [(3, 5)]
    assert columns(found, r"\(") == [(6,)]
    assert columns(found, r"\(cat\)") == [(7,)]
    assert columns(found, r"\<start>") == [(9,)]
    assert columns(found, "\\#\n\\each") == [(4,), (1,)]


@pytest.mark.parametrize("query", ["", "each", " , \n ,", "EACH".lower()])
def test_nothing_asked_for_is_every_word_once(query):
    """Oracle: by hand; punctuation and the second cat make no map of their own."""
    found = table("Cat", ",", "a", "cat")
    assert [(match.label, match.columns) for match in find_words(found, query)] == [("Cat", (1, 4)), ("a", (3,))]


def test_the_refusal_lists_what_is_there_and_the_nearest():
    """Oracle: the sentence, by hand."""
    with pytest.raises(WordError) as raised:
        find_words(table("a", "Kitten", ","), "kiten")
    assert str(raised.value) == (
        "Words: 'kiten' is not in the prompt. It has 'a', 'Kitten', <start>, <end>, <padding>. Did you mean 'Kitten'?"
    )


def test_an_embedding_is_found_by_each_of_its_names():
    """Oracle: by hand."""
    made = Written(SmallTokenizer([3]))
    made.vectors("embedding:", "style/ink.pt", 2)
    made.vectors("", "<asset0>", 1)
    made.word("ink", "{}", 1.0)
    found = made.close()
    for query in ("embedding:style/ink.pt", "style/ink", "STYLE/INK.PT", "(embedding:style/ink:1.2)"):
        assert columns(found, query) == [(1, 2)]
    assert columns(found, "<asset0>, asset0, <asset0> ink") == [(3,), (3,), (3, 4)]
    assert columns(found, "ink") == [(4,)]


def test_a_table_shorter_than_the_conditioning_names_no_surplus_column():
    """Oracle: by hand: Conditioning (Concat) keeps the first prompt's dictionary."""
    made = Written(SmallTokenizer([3]))
    made.word("cat", "{}", 1.0)
    found = made.close()
    longer = fit_table(found, 2 * CHUNK + 3)
    assert longer.tokens[:CHUNK] == found.tokens
    assert {(token.kind, token.word) for token in longer.tokens[CHUNK:]} == {("unknown", None)}
    assert [token.column for token in longer.tokens] == list(range(2 * CHUNK + 3))
    assert (longer.tokens[-1].chunk, longer.tokens[-1].position) == (2, 2)
    assert fit_table(found, CHUNK) is found
    assert len(fit_table(found, 2).tokens) == 2
    with pytest.raises(WordError, match=f"{CHUNK + 3} tokens of unknown words"):
        find_words(longer, "dog")


def test_encoders_that_disagree_leave_the_column_unnamed():
    """Oracle: by hand: SDXL stacks two encoders' channels column by column."""
    both = agreed([table("red", "Cat"), table("blue", "cat", "sits")])
    assert [(token.kind, token.text) for token in both.tokens] == [
        ("start", ""), ("unknown", ""), ("text", "Cat"), ("unknown", ""), ("unknown", ""),
    ]  # fmt: skip
    assert columns(both, "cat") == [(2,)]


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a (b) c", ["a ", "b", " c"]),
        ("(a:1.2)(b)", ["a", "b"]),
        ("((a:2) b:0.5)", ["a", " b"]),
        ("a) (b", ["a) (b"]),
        ("(a (b)", ["a ", "(b"]),
        ("(a:b)", ["a:b"]),
        ("(:1.2)", [":1.2"]),
        ("()", []),
        (r"\(a\) (b\):1.5)", ["(a) ", "b)"]),
        ("", []),
    ],
)
def test_groups_are_read_as_the_host_reads_them(prompt, parts):
    """Oracle: the host's own pieces, written down; `tests/host/prompts/test_text.py` compares with the host itself."""
    assert segments(prompt) == parts


def test_ten_thousand_parentheses_do_no_harm():
    """Oracle: an invariant; the parser does not recurse."""
    assert segments("(" * 2000 + "a" + ")" * 2000) == ["a"]
    with pytest.raises(WordError):
        find_words(table("cat"), "(" * 2000)
