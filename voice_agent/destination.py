"""Where conversations go."""

import os

import httpx

from voice_agent.client.connection import is_loopback
from voice_agent.config import LlmSettings
from voice_agent.stages.generator import Generator
from voice_agent.stages.generator.openai_api import OpenAIGenerator


def destination(generator: Generator, settings: LlmSettings) -> str:
    """Where what is said goes, and which setting sends it there."""
    if not isinstance(generator, OpenAIGenerator):
        return f"stays on this machine: {generator.model} under the embedded llama.cpp writes the replies"
    if settings.base_url or settings.api_key:
        why = "llm.base_url" if settings.base_url else "llm.api_key"
    else:
        why = "OPENAI_BASE_URL" if os.environ.get("OPENAI_BASE_URL") else "OPENAI_API_KEY"
    where = "stays on this machine, at" if is_loopback(generator.url) else "goes to"
    url = httpx.URL(generator.url)
    shown = url.copy_with(userinfo=b"") if url.userinfo else generator.url  # a password is not for the log
    return f"{where} {shown}, which writes the replies ({why} is set)"
