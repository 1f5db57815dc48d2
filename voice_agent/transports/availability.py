"""Checks the choices of a client that only the agent can judge; the same on every wire."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from voice_agent.agent import Agent
from voice_agent.dialogue.options import check_instructions
from voice_agent.errors import SettingsError
from voice_agent.transports.quoting import quoted

MAX_INSTRUCTIONS: Final = 20_000
"""Characters."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A choice that can't be had here."""

    field: str
    """`voice`, `language` or `instructions`."""
    code: str
    """In one word, as in the native wire's `error`."""
    reason: str
    """In words, beginning with the field."""


def unavailable(agent: Agent, voice: object, language: object, instructions: object) -> Iterator[Unavailable]:
    """The choices that the agent does not have, of any type; None chooses nothing.

    Nothing is judged while the agent is not ready: it refuses the session anyway, and need not know its voices yet.
    """
    if not agent.ready:
        return
    voices, languages = agent.engines.synthesizer.voices, agent.engines.transcriber.languages
    if voice is not None and voice not in voices:
        reason = f"voice: there is no {quoted(voice)}; known are {', '.join(voices)}"
        yield Unavailable("voice", "unknown_voice", reason)
    if language is not None and language not in languages:
        reason = f"language: {quoted(language)} is not heard here; known are {', '.join(languages)}"
        yield Unavailable("language", "unknown_language", reason)
    if instructions is not None and (reason := _unfit(instructions, agent)):
        yield Unavailable("instructions", "invalid_field", reason)


def _unfit(instructions: object, agent: Agent) -> str:
    """The reason that these can't be followed; empty if they can."""
    if not (isinstance(instructions, str) and len(instructions) <= MAX_INSTRUCTIONS):
        return f"instructions: not text of at most {MAX_INSTRUCTIONS} characters"
    try:
        check_instructions(instructions, agent.settings.llm)
    except SettingsError as error:
        return str(error)
    return ""
