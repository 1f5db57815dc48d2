"""The text of one reply: the model asked, and asked again where that helps, as one stream."""

import asyncio
import logging
import unicodedata
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from voice_agent.dialogue.bounds import engine_call
from voice_agent.errors import ContextTooLong, StageError
from voice_agent.stages.generator import Generator
from voice_agent.stages.generator.deltas import (
    Delta,
    Finish,
    FinishReason,
    Retract,
    TextDelta,
    ThoughtDelta,
    ToolCallDelta,
)
from voice_agent.stages.generator.request import Request

log = logging.getLogger(__name__)

SHARES: Final = (1.0, 0.5, 0.25, 0.0)
"""How much of the history the model is sent, attempt by attempt, where it says that it was too long."""

MOST_CHARACTERS: Final = 20_000
"""Of one reply: twenty minutes of speech. For endpoints that do not know llm.max_tokens."""


class Retracted(StageError):  # noqa: N818 - it says what
    """What was said so far was a thought: ask again. The generator knows this endpoint better from now on."""


class Reply:
    """Asks the model once. A reply that says nothing is an error: there is always something to hear or to see."""

    def __init__(
        self,
        generator: Generator,
        request: Callable[[float], Request],
        timeout_s: float,
        fitted: Callable[[float], None] = lambda share: None,
        *,
        anew: bool = False,
    ) -> None:
        """`request` gives what to ask with a share (0 to 1) of the conversation; where all of it was too long, `fitted`
        is told which share was not.

        `timeout_s` bounds every wait for the next words, whatever the model does meanwhile. With `anew` it was asked
        before, and took its words back; if it does so again, they stand.
        """
        self.finish: FinishReason | None = None
        """Why the model ended; None until it has."""
        self._generator = generator
        self._request = request
        self._timeout_s = timeout_s
        self._fitted = fitted
        self._anew = anew
        self._thought = False

    @property
    def cut_short(self) -> bool:
        """Whether the text ended in the midst of it."""
        return self.finish == "length"

    async def text(self) -> AsyncGenerator[str, None]:
        """The words, as they are written.

        Raises:
            Retracted: what was given so far was none of them.
            StageError: the model failed, said nothing, or took too long.
        """
        clock = asyncio.get_running_loop().time
        characters, visible, since = 0, False, clock()
        async with aclosing(self._deltas()) as deltas:
            while True:
                async with engine_call("generator", self._timeout_s, "LLM__TURN_TIMEOUT_S", since=since):
                    text = await self._next_text(deltas)
                if text is None:
                    break
                characters, visible = characters + len(text), visible or is_visible(text)
                yield text
                if any(map(str.isalnum, text)):  # signs without words are no answer
                    since = clock()
                if characters > MOST_CHARACTERS:
                    log.warning(
                        "%s wrote %d characters: no more are taken", self._generator.model, characters
                    )
                    self.finish = "length"
                    break
        if not visible:
            raise StageError("generator", self._why_empty())

    async def _next_text(self, deltas: AsyncGenerator[Delta, None]) -> str | None:
        """None at the end."""
        async for delta in deltas:
            match delta:
                case TextDelta(text):
                    return text
                case Finish(reason):
                    self.finish = reason
                    return None
                case Retract() if not self._anew:
                    raise Retracted("generator", f"{self._generator.model} said what was a thought")
                case ThoughtDelta():
                    self._thought = True
                case ToolCallDelta(name=name) if name:
                    log.warning("%s calls %.40r, which it was not offered", self._generator.model, name)
        return None

    async def _deltas(self) -> AsyncGenerator[Delta, None]:
        """Of the first attempt whose history is not too long for the model."""
        for share in SHARES:
            began = False
            try:
                async with aclosing(self._generator.stream(self._request(share))) as deltas:
                    async for delta in deltas:
                        if share < 1 and not began:
                            self._fitted(share)
                        began = True
                        yield delta
                return
            except ContextTooLong as error:
                if began or share == SHARES[-1]:
                    raise
                log.warning("asking again with less of the conversation: %s", error)

    def _why_empty(self) -> str:
        model = self._generator.model
        match self.finish:
            case "length":
                return (
                    f"{model} used up llm.max_tokens (VOICE_AGENT_LLM__MAX_TOKENS) without a word for the user: "
                    "raise it, or have the model think less"
                )
            case "tool_calls":
                return f"{model} only wants to call a function, and it was offered none"
            case "content_filter":
                return f"{model}'s endpoint withheld the reply (content_filter)"
            case _ if self._thought:
                return f"{model} thought, and then said nothing: all of its reply came as a thought"
            case _:
                return f"{model} gave an empty reply"


def is_visible(text: str) -> bool:
    """Whether there is anything in it to see or to say: not only white space, and signs of no width."""
    return any(unicodedata.category(char)[0] not in "ZC" for char in text)
