"""`python -m voice_agent` is the command `voice-agent`."""

from voice_agent.cli import app

app(prog_name="voice-agent")
