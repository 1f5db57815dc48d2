"""Whatever the text: what a voice is given at once is bounded, nothing is lost, and the work is in proportion."""

import itertools
import logging
import time
import unicodedata
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voice_agent.config import ModelsSettings, TtsSettings
from voice_agent.stages.breath import MOST_SAID, length, parted
from voice_agent.stages.chunker import Chunk, SentenceChunker
from voice_agent.stages.scripts import LATIN, script
from voice_agent.stages.sentences import MAX_CHARACTERS, MAX_WIDE, Cutter
from voice_agent.stages.spoken import spoken
from voice_agent.stages.synthesizer.kokoro import KokoroSynthesizer
from voice_agent.stages.synthesizer.piper import PiperSynthesizer
from voice_agent.stages.synthesizer.xtts import XttsSynthesizer

UNTIMED = settings(deadline=None)  # other work on the machine must not fail a property


async def chunks(*tokens: str, language: str | None = "en") -> list[Chunk]:
    async def stream() -> AsyncIterator[str]:
        for token in tokens:
            yield token

    return [chunk async for chunk in SentenceChunker().split(stream(), language=language)]


def check(text: str, found: list[Chunk]) -> None:
    """The chunks make up the text, and a voice can say each of them in one go."""
    assert "".join(chunk.text for chunk in found) == text
    for chunk in found:
        assert chunk.text
        assert len(chunk.spoken) <= MOST_SAID
        assert sum(map(length, chunk.spoken.split())) - 1 <= MOST_SAID


def words(found: list[Chunk]) -> list[str]:
    return " ".join(chunk.spoken for chunk in found).replace(",", "").split()


@pytest.mark.parametrize("count", [50, 400, 3000])
async def test_all_digits_of_a_row_are_said_in_chunks_and_groups(count: int) -> None:
    text = "31415926535897932384" * (count // 20) + "7" * (count % 20)
    found = await chunks(text, " and so on.")
    check(text + " and so on.", found)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert words(found) == [*(names[int(digit)] for digit in text), "and", "so", "on."]
    first = found[0].spoken.split(", ")
    assert all(len(group.split()) == 4 for group in first)


async def test_a_decimal_of_many_digits_goes_on_as_digits() -> None:
    text = "Pi is 3." + "14159" * 100 + "."
    found = await chunks(text)
    check(text, found)
    assert words(found)[:5] == ["Pi", "is", "three", "point", "one"]
    assert words(found).count("five") == 100
    assert set(words(found)[4:]) <= {"one", "four", "five", "nine", "nine."}


@pytest.mark.parametrize(
    "endless",
    [
        "U29tZSBiYXNlNjQgdGV4dCB0aGF0IGlzIGxvbmc" * 30 + "==",
        "a/b+c9D8e7F6/" * 100,
        "0123456789abcdef" * 4,
        "550e8400-e29b-41d4-a716-446655440000",
        "abcdefghijklmnopqrstuvwxyz" * 200,
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 200,
        "Fuß" * 500,
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0",
    ],
)
async def test_an_endless_word_is_shown_and_not_said(endless: str) -> None:
    text = f"The key is {endless} today. Keep it."
    found = await chunks(*text)
    check(text, found)
    said = " ".join(filter(None, (chunk.spoken for chunk in found)))
    assert len(said) < 60
    assert said.startswith("The key is")
    assert said.endswith("today. Keep it.")


async def test_of_an_endless_address_the_host_is_said() -> None:
    text = (
        "See https://example.com/"
        + "abc/def-" * 100
        + "end now. [Here](https://example.com/"
        + "a1" * 300
        + ") too."
    )
    found = await chunks(text)
    check(text, found)
    assert " ".join(filter(None, (c.spoken for c in found))) == "See example dot com now. Here too."


async def test_a_word_that_follows_an_address_at_once_is_said() -> None:
    assert [c.spoken for c in await chunks("See https://example.com.Then go on.")] == [
        "See example dot com.",
        "Then go on.",
    ]


async def test_a_stretched_word_is_said_shorter() -> None:
    assert (await chunks("N" + "o" * 2000 + "! Stop."))[0].spoken == "Nooo"


@pytest.mark.parametrize(
    "text", ["very " * 300, "Yes " * 300, "W " * 300, "ABC " * 100, "incomprehensibilities " * 50]
)
async def test_a_word_again_and_again_is_said_in_chunks(text: str) -> None:
    found = await chunks(text)
    check(text, found)
    assert words(found) == text.split()


async def test_chinese_without_punctuation_is_cut() -> None:
    text = "今天天气很好我们去公园吧" * 20
    found = await chunks(text, language="zh")
    check(text, found)
    assert "".join(chunk.spoken for chunk in found) == text
    assert all(len(chunk.text) <= MAX_WIDE for chunk in found)
    assert (await chunks("今天天气很好我们去公园吧今天天气很好，", "好的", language="zh"))[0].text.endswith(
        "，"
    )


def test_ordinary_sentences_are_not_parted() -> None:
    sentence = "We walked slowly along the river until it was dark, and then we all went back home to have some dinner."
    assert parted(sentence, sentence) == [(sentence, sentence)]


def test_parts_end_at_stops_and_commas_where_there_are_any() -> None:
    said = (
        "a small house by the river, " * 4
        + "a small house by the river. "
        + "a small house by the river " * 10
    )
    parts = parted(said.strip(), said)
    assert [part[-1] for part, _ in parts[:-1]] == [".", "r"]
    assert " ".join(part for part, _ in parts) == said.strip()
    assert "".join(text for _, text in parts) == said


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("Hello. 今天天气很好。Bye.", "en", ["Hello.", "", "Bye."]),
        ("Привет, как дела? Fine.", "en-us", ["", "Fine."]),
        ("Привет, как дела? Fine.", "ru", ["Привет, как дела?", "Fine."]),
        ("2024年3月5日は雨でした。", "en", [""]),
        ("今天天气很好。", "zh-cn", ["今天天气很好."]),
        ("今天天气很好。", "zh_CN", ["今天天气很好."]),
        ("今天天气很好。", None, ["今天天气很好."]),
        ("こんにちは。", "zh", [""]),
        ("مرحبا بك", "en", [""]),
        ("नमस्ते दुनिया", "en", [""]),
        ("नमस्ते दुनिया", "hi", ["नमस्ते दुनिया"]),
        ("The word 你好 means hello.", "en", ["The word means hello."]),
        ("Café, naïve, Łódź, Việt Nam and ﬁne.", "en", ["Café, naïve, Łódź, Việt Nam and fine."]),
        ("The angle π and Δ, 5 Ω, 3 µm.", "en", ["The angle pi and delta, five ohms, three micrometers."]),
    ],
)
async def test_what_a_voice_cannot_read_is_not_said(text: str, language: str | None, said: list[str]) -> None:
    assert [chunk.spoken for chunk in await chunks(text, language=language)] == said


async def test_that_a_voice_cannot_read_a_text_is_logged_once_a_reply(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "voice_agent"):
        await chunks("你好。你好吗？Привет. Hello.")
        assert len(caplog.messages) == 1
        assert "(cjk)" in caplog.messages[0]
        assert "language en" in caplog.messages[0]
        assert "你" not in caplog.text, "what is said is nobody's business"
        await chunks("Hello. Café π.")
        await chunks("```\n你好\n```\n")
        assert len(caplog.messages) == 1
        await chunks("你好。")
        assert len(caplog.messages) == 2


def test_voices_tell_the_language_they_speak() -> None:
    settings, models = TtsSettings(), ModelsSettings()
    assert PiperSynthesizer(settings, models).speaks(None, "de") == "en_US"
    kokoro = KokoroSynthesizer(settings, models)
    assert (kokoro.speaks(None, None), kokoro.speaks("bf_emma", "de"), kokoro.speaks("ef_dora", None)) == (
        "en-us",
        "en-gb",
        "es",
    )
    assert XttsSynthesizer(settings, models).speaks("any", None) == "en"
    assert XttsSynthesizer(settings, models).speaks("any", "zh-cn") == "zh-cn"


async def test_code_may_be_longer_than_any_piece() -> None:
    text = "Try:\n```\n" + "x = 1; " * 200 + "``` y\nz\n```\nThat is it."
    found = await chunks(*text)
    check(text, found)
    assert [c.spoken for c in found if c.spoken] == ["Try:", "Code omitted.", "That is it."]


# Pieces of all that could mislead a rule, and what a hostile or broken model sends.
BITS = (
    "Hello", "there", "I", "we", "The", "and", "Dr.", "U.S.", "p.m.", "e.g.", "3", "14", "1,000",
    "10\u202f000", "999999999", "1/2", "$5", "20°C", "3:30", "...", "…", "!", "?", ":", ";", ",",
    ".", "—", "-", "–", "--", "`", "```", "~~~", "*", "**", "***", "_", "__", "~~", "(", ")", "[",
    "]", "{", "}", "<", ">", "<b>", "</b>", "<ref>", "<!--", "|", "| a |", "#", "# ", "- ", "> ",
    "1. ", "[1]", "[^1]", "【1†source】", "¹", "²", "½", "\ue200cite\ue202turn0search1\ue201",
    "](http://a.b/c)", "https://", "a@b.co", "example.com", "\\frac{", "$$", "\\(", "&amp;",
    "&#65;", "laughs", "*laughs*", "(pause)", '"', "'", "“", "”", "«", "today.How", "today!How",
    "你好", "。", "，", "日本語", "สวัสดี", "Привет", "مرحبا", "e\u0301", "\u0301", "\u200b",
    "\u202e", "\ufeff", "\xa0", "\u2009", "😊", "👨‍👩‍👧", "❤️", "🇫🇷", "#️⃣", "\r\n", "\n", "\n\n",
    "\t", "\x00", "a" * 60, "7" * 45, "x1Y2" * 12,
)  # fmt: skip
TEXTS = st.lists(
    st.sampled_from(BITS)
    | st.sampled_from((" ", " ", "\n"))
    | st.text(max_size=3)
    | st.tuples(st.sampled_from(BITS), st.integers(2, 60)).map(lambda many: many[0] * many[1]),
    max_size=60,
).map("".join)


@UNTIMED
@given(TEXTS, st.lists(st.integers(1, 9), min_size=1, max_size=20))
async def test_chunks_are_whole_bounded_sayable_and_do_not_depend_on_tokens(
    text: str, sizes: list[int]
) -> None:
    tokens, start = [], 0
    for size in itertools.cycle(sizes):
        if start >= len(text):
            break
        tokens.append(text[start : start + size])
        start += size
    found = await chunks(text)
    check(text, found)
    assert await chunks(*tokens) == found
    assert await chunks(*text) == found
    for char in "".join(chunk.spoken for chunk in found):
        assert char in " .,;:!?'-" or unicodedata.category(char) in (
            "Lu",
            "Ll",
            "Lt",
            "Lm",
            "Lo",
            "Mn",
            "Mc",
        ), repr(char)
        assert script(char) in (LATIN, ""), repr(char)


ENEMIES = (
    "*", "_", "(", "[", ".", ",", "-", '"', "'", "1", "1,", "1.", " ", "\n", "a", "a.", "A",
    "http://", "#", "|", "`", "~", "<", "&", "😊", "\u0301", "¹", "½", "你", "1 ", "a ", "[a](",
    "[1]", "\\frac{", "$x", "*a", "(a", "a@", "U.S.", "5 p.m. ", "- ", "today.How", "laughs ", "¹ ",
    "\u202f", "—",
)  # fmt: skip
FAR: tuple[tuple[str, str], ...] = (("", ""), ("x", " y. Z"), ("5 ", "-@:/=% ^$ *a* (b) [c] 你"))
"""What a rule looks for, far from the run of signs that it may get lost in."""


def growth(work: Callable[[str], object], small: str, large: str) -> float:
    """How much longer `work` takes on the larger text; the least of several, since others use the machine too."""

    def least(text: str) -> float:
        times = []
        for _ in range(2):
            begun = time.process_time()
            work(text)
            times.append(time.process_time() - begun)
        return min(times)

    return least(large) / max(least(small), 1e-4)


def cut(text: str) -> None:
    cutter = Cutter(7, 24)
    for char in text:
        list(cutter.feed(char))
    list(cutter.end())


@pytest.mark.parametrize("work", [spoken, cut])
def test_the_work_is_in_proportion_to_the_text(work: Callable[[str], object]) -> None:
    # Many runs of different signs at once: none of them may take the square of its length.
    for before, after in FAR:
        slow = [
            enemy
            for enemy in ENEMIES
            if growth(
                work,
                before + enemy * (600 // len(enemy)) + after,
                before + enemy * (2400 // len(enemy)) + after,
            )
            >= 8
        ]
        # A second look at what was slow: the machine may have been busy.
        assert not [
            enemy
            for enemy in slow
            if growth(
                work,
                before + enemy * (2000 // len(enemy)) + after,
                before + enemy * (8000 // len(enemy)) + after,
            )
            >= 8
        ]


def test_a_piece_is_never_longer_than_its_bound_and_no_token_is_read_more_than_a_few_times() -> None:
    for enemy in ENEMIES:
        cutter = Cutter(7, 24)
        pieces = [piece for char in enemy * (6000 // len(enemy)) for piece in cutter.feed(char)]
        assert all(len(piece.text) <= MAX_CHARACTERS for piece in pieces)
        assert sum(len(piece.text) for piece in pieces) >= 6000 - 2 * MAX_CHARACTERS, (
            "what is not given is being held"
        )
