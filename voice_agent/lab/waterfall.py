"""Where the time of a turn went: its moments as bars, each from the moment that it waited for."""

from dataclasses import dataclass
from typing import Final, Literal

from voice_agent.lab.result import Turn

Place = Literal["line", "server", "client"]
"""Where the time was spent. `line`: the network, with the encoding and the buffers of its two ends."""

ARRIVED: Final = "arrived"
HEARD: Final = "heard"

LABELS: Final[dict[str, tuple[str, Place]]] = {
    "last_speech": ("to the server", "line"),
    "vad_stop": ("silence noticed", "server"),
    "transcript": ("transcript", "server"),
    "end_of_turn": ("end of turn judged", "server"),
    "llm_first_token": ("first token", "server"),
    "first_chunk": ("first clause", "server"),
    "tts_first_audio": ("first audio made", "server"),
    "first_audio_sent": ("sent", "server"),
    ARRIVED: ("to the client", "line"),
    HEARD: ("until heard", "client"),
}
"""Of every bar, in the order in which they are drawn: what a person reads, and where it was spent. `to the client` ends
with the first sample that is audible, so it holds the reply's leading silence; `until heard` is the player's buffer."""

_WAITS_FOR: Final[dict[str, tuple[str, ...]]] = {
    "last_speech": (),
    "vad_stop": ("last_speech",),
    "transcript": ("vad_stop", "last_speech"),
    "end_of_turn": ("vad_stop", "last_speech"),
    "llm_first_token": ("transcript", "vad_stop", "last_speech"),
    "first_chunk": ("llm_first_token", "transcript"),
    "tts_first_audio": ("first_chunk", "llm_first_token"),
    ARRIVED: ("first_audio_sent", "tts_first_audio", "end_of_turn"),
    HEARD: (ARRIVED,),
}
"""The first of these that was reached is where the bar begins. `first_audio_sent` waits for two things."""
_GATE: Final = ("end_of_turn", "tts_first_audio")
"""A reply goes out once the turn is over and its first audio is made: the later of the two held it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A step of a turn, in milliseconds from the user's last speech."""

    step: str
    label: str
    place: Place
    start: float
    end: float
    decisive: bool
    """The reply waited for it. The others went on beside it and cost nothing."""

    @property
    def lasted(self) -> float:
        """Milliseconds; never below zero, for a step of a prepared reply may come before what it should wait for."""
        return max(0.0, self.end - self.start)


def bars(turn: Turn) -> list[Bar]:
    """The steps of a turn that were reached, in the order of `LABELS`.

    Without a timeline of the server it is two: until the reply arrived, and until it was heard.
    """
    moments = {step: turn.steps[step] for step in LABELS if step in turn.steps}
    moments |= {
        step: moment
        for step, moment in ((ARRIVED, turn.voice_to_voice_ms), (HEARD, turn.heard_ms))
        if moment is not None
    }
    waited_for = {step: _predecessor(step, moments) for step in moments}
    decisive = _path(moments, waited_for)
    return [
        Bar(
            step,
            label if len(turn.steps) or step != ARRIVED else "reply arrived",
            place,
            moments[before] if (before := waited_for[step]) else 0.0,
            moments[step],
            step in decisive,
        )
        for step, (label, place) in LABELS.items()
        if step in moments
    ]


def _predecessor(step: str, moments: dict[str, float]) -> str | None:
    if step == "first_audio_sent":
        return max((gate for gate in _GATE if gate in moments), key=moments.__getitem__, default=None)
    return next((before for before in _WAITS_FOR[step] if before in moments), None)


def _path(moments: dict[str, float], waited_for: dict[str, str | None]) -> set[str]:
    """The steps that the end of the turn waited for, from its last one back."""
    step: str | None = next((last for last in (HEARD, ARRIVED, "first_audio_sent") if last in moments), None)
    path: set[str] = set()
    while step is not None:
        path.add(step)
        step = waited_for[step]
    return path
