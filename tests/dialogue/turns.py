"""Turn-taking fed by hand: sounds and silences of some length, and a turn that is over after a fixed silence."""

from voice_agent.audio import FRAME_MS
from voice_agent.config import TurnSettings
from voice_agent.dialogue.decisions import (
    Decision,
)
from voice_agent.dialogue.turn_taking import (
    TurnTaking,
)

SETTINGS = TurnSettings(start_ms=60, stop_ms=120, max_utterance_s=5, quiet_s=10)
ENDPOINT_MS = 600


def new() -> TurnTaking:
    return TurnTaking(SETTINGS, speech_threshold=0.5)


def agent_speaking() -> TurnTaking:
    turns = new()
    turns.agent_takes_floor()
    turns.agent_said = "Once upon a time there was a king."
    return turns


def hear(turns: TurnTaking, ms: int, probability: float) -> list[Decision]:
    return [decision for _ in range(ms // FRAME_MS) for decision in turns.frame(probability)]


def speak(turns: TurnTaking, ms: int) -> list[Decision]:
    return hear(turns, ms, 0.9)


def stay_silent(turns: TurnTaking, ms: int) -> list[Decision]:
    return hear(turns, ms, 0.0)


def without(decisions: list[Decision], *kinds: type[Decision]) -> list[Decision]:
    return [decision for decision in decisions if not isinstance(decision, kinds)]
