"""Speech to text: the `Transcriber` protocol, and Whisper through faster-whisper."""

from voice_agent.stages.transcriber.transcript import Transcriber, Transcript
from voice_agent.stages.transcriber.whisper import FasterWhisper

__all__ = ["FasterWhisper", "Transcriber", "Transcript"]
