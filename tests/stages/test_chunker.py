import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.stages.chunker import Chunk, SentenceChunker
from voice_agent.stages.clauses import MIN_CLAUSE_WORDS
from voice_agent.stages.sentences import Cutter

FIRST, MAX = 7, 24
UNTIMED = settings(deadline=None)  # other work on the machine must not fail a property


def cut(text: str, first_chunk_words: int = FIRST, max_words: int = MAX) -> list[str]:
    cutter = Cutter(first_chunk_words, max_words)
    return [piece.text for piece in (*cutter.feed(text), *cutter.end())]


def cut_tokens(tokens: list[str]) -> list[str]:
    cutter = Cutter(FIRST, MAX)
    return [
        *(piece.text for token in tokens for piece in cutter.feed(token)),
        *(p.text for p in cutter.end()),
    ]


async def stream(*tokens: str) -> AsyncGenerator[str, None]:
    for token in tokens:
        yield token


async def chunks(*tokens: str) -> list[Chunk]:
    return [chunk async for chunk in SentenceChunker().split(stream(*tokens))]


@pytest.mark.parametrize(
    "marked",
    [
        "Hello there! |How are you?",
        "I like it. |it is good.",
        "Yes. |No problem.",
        "I saw Dr. Smith and Mrs. Jones. |They left.",
        "Pi is 3.14, or so. |Fine.",
        "It cost $3.50. |Cheap.",
        "There were 3. |Then 2.",
        "Room No. 5 is free. |Go.",
        "No. |I do not.",
        "Meet at 6 a.m. on Friday. |Bye.",
        "Meet at 5 p.m. |Call me.",
        "Meet at 5 p.m. Monday. |Bye.",
        "Use tools, e.g. this one. |Or i.e. that.",
        "Cats vs. Dogs. |Both.",
        "The U.S. Army came. |Then left.",
        "He lives in the U.S. |He likes it.",
        "J. R. R. Tolkien wrote it. |It is long.",
        "George W. Bush spoke. |Then we left.",
        "That was World War I. |It was long.",
        "So do I. |Paris is nice.",
        "Apples, pears, etc. and so on. |Done.",
        "Apples, pears, etc. |Then we left.",
        "Apple Inc. CEO spoke. |We left.",
        "He owns Apple Inc. |The rest is ours.",
        "I live on Main St. |It is quiet.",
        "We visited St. Louis today. |Nice.",
        "It is 6 ft. tall. |Big.",
        "Wait until Jan. 5 please. |Then go.",
        "See example.com/a.b?c=d. |Then file.py. |Use v1.2.3. |Done.",
        "Go to https://example.com/x.y now. |Done.",
        "Well... I think so. |Good.",
        "Hmm… maybe not. |Good.",
        "I do not know... |But he does.",
        "What?! |No way!! |Really.",
        '"Really?" he said. |Then he left.',
        '"It ended." |Then he left.',
        "(It ended.) |Then he left.",
        "It is done (really). |Next.",
        "**Note.** |Then this.",
        "Great!🎉 |Next.",
        "Run `foo. bar` now. |Done.",
        "See [Dr. Who. Ok](http://x.com/a.b). |Done.",
        "Roe v. Wade was a case. |Done.",
        "他好。|我也好。",
        "She has a Ph.D. in maths. |Good.",
        "As follows: 1. Open it. |Done.",
    ],
)
def test_cuts_at_the_ends_of_sentences_and_nowhere_else(marked: str) -> None:
    assert cut(marked.replace("|", "")) == marked.split("|")


@pytest.mark.parametrize(
    "lines",
    [
        ["# Title\n", "Text follows here."],
        ["Steps:\n", "1. Open the box.\n", "2. Take it out.\n", "- One\n", "- Two\n", "Done"],
        ["A line\n", "\nAnother line\n", "\n\nA third"],
        ["| Dr. A! Then | b |\n", "|---|---|\n", "| It is. So | 2 |\n", "Done"],
        ["The first line,\n", "and the second"],
        ["He met Apple Inc.\n", "CEO"],
    ],
)
def test_cuts_at_the_ends_of_lines(lines: list[str]) -> None:
    assert cut("".join(lines)) == lines


@pytest.mark.parametrize(
    "marked",
    [
        "If you want to learn to cook well, |you should start with simple dishes.",
        "The answer to that question is simple: |you should start with simple dishes.",
        "He came to the party late; |nobody seemed to mind that.",
        "The old house by the sea — |red and shiny — is ours.",
        "The population is about 1,000,000 people, |but it depends on how you count.",
        "I would go there right now |but my car is broken today.",
        "I will go to the shop |and you can stay at home.",
        "On March 3, 2025, |we moved to Austin, Texas with our dog.",
        "The capital of France is the city of Paris |which sits on the banks of the Seine today.",
        "Sure! |To reset your router now, |hold the small button on the back.",
    ],
)
def test_a_long_first_sentence_is_cut_early_at_a_clause(marked: str) -> None:
    assert cut(marked.replace("|", "")) == marked.split("|")


@pytest.mark.parametrize(
    "text",
    [
        "I like red apples and green pears, too.",
        "It was a big, red house down there.",
        "The colors are red, green, and blue today.",
        "I met Alice, Bob, and Carol at work.",
        "We moved to Austin, Texas with our dog.",
        "We first met on March 3, 2025 in town.",
        "It takes 1,000 or 2,000 of them to win.",
        "The house (big, and rather old) is mine now.",
        "Call `f(a, b)` with `x, then y` as usual.",
        "See [this, which is long](http://a.b/c,d) for more.",
        "There was nothing but trouble in that house.",
        "We waited there for a while longer than usual.",
    ],
)
def test_a_first_sentence_is_not_cut_where_it_would_sound_chopped(text: str) -> None:
    assert cut(text) == [text]


def test_only_the_first_sentence_is_cut_early() -> None:
    later = "If you want to learn to cook well, you should start with simple dishes."
    assert cut(f"You asked how to cook. {later}") == ["You asked how to cook. ", later]


def test_a_sentence_without_stops_does_not_stall_the_voice() -> None:
    text = (
        "The best thing about living in a small town is that everybody knows you and the worst thing about "
        "it is also that everybody knows you so you had better behave yourself when you go out into the "
        "streets of it"
    )
    first, second, *rest = cut(text)
    assert first == "The best thing about living in a small town is that everybody knows you "
    assert second.startswith("and the worst thing")
    assert all(len(piece.split()) <= MAX for piece in (first, second, *rest))


def test_a_bracket_that_never_closes_does_not_stall_the_voice() -> None:
    pieces = cut("well ( " + "word " * 200)
    assert max(len(piece.split()) for piece in pieces) <= 2 * MAX + 1


async def test_code_is_left_out_of_what_is_said_and_kept_in_the_text() -> None:
    text = "Try this:\n```python\nx = 1. \n\n# Hello. World\n```\nThen run it."
    result = await chunks(text)
    assert [chunk.spoken for chunk in result] == ["Try this:", "Code omitted.", "", "", "", "Then run it."]
    assert "".join(chunk.text for chunk in result) == text


async def test_what_cannot_be_said_is_a_chunk_with_nothing_spoken() -> None:
    assert await chunks("Hi!\n---\n🎉") == [Chunk("Hi!\n", "Hi!"), Chunk("---\n", ""), Chunk("🎉", "")]


async def test_a_chunk_carries_what_was_written_and_what_is_said() -> None:
    assert await chunks("It ", "costs ", "$5", ".", " OK", "?") == [
        Chunk("It costs $5. ", "It costs five dollars."),
        Chunk("OK?", "OK?"),
    ]


async def test_no_tokens_give_no_chunks() -> None:
    assert await chunks() == []
    assert await chunks("", "") == []


@pytest.mark.parametrize(
    ("before", "decisive"),
    [
        ("Hello there!", " "),
        ("I like it.", " "),
        ("What is that?", "\n"),
        ("Here is a list:", "\n"),
        ('"Really?" ', "H"),
        ("No. ", "I"),
        ("I am really not sure... ", "B"),
        ("He lives in the U.S. He", " "),
        ("It is 5 p.m. Call", " "),
        ("If you want to cook well, you should s", ""),
    ],
)
async def test_a_chunk_leaves_at_the_first_character_that_decides(before: str, decisive: str) -> None:
    cutter = Cutter(FIRST, MAX)
    if decisive:
        assert list(cutter.feed(before)) == []
        assert len(list(cutter.feed(decisive))) == 1
    else:
        assert list(cutter.feed(before[:-1])) == []
        assert len(list(cutter.feed(before[-1]))) == 1


async def test_a_chunk_is_given_before_the_next_token_is_asked_for() -> None:
    asked: list[str] = []

    async def tokens() -> AsyncIterator[str]:
        for token in ("Hello", "!", " How", " are", " you"):
            asked.append(token)
            yield token

    async with aclosing(SentenceChunker().split(tokens())) as split:
        assert (await anext(split)).text == "Hello! "
        assert asked == ["Hello", "!", " How"]


async def test_closing_the_chunks_closes_the_tokens() -> None:
    closed = asyncio.Event()

    async def tokens() -> AsyncIterator[str]:
        try:
            while True:
                yield "Hello! "
        finally:
            closed.set()

    async with aclosing(SentenceChunker().split(tokens())) as split:
        await anext(split)
        assert not closed.is_set()
    assert closed.is_set()


async def test_cancelling_while_waiting_for_a_token_closes_the_tokens() -> None:
    waiting, closed = asyncio.Event(), asyncio.Event()

    async def tokens() -> AsyncIterator[str]:
        try:
            yield "Hello"
            waiting.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def read() -> None:
        async for _ in SentenceChunker().split(tokens()):
            pass

    task = asyncio.create_task(read())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


async def test_an_error_of_the_stream_is_passed_on_after_what_was_complete() -> None:
    async def tokens() -> AsyncIterator[str]:
        yield "One is here. Two is"
        raise ValueError("gone")

    given: list[str] = []
    with pytest.raises(ValueError, match="gone"):
        async for chunk in SentenceChunker().split(tokens()):
            given.append(chunk.text)
    assert given == ["One is here. "]


@pytest.mark.parametrize(("first", "most"), [(5, 24), (7, 6), (0, 0)])
def test_sizes_that_would_chop_sentences_are_refused(first: int, most: int) -> None:
    with pytest.raises(ValueError, match=f"first_chunk_words={first}, max_words={most}"):
        SentenceChunker(first_chunk_words=first, max_words=most)


# Text as models write it, with everything that could mislead, and now and then plain noise.
BITS = st.sampled_from(
    (
        "Hello", "there", "I", "we", "The", "and", "but", "Dr.", "No.", "U.S.", "p.m.", "etc.",
        "e.g.", "3", ".", "14", ",", "1,000", "...", "…", "!", "?", "?!", ":", ";", "—", "-", "–",
        "`", "```", "**", "_", "(", ")", "[", "]", "](http://a.b/c)", '"', "'", "|", "#", "1.", ">",
        "😊", "example.com", "St.", "J.", "because", "which", "。", "~~~", "however", "Inc.", "\n",
        "\n\n", "\t", "- ", "| a |", *[" "] * 20,
    )
)  # fmt: skip
TEXTS = st.lists(BITS | st.text(max_size=3), max_size=120).map("".join)


@UNTIMED
@given(TEXTS)
def test_the_chunks_make_up_the_whole_text(text: str) -> None:
    pieces = cut(text)
    assert "".join(pieces) == text
    assert all(pieces)


@UNTIMED
@given(TEXTS, st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_the_chunks_do_not_depend_on_how_the_text_is_cut_into_tokens(text: str, sizes: list[int]) -> None:
    tokens, start, turn = [], 0, 0
    while start < len(text):
        size = sizes[turn % len(sizes)]
        tokens.append(text[start : start + size])
        start, turn = start + size, turn + 1
    assert cut_tokens(tokens) == cut(text) == cut_tokens(list(text))


WORDS = st.sampled_from(
    (
        "we",
        "that",
        "red",
        "house",
        "is",
        "by",
        "and",
        "it",
        "but",
        "because",
        "they",
        "like",
        "big",
        "dogs",
        "so",
    )
)
SENTENCES = st.lists(WORDS | WORDS.map(lambda word: word + ","), min_size=1, max_size=60).map(" ".join)


@UNTIMED
@given(
    st.lists(st.tuples(SENTENCES, st.sampled_from((". ", "! ", "? ", "\n", ".\n"))), min_size=1, max_size=5)
)
def test_a_sentence_leaves_with_its_last_character_and_a_clause_as_soon_as_it_may(
    sentences: list[tuple[str, str]],
) -> None:
    cutter = Cutter(FIRST, MAX)
    text = "".join(sentence + stop for sentence, stop in sentences)
    ended = 0
    for index, char in enumerate(text):
        for piece in cutter.feed(char):
            ended += len(piece.text)
            if re.search(r"[.!?\n]\s*$", piece.text):
                assert ended == index + 1
            else:
                # The look-ahead that keeps the rest from being chopped; more only where it had to be cut.
                ahead = len(text[ended : index + 1].split())
                assert MIN_CLAUSE_WORDS <= ahead <= MAX - MAX // 3 + 1
    assert ended == len(text)


@UNTIMED
@given(SENTENCES)
def test_no_clause_is_shorter_than_three_words(text: str) -> None:
    pieces = cut(text + ".")
    assert len(pieces) == 1 or all(len(piece.split()) >= MIN_CLAUSE_WORDS for piece in pieces)


@UNTIMED
@given(st.lists(st.text(alphabet="abc(`[,", min_size=1, max_size=8), max_size=300).map(" ".join))
def test_no_chunk_is_longer_than_twice_the_most(text: str) -> None:
    for piece in cut(text):
        assert len(re.findall(r"\S*[abc]\S*", piece)) <= 2 * MAX + 1


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Sure, here is a double shot of coffee.", "Sure, "),
        ("No, no, no.", "No, "),
        ("Of course, I can do that for you.", "Of course, "),
        ("Good morning, Ann.", "Good morning, "),
        ("Surely, that is so.", "Surely, that is so."),
        ("Paris, the capital, is big.", "Paris, the capital, is big."),
        ("Yes. Well, I think so.", "Yes. "),
    ],
)
def test_an_interjection_at_the_very_start_is_said_at_once(text: str, first: str) -> None:
    assert cut(text)[0] == first


def test_a_later_interjection_stays_with_its_sentence() -> None:
    assert cut("That is all I know. Well, I think so.") == ["That is all I know. ", "Well, I think so."]
