"""The options of a session. A client chooses them when it begins, and may change most of them while it goes on."""

from dataclasses import dataclass, replace
from typing import Self

from voice_agent.audio import RATE
from voice_agent.config import Eagerness, LlmSettings
from voice_agent.dialogue.floor import AUTOMATIC, TurnPolicy
from voice_agent.dialogue.items import LEAST_ROOM, token_estimate
from voice_agent.errors import SettingsError
from voice_agent.stages.generator.request import Message


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """The choices of a client."""

    input_rate: int = RATE
    """Of the audio from the client, hertz. Fixed when the session begins."""
    output_rate: int = 24_000
    """Of the audio to the client, hertz. Fixed when the session begins."""
    instructions: str | None = None
    """In place of the configured system prompt."""
    voice: str | None = None
    language: str | None = None
    lead_ms: float = 3000.0
    """How far ahead of its playback the client is sent audio."""
    client_pauses: bool = True
    """Whether the client can stop playing and keep what it holds. To one that can't, what was unheard is sent again
    when a response resumes."""
    eagerness: Eagerness | None = None
    """How soon the agent answers; by default the settings'."""
    policy: TurnPolicy = AUTOMATIC
    history: tuple[Message, ...] = ()
    """The conversation so far, oldest message first: for a client that comes back."""

    def changed_to(self, other: Self) -> Self:
        """`other`, in a session that began with these.

        Raises:
            SettingsError: `other` has another rate.
        """
        if (self.input_rate, self.output_rate) != (other.input_rate, other.output_rate):
            raise SettingsError(
                f"input_rate and output_rate are fixed when the session begins, here at {self.input_rate} and "
                f"{self.output_rate} Hz: connect again for others"
            )
        return replace(other, history=self.history)


def check_instructions(instructions: str, llm: LlmSettings) -> None:
    """Raise SettingsError where `instructions` leave the conversation no room in the model's context."""
    room = llm.context_tokens - llm.max_tokens - LEAST_ROOM
    if (tokens := token_estimate(instructions)) > room:
        raise SettingsError(
            f"instructions: {len(instructions)} characters are about {tokens:.0f} tokens, and at most {max(room, 0)} "
            f"leave room for a conversation: shorten them, or raise llm.context_tokens "
            f"(VOICE_AGENT_LLM__CONTEXT_TOKENS={llm.context_tokens})"
        )
