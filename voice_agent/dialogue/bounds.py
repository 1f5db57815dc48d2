"""No engine is waited for without a bound, whatever it promises."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from voice_agent.errors import StageError

GRACE_S: Final = 1.0
"""How much longer an engine is waited for than it may take: it notices by itself first, and can say more."""


@asynccontextmanager
async def bounded(stage: str, timeout_s: float) -> AsyncIterator[None]:
    """For waiting for an engine within.

    Raises:
        StageError: it took `GRACE_S` longer than `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s + GRACE_S) as scope:
            yield
    except TimeoutError:
        if not scope.expired():
            raise
        raise StageError(stage, f"the {stage} gave nothing for {timeout_s:g} s") from None
