"""What an engine may do to a session, whatever it promises: take so long, and fail in one way."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from voice_agent.errors import StageError, VoiceAgentError

log = logging.getLogger(__name__)

GRACE_S: Final = 1.0
"""How much longer an engine is waited for than it may take: it notices by itself first, and can say more."""


@asynccontextmanager
async def engine_call(stage: str, timeout_s: float, setting: str = "") -> AsyncIterator[None]:
    """For waiting for the engine of a stage within; `setting` is where `timeout_s` comes from.

    Raises:
        StageError: it took `GRACE_S` longer than `timeout_s`, or failed in a way that nobody foresaw, which is logged.
    """
    named = f" (VOICE_AGENT_{setting})" if setting else ""
    try:
        async with asyncio.timeout(timeout_s + GRACE_S) as scope:
            yield
    except VoiceAgentError:
        raise
    except Exception as error:
        if scope.expired():
            raise StageError(stage, f"the {stage} gave nothing for {timeout_s:g} s{named}") from None
        log.exception("the %s failed in a way that nobody foresaw", stage)
        raise StageError(stage, f"the {stage} failed: {type(error).__name__}: {error}") from error
