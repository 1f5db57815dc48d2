"""All that a language model may answer."""

import random

from voice_agent.stages.english import words
from voice_agent.stages.generator.deltas import Delta, Finish, FinishReason, TextDelta, ThoughtDelta, ToolCallDelta

WORDS = sorted(words("the king had three clever daughters who went far away to look for water and gold"))

PLAIN = 0.7
"""Share of the replies that are just sentences."""
ODD: tuple[tuple[tuple[str, ...], FinishReason | None], ...] = (
    (("Have a nice day! ", "😊"), "stop"),
    (("Have a nice day! 😊",), "stop"),
    (("👍",), "stop"),
    (("First.\n\n", "---\n\n", "Second.\n"), "stop"),
    (("Wait for it. ", "   \n\n   ", "\t\n"), "stop"),
    (("   \n\n  ",), "stop"),
    (("```python\nprint('hello')\n", "```\n"), "stop"),
    (("| a | b |\n|---|---|\n", "| 1 | 2 |\n"), "stop"),
    ((), "stop"),
    ((), "length"),
    ((), "content_filter"),
    ((), "tool_calls"),
    ((), None),
    (("It is noon. ", "And then there is"), "length"),
    (("And then there is",), "length"),
    (("It is noon. ", "And then there"), "content_filter"),
    (("It is noon. ", "And then there"), None),
    (("*" * 4000,), "stop"),
    (("*",) * 40, "stop"),
    (("a" * 5000,), "stop"),
    (("It is noon. ", "a" * 5000, " is a word."), "stop"),
    (("你好，", "今天天气很好。", "你想做什么？"), "stop"),
    (("今" * 400,), "stop"),
    (("1. one\n", "2. two\n", "3. three\n"), "stop"),
    (("Is it? ", "…", "?!", " ", "."), "stop"),
    (("�", "\u200b", "\u202e"), "stop"),
)
"""Text in pieces, and why the model ends; None where it just ends."""


def draw_reply(chance: random.Random) -> list[Delta]:
    """The pieces of one reply."""
    if chance.random() < PLAIN:
        sentences = (
            " ".join(chance.choices(WORDS, k=chance.randint(2, 12))).capitalize() + chance.choice((". ", "? "))
            for _ in range(chance.choice((1, 2, 6)))
        )
        return [*map(TextDelta, sentences), Finish("stop")]
    text, finish = chance.choice(ODD)
    pieces: list[Delta] = [TextDelta(piece) for piece in text]
    if finish:
        pieces.append(Finish(finish))
    if chance.random() < 0.2:
        pieces[:0] = [ThoughtDelta("Hmm. ")] * chance.randint(1, 20)
    if finish == "tool_calls" or chance.random() < 0.1:
        pieces[-1:-1] = [ToolCallDelta(0, "call_1", "look_up", '{"a"'), ToolCallDelta(0, None, None, ":1}")]
    return pieces
