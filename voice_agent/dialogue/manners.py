"""The phrases that the agent says without the model, by language. The model is never sent any of them."""

from dataclasses import dataclass
from typing import Final

from voice_agent.config import TurnSettings


@dataclass(frozen=True, slots=True)
class Phrases:
    """The phrases in one language."""

    filler: str
    """Bridges the wait for a reply that is late."""
    no_answer: str
    """The language model failed."""
    not_understood: str
    """The transcriber failed."""
    still_there: str
    """The user has been quiet for long."""
    goodbye: str
    """The user did not answer that either."""
    busy: str
    """As many conversations go on as the machine can serve."""


PHRASES: Final = {
    "en": Phrases(
        filler="Let me think.",
        no_answer="Sorry, I can't think of an answer right now. Please try again.",
        not_understood="Sorry, I couldn't make that out. Please say it again.",
        still_there="Are you still there?",
        goodbye="Goodbye.",
        busy="Sorry, all lines are busy right now. Please try again in a few minutes.",
    ),
}
"""By two-letter code. The voices speak English so far, so there is no other yet."""


def phrases(settings: TurnSettings, language: str | None) -> Phrases:
    """Those of the settings, and for the rest those of the language, or else the English ones."""
    common = PHRASES.get(language or "en", PHRASES["en"])
    return Phrases(
        filler=settings.filler or "",
        no_answer=common.no_answer,
        not_understood=common.not_understood,
        still_there=settings.quiet_question,
        goodbye=settings.quiet_goodbye,
        busy=common.busy,
    )
