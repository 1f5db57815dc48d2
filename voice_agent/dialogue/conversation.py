"""What was said, as it was heard: the messages that the language model sees."""

from collections.abc import Iterable
from typing import Final

from voice_agent.stages.generator.request import Message

CHARS_PER_TOKEN: Final = 3.5
"""A cautious guess for English: tokenizers of current models average about four."""

KEPT_WHEN_FULL: Final = 0.5
"""Share of the budget that is kept when it runs out. Dropping much at once, and rarely, lets the model's
prompt cache hold for the turns between: it matches a prompt only from its beginning."""


class Conversation:
    """The history of one session, within a budget of tokens."""

    def __init__(self, system_prompt: str, context_tokens: int, history: Iterable[Message] = ()) -> None:
        """`history` is what was said before, by the user and the assistant, oldest first."""
        self._system = Message("system", system_prompt)
        self._budget = max(0.0, context_tokens * CHARS_PER_TOKEN - len(system_prompt))
        self._history: list[Message] = []
        for message in history:
            if message.role == "user":
                self.add_user(message.content)
            else:
                self.add_assistant(message.content)

    @property
    def unanswered(self) -> str:
        """What the user said last, while no answer to it was heard; else empty."""
        return self._history[-1].content if self._history and self._history[-1].role == "user" else ""

    @property
    def agent_said(self) -> str:
        """What the agent said last, while the user said nothing more; else empty."""
        return self._history[-1].content if self._history and self._history[-1].role == "assistant" else ""

    def add_user(self, text: str) -> None:
        """The user said this; what they said before an answer was heard is one message with it."""
        self._history = self._with(text)

    def add_assistant(self, heard: str) -> None:
        """The user heard this much of a response; nothing is kept of one that was not heard at all,
        nor of one that answers nobody."""
        if not heard or not self._history:
            return
        if self._history[-1].role == "assistant":
            heard = f"{self._history.pop().content} {heard}"
        self._history.append(Message("assistant", heard))

    def asking(self, text: str) -> list[Message]:
        """`messages` as they would be after `add_user`, which is not done: for a reply that may not be needed."""
        return [self._system, *self._with(text)]

    def messages(self) -> list[Message]:
        """The system prompt and the history, beginning with the user, and never without the last message."""
        return [self._system, *self._history]

    def _with(self, text: str) -> list[Message]:
        """The history with one more thing said, without its oldest part if that gets too long."""
        history, before = self._history, self.unanswered
        if before:
            history, text = history[:-1], f"{before} {text}"
        history = [*history, Message("user", text)]
        if _size(history) > self._budget:
            while len(history) > 1 and (
                _size(history) > self._budget * KEPT_WHEN_FULL or history[0].role == "assistant"
            ):
                del history[0]
        return history


def _size(history: list[Message]) -> int:
    return sum(len(message.content) for message in history)
