"""The record of one turn's moments, all on one clock."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal, get_args

Step = Literal[
    "vad_stop",
    "transcript",
    "end_of_turn",
    "llm_first_token",
    "first_chunk",
    "tts_first_audio",
    "first_audio_sent",
    "first_audio_played",
    "response_end",
]
"""In the order of the pipeline. Played: as acknowledged by the client; without that it is absent."""

STEPS: Final[tuple[Step, ...]] = get_args(Step)


@dataclass(slots=True)
class Timeline:
    """Moments of one turn, in seconds on the event loop's clock; reported from the user's last speech on."""

    session: str
    last_speech: float
    """When the frame with the user's last speech sample arrived (for typed text: when that arrived)."""
    turn: int = 0
    """Known once the turn is answered."""
    response: str | None = None
    _moments: dict[Step, float] = field(default_factory=dict)

    def mark(self, step: Step, moment: float) -> None:
        """Record the first time that `step` is reached; a second call changes nothing."""
        self._moments.setdefault(step, moment)

    def copy(self) -> "Timeline":
        """A copy as it is now."""
        return replace(self, _moments=dict(self._moments))

    def again(self) -> "Timeline":
        """For another response to the same turn: begun anew, but for when the turn was over."""
        again = replace(self, response=None, _moments={})
        if self.answers:
            again.mark("end_of_turn", self._moments["end_of_turn"])
        return again

    @property
    def answers(self) -> bool:
        """Whether this is a turn of the user's, and not something that the agent says by itself."""
        return "end_of_turn" in self._moments

    def steps(self) -> dict[str, float]:
        """Milliseconds from the last speech sample to each step reached, in the order of the pipeline."""
        reached = {step: self._moments[step] for step in STEPS if step in self._moments}
        return {"last_speech": 0.0} | {
            step: round((moment - self.last_speech) * 1000, 1) for step, moment in reached.items()
        }
