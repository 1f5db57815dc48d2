"""The result of a run of the lab: the file that `--json` names, and what the report, the comparison and CI read.

Every time is in milliseconds, and every moment of a turn counts from the same zero: when the client sent the frame with
the user's last speech sample.
"""

from typing import Literal

from pydantic import BaseModel, Field

WireName = Literal["native", "twilio"]
"""The wires that the lab speaks: see docs/protocol.md."""

Outcome = Literal["answered", "no_reply", "cut_in", "failed"]
"""Of a turn. `cut_in`: the reply was audible before the user had finished. `failed`: the server reported an error or
was lost. A turn that no reply was wanted to is `no_reply` as well: its expectations say whether that was right."""


class Expectation(BaseModel):
    """A demand of a scenario on a turn, and whether it was met."""

    name: str
    """As in the scenario: `reply_within_ms`, `stops_within_ms`, `transcript_wer_below`, `no_reply`."""
    limit: float | bool
    measured: float | bool | None
    """None where there was nothing to measure."""
    met: bool


class Underrun(BaseModel):
    """The loudspeaker had nothing to play in the middle of a reply."""

    at_ms: float
    lasted_ms: float


class Turn(BaseModel):
    """One thing that was said, and what came of it."""

    dialogue: str
    """The recording's path in its folder, or the scenario's or dialogue's name."""
    step: int = 0
    """Position in the dialogue."""
    repeat: int = 0
    sessions: int = 1
    """How many sessions there were at once."""
    session: int = 0
    """Which of them."""

    outcome: Outcome
    error: str | None = None

    said: str | None = None
    """The words of the recording, as its transcript has them."""
    transcript: str = ""
    """The words as the server understood them."""
    word_errors: int | None = None
    """Substitutions, deletions and insertions; None without `said`."""
    words: int | None = None
    """Of `said`, normalized."""
    reply: str = ""

    speech_ms: float
    """From the first speech sample to the last."""
    voice_to_voice_ms: float | None = None
    """When the first audible sample of the reply arrived. Below zero: the agent cut in."""
    heard_ms: float | None = None
    """When the loudspeaker played it."""
    steps: dict[str, float] = {}
    """The server's timeline (see docs/protocol.md) on the client's clock. Its `last_speech` is not zero: the way to the
    server, and where VAD finds the end of the speech. Empty on a wire that has none."""
    reply_ms: float | None = None
    """From the first audible sample to the last, as played."""
    underruns: list[Underrun] = []
    stops_ms: float | None = None
    """Only where the user spoke over a reply: from the first sample of that until the old reply was silent."""

    expectations: list[Expectation] = []
    audio: str | None = Field(None, exclude=True)
    """The turn as the user had it, for the report: base64 of an MP3, left the microphone, right the loudspeaker."""
    audio_zero_ms: float = Field(0.0, exclude=True)
    """Where the zero of the turn's times lies in `audio`."""

    @property
    def key(self) -> tuple[str, int, int, int]:
        """The same in two runs of the same recordings: what a comparison pairs by, repeats taken together."""
        return self.dialogue, self.step, self.sessions, self.session

    @property
    def passed(self) -> bool:
        """It was as a scenario demanded or, where none did, it was answered."""
        if self.expectations:
            return self.outcome != "failed" and all(expectation.met for expectation in self.expectations)
        return self.outcome == "answered"


class ServerUse(BaseModel):
    """The server's use of the machine while a level was measured. None where that is unknown: it runs elsewhere."""

    cpu_s: float | None = None
    """Of processor time, all of its processes together."""
    wall_s: float
    memory_mb: float | None = None
    """Most that all of its processes together had resident."""
    event_loop_lag_ms: float | None = None
    """Mean over the level of what the server's event loop ran late."""
    prepared: dict[str, int] = {}
    """Responses that were prepared in advance, by what became of them: `used`, `discarded`, `skipped`."""
    wasted_s: float | None = None
    """How long discarded responses had been in the making."""


class Level(BaseModel):
    """The measurements with one number of sessions at once."""

    sessions: int
    turns: list[Turn]
    server: ServerUse
    client_late_ms: float = 0.0
    """99 % of microphone frames were sent no later than this: what the measuring itself may be off by."""
    unfinished: bool = False
    """It was ended before all was said."""


class Machine(BaseModel):
    """Where it was measured."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    python: str


class Result(BaseModel):
    """A run."""

    format: Literal[1] = 1
    started: str
    """ISO 8601, with the time zone."""
    command: str
    """The command line, as typed."""
    version: str
    """Of the project, with the commit where it is a git checkout."""
    url: str
    """Of the server."""
    wire: WireName = "native"
    machine: Machine
    impairment: dict[str, float | bool | str] = {}
    """The impairments of the audio on its way; empty for a good line."""
    repeats: int = 1
    levels: list[Level]
    ramp_p95_ms: float | None = None
    """Only of a ramp: the 95th percentile of voice-to-voice that the machine should hold."""
    verdicts: list[Expectation] = []
    """Bars that the run as a whole had to meet: `--fail-if`."""

    @property
    def turns(self) -> list[Turn]:
        """Of all levels."""
        return [turn for level in self.levels for turn in level.turns]
