"""The metrics and the log of turns: a subscriber to every session's events."""

import json
import logging
from typing import Final

from prometheus_client import Histogram

from voice_agent.dialogue.events import Event, TurnTimeline

log = logging.getLogger("voice_agent.timeline")

_BUCKETS_S: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 5.0, 10.0, 30.0)
_steps = Histogram(
    "voice_agent_turn_step_seconds",
    "From the last speech sample of a turn to each step of it.",
    ["step"],
    buckets=_BUCKETS_S,
)


def publish(event: Event) -> None:
    """Log the turn that has ended as one line of JSON, and add it to the metrics; pass over other events."""
    if not isinstance(event, TurnTimeline):
        return
    timeline = event.timeline
    steps = timeline.steps()
    for step in steps.keys() - {"last_speech"}:
        _steps.labels(step).observe(max(0.0, steps[step] / 1000))
    log.info(
        json.dumps(
            {
                "event": "turn",
                "session": timeline.session,
                "turn": timeline.turn,
                "response": timeline.response,
            }
            | {f"{step}_ms": ms for step, ms in steps.items()}
        )
    )
