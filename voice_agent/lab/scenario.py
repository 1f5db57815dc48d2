"""Scenarios: a caller's side of a conversation, in a small YAML, and what is expected of the agent's."""

import re
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

PAUSE: Final = re.compile(r"\[pause (\d+)\]")
"""In what is said: silence for so many milliseconds."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Expect(_Strict):
    """Demands on a step. Those that are not named are not checked."""

    reply_within_ms: PositiveFloat | None = None
    """Voice-to-voice."""
    stops_within_ms: PositiveFloat | None = None
    """Of a step that is said over a reply: from its first sample until that reply is silent."""
    goes_on: bool | None = None
    """Of a step that is said over a reply: the reply is played to its end all the same."""
    transcript_wer_below: float | None = Field(None, ge=0)
    """Word error rate, 0 to 1 and beyond; needs a transcript."""
    no_reply: bool | None = None
    """Nothing is answered to this."""

    @model_validator(mode="after")
    def _no_contradictions(self) -> "Expect":
        if self.no_reply and self.reply_within_ms is not None:
            raise ValueError("no_reply and reply_within_ms: it is one or the other")
        if self.goes_on and self.stops_within_ms is not None:
            raise ValueError("goes_on and stops_within_ms: it is one or the other")
        return self

    @property
    def named(self) -> set[str]:
        """The fields that demand something."""
        return {name for name, value in self if value is not None}


class Step(_Strict):
    """One thing that the caller does: exactly one of `say`, `play`, `noise_ms`, `silence_s`, `hang_up`."""

    say: str | None = None
    """Text, spoken by a voice of our own; its transcript too. `[pause 600]` in it is a hesitation: so many milliseconds
    of silence."""
    play: Path | None = None
    """A recording, relative to the scenario's file."""
    transcript: str | None = None
    """Of `play`."""
    noise_ms: PositiveFloat | None = None
    """A burst of noise, so long: a cough, a door."""
    silence_s: PositiveFloat | None = None
    """Says nothing for so long."""
    hang_up: bool = False
    """Ends the call here."""

    after: Literal["reply", "start"] = "reply"
    """When the step begins: once the reply before has been played to its end, or `after_ms` after its first audible
    sample."""
    after_ms: float = Field(0.0, ge=0)
    snr_db: float | None = None
    """Noise of a room under the whole step, this far below the speech."""
    expect: Expect = Expect()

    @model_validator(mode="after")
    def _one_deed(self) -> "Step":
        deeds = [name for name in DEEDS if getattr(self, name) not in (None, False)]
        if len(deeds) != 1:
            raise ValueError(
                f"exactly one of {', '.join(DEEDS)} is wanted; given: {', '.join(deeds) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _fields_fit(self) -> "Step":
        speaks = self.say is not None or self.play is not None
        if self.say is not None and not self.words:
            raise ValueError("say: there are no words in it; for silence, silence_s is meant")
        if self.say is not None and "[" in PAUSE.sub("", self.say):
            raise ValueError("say: in brackets only a pause can stand, in milliseconds: [pause 600]")
        if self.transcript is not None and self.play is None:
            raise ValueError("transcript: it belongs to play; the words of say are its transcript")
        if self.after_ms and self.after != "start":
            raise ValueError("after_ms: it counts from the reply's first sound, and needs `after: start`")
        if self.snr_db is not None and not speaks:
            raise ValueError("snr_db: it is measured against speech, and needs say or play")
        return self

    @model_validator(mode="after")
    def _expectations_fit(self) -> "Step":
        expected = self.expect.named
        if self.hang_up and expected:
            raise ValueError("expect: after hang_up nothing can be measured")
        if over := expected & {"stops_within_ms", "goes_on"}:
            if self.silence_s is not None:
                raise ValueError(f"expect.{min(over)}: silence stops nothing")
            if self.after != "start":
                raise ValueError(
                    f"expect.{min(over)}: it is about a reply that is spoken over: needs `after: start`"
                )
        if self.silence_s is not None and "reply_within_ms" in expected:
            raise ValueError("expect.reply_within_ms: it counts from the end of speech, and here is silence")
        if "transcript_wer_below" in expected and self.words is None:
            raise ValueError(
                "expect.transcript_wer_below: the words are not known; it needs say, or a transcript"
            )
        return self

    @property
    def words(self) -> str | None:
        """The words, where they are known."""
        return " ".join(PAUSE.sub(" ", self.say).split()) if self.say is not None else self.transcript


DEEDS: Final = ("say", "play", "noise_ms", "silence_s", "hang_up")
"""The kinds of steps."""


class Scenario(_Strict):
    """A call."""

    name: str
    about: str
    """Its purpose, in a sentence."""
    voice: str | None = None
    """Of `say`: one of the synthesizer's."""
    short: bool = False
    """Part of the short form that CI runs."""
    steps: list[Step] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> "Scenario":
        if self.steps[0].after == "start":
            raise ValueError("step 1: `after: start` means during a reply, and there was none yet")
        for number, step in enumerate(self.steps[:-1], 1):
            if step.hang_up:
                raise ValueError(f"step {number}: nothing can follow hang_up")
        return self
