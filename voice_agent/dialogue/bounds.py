"""Bounds on an engine's call, whatever the engine promises: it takes so long at most, and fails in one way."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import Counter

from voice_agent.errors import StageError, VoiceAgentError

log = logging.getLogger(__name__)

unforeseen: Final = Counter(
    "voice_agent_unforeseen_errors",
    "Failures of engines and responses that nobody foresaw: faults of the server's.",
)

GRACE_S: Final = 1.0
"""How much longer an engine is waited for than it may take: it notices by itself first, and can say more."""


@asynccontextmanager
async def engine_call(
    stage: str, timeout_s: float, setting: str = "", *, since: float | None = None
) -> AsyncIterator[None]:
    """Bounds a wait for a stage's engine; `setting` is where `timeout_s` comes from, which counts
    from `since` on the loop's clock, by default from now.

    Raises:
        StageError: it took `GRACE_S` longer than `timeout_s`, or failed in a way that nobody foresaw, which is logged.
    """
    begun = asyncio.get_running_loop().time() if since is None else since
    scope = asyncio.timeout_at(begun + timeout_s + GRACE_S)
    try:
        async with scope:
            yield
    except StageError:
        raise
    except VoiceAgentError as error:
        raise StageError(stage, str(error)) from error
    except Exception as error:  # a fault of the engine's, which is no reason to end the conversation
        if isinstance(error, TimeoutError) and scope.expired():
            named = f" (VOICE_AGENT_{setting})" if setting else ""
            raise StageError(stage, f"the {stage} gave nothing for {timeout_s:g} s{named}") from None
        log.exception("the %s failed in a way that nobody foresaw", stage)
        unforeseen.inc()
        raise StageError(stage, f"the {stage} failed; the server's log tells why") from error
