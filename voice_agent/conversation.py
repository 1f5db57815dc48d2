"""What was said, as it was heard: the messages that the language model sees."""

from typing import Final

from voice_agent.stages.generator import Message

CHARS_PER_TOKEN: Final = 3.5
"""A cautious guess for English: tokenizers of current models average about four."""

KEPT_WHEN_FULL: Final = 0.5
"""Share of the budget that is kept when it runs out. Dropping much at once, and rarely, lets the model's
prompt cache hold for the turns between: it matches a prompt only from its beginning."""


class Conversation:
    """The history of one session, within a budget of tokens."""

    def __init__(self, system_prompt: str, context_tokens: int) -> None:
        self._system = Message("system", system_prompt)
        self._budget = max(0.0, context_tokens * CHARS_PER_TOKEN - len(system_prompt))
        self._history: list[Message] = []

    def add_user(self, text: str) -> None:
        """The user said this; what they said before an answer was heard is one message with it."""
        if self._history and self._history[-1].role == "user":
            text = f"{self._history.pop().content} {text}"
        self._history.append(Message("user", text))
        if self._size() > self._budget:
            self._drop_oldest()

    def add_assistant(self, heard: str) -> None:
        """The user heard this much of a response; nothing is kept of one that was not heard at all,
        nor of one that answers nobody."""
        if heard and self._history:
            self._history.append(Message("assistant", heard))

    def messages(self) -> list[Message]:
        """The system prompt and the history, beginning with the user, and never without the last message."""
        return [self._system, *self._history]

    def _size(self) -> int:
        return sum(len(message.content) for message in self._history)

    def _drop_oldest(self) -> None:
        while len(self._history) > 1 and (
            self._size() > self._budget * KEPT_WHEN_FULL or self._history[0].role == "assistant"
        ):
            del self._history[0]
