"""Text to text: the `Generator` protocol, and its engines, both behind the `openai` client."""

from collections.abc import AsyncGenerator
from typing import Protocol

from voice_agent.stages.generator.deltas import Delta
from voice_agent.stages.generator.request import Request


class Generator(Protocol):
    """Writes the reply."""

    model: str
    """Known after `start`."""
    instructions: str
    """The system prompt to use where the session brings none: of the settings, or one fit for the model."""

    destination: str
    """Where conversations go, in a sentence for people: they stay on this machine, or go to a host, and why."""

    async def start(self) -> None:
        """Say in the log where conversations go, reach the model and have it write a few words, so that the first
        user does not pay for it. A model that is slow to load is waited for.

        Raises:
            WeightsError: the embedded model's weights can't be had.
            StageError: no endpoint, key or model; the message names the setting.
        """

    def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """The reply to `request` in pieces, as they are written; the last is a `Finish`, and there is one always.

        A model that has nothing to say gives nothing else. Leaving the iteration (`aclose`, cancel) closes the
        HTTP stream, and the model stops.

        Raises:
            ContextTooLong: the conversation is longer than the model can read.
            StageError: the endpoint failed or took too long, after the attempts that were due; the first text
                comes within `llm.turn_timeout_s` or not at all.
        """

    async def close(self) -> None:
        """Let go of connections and processes, also while `start` is under way. Nothing is running afterwards."""
