"""The errors that a user of this project can meet.

Each message says what happened, to which setting or input, and what to do about it.
"""


class VoiceAgentError(Exception):
    """Base of every error raised on purpose here."""


class SettingsError(VoiceAgentError):
    """A setting is unknown or has a value that is not allowed."""


class WeightsError(VoiceAgentError):
    """Weights are missing, corrupt, or no source gave them."""


class AudioError(VoiceAgentError):
    """Audio could not be read, or is not in a format that is accepted."""


class LabError(VoiceAgentError):
    """Recordings, a manifest or a scenario that the lab was given can't be used."""


class StageError(VoiceAgentError):
    """An engine failed or took too long; `stage` names the step of the pipeline."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


class ContextTooLong(StageError):  # noqa: N818 - it says what
    """The conversation is longer than the language model can read: less of it may do."""
