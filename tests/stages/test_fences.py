"""Blocks of code as models write them: they are silent, and what follows them is said."""

from collections.abc import AsyncIterator

import pytest

from voice_agent.stages.chunker import Chunk, SentenceChunker


async def chunks(*tokens: str) -> list[Chunk]:
    async def stream() -> AsyncIterator[str]:
        for token in tokens:
            yield token

    return [chunk async for chunk in SentenceChunker().split(stream())]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Here is code: ```python\nprint('hi')\n``` And that is how it works. Do you see?",
            "Here is code: Code omitted. And that is how it works. Do you see?",
        ),
        ("Try:\n````md\n```py\nx = 1\n```\ny\n````\nThat is it.", "Try: Code omitted. That is it."),
        ("Try:\n```md\n# A\n```py\n```\nThat is it.", "Try: Code omitted. That is it."),
        ("Look:\n> ```py\n> x = 1\n> ```\nThat is it. Yes.", "Look: Code omitted. That is it. Yes."),
        ("Look:\n> ```py\n> x = 1\n\nThat is it. Yes.", "Look: Code omitted. That is it. Yes."),
        ("```py\nx = 1\n```Now go. Yes.", "Code omitted. Now go. Yes."),
        ("```py\nx = 1```\nNow go. Yes.", "Code omitted. Now go. Yes."),
        ("Code: ```py print(1)\n```\nNow go. Yes.", "Code: Code omitted. Now go. Yes."),
        ("So ```f()``` and ``` too\nare it. Yes.", "So f and too. are it. Yes."),
        ("~~~\nx\n~~~ And so on. Yes.", "Code omitted. And so on. Yes."),
        ("Is it ```\nx\n```. Fine.", "Is it. Code omitted. Fine."),
        ("``` And that is it. Yes.\nThen go.", "And that is it. Yes. Then go."),
        ("```foo()``` is code. Yes.\nThen go.", "foo is code. Yes. Then go."),
        ("1. Do:\n   ```sh\n   ls\n\n   ```\n2. Go.", "one. Do: Code omitted. two. Go."),
    ],
)
async def test_a_block_of_code_ends_and_the_rest_is_said(text: str, said: str) -> None:
    for result in (await chunks(text), await chunks(*text)):
        assert " ".join(chunk.spoken for chunk in result if chunk.spoken) == said
        assert "".join(chunk.text for chunk in result) == text
