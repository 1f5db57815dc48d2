"""The record of one turn's moments, all on one clock; the metrics and the log line are read from it."""

import json
import logging
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from prometheus_client import Histogram

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

log = logging.getLogger("voice_agent.timeline")

_BUCKETS_S: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 5.0, 10.0, 30.0)
_steps = Histogram(
    "voice_agent_turn_step_seconds",
    "From the last speech sample of a turn to each step of it.",
    ["step"],
    buckets=_BUCKETS_S,
)


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

    def publish(self) -> None:
        """Log the turn as one line of JSON, and add it to the metrics."""
        steps = self.steps()
        for step in steps.keys() - {"last_speech"}:
            _steps.labels(step).observe(max(0.0, steps[step] / 1000))
        log.info(
            json.dumps(
                {"event": "turn", "session": self.session, "turn": self.turn, "response": self.response}
                | {f"{step}_ms": ms for step, ms in steps.items()}
            )
        )
