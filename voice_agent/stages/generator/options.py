"""The options of a request, beside its messages, as far as the endpoint takes them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from voice_agent.stages.generator.failures import EndpointError

_LIMITS: Final = ("max_tokens", "max_completion_tokens")
"""Names of the longest reply; reasoning models of OpenAI's take only the second, most others only the first."""
_USAGE: Final = "stream_options"
_NO_SYSTEM: Final = re.compile(
    r"\bsystem[ _]?(role|message|prompt|instruction)s?\b.{0,60}(support|allow|permit|accept|recogni[sz]|valid|enabled)"
    r"|(support|allow|permit|accept|unexpected|unknown|invalid|role)\b.{0,60}['\"`]system['\"`]"
    r"|developer instruction is not enabled|roles must alternate|only user(,| and) (model|assistant)",
    re.IGNORECASE,
)
"""How chat templates (Gemma's, the first of Mistral's) and APIs (Google's for Gemma, OpenAI's for o1) say that their
model reads no system messages. A template's refusal is a 500 where the server did not foresee it, as in llama.cpp."""


class Options:
    """Optional fields of the request. One that the endpoint refuses is left out from then on."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = {_USAGE: {"include_usage": True}, **fields}
        self._limits = list(_LIMITS)
        self.system_role = True
        """Whether the model takes system messages."""

    def body(self, max_tokens: int) -> dict[str, Any]:
        """The fields, with a limit on the reply."""
        return {**self._fields, **dict.fromkeys(self._limits[:1], max_tokens)}

    def drop_refused(self, error: EndpointError, *, guess: bool = False) -> str | None:
        """Leave out what `error` blames; gives its name, or None where it blames nothing that could be left out.
        For the system role that means that its messages become the user's.

        Endpoints name it in `param`, or only in words; with `guess` a refusal that names nothing is taken for one
        of the field that the fewest know.
        """
        if error.too_long:
            return None
        if self.system_role and error.status in (400, 422, 500, None) and _NO_SYSTEM.search(str(error)):
            self.system_role = False
            return "the system role"
        if error.status not in (400, 422, None):
            return None
        sent = [*self._fields, *self._limits[:1]]
        named = [name for name in sent if _names(name, error.param or "")]
        named = named or [name for name in sent if _names(name, str(error))]
        if guess and not named and error.status and error.param is None and _USAGE in self._fields:
            named = [_USAGE]
        if not named:
            return None
        refused = named[0]
        if refused in self._limits:
            self._limits.remove(refused)
        else:
            del self._fields[refused]
        return refused


def _names(field: str, words: str) -> bool:
    """Whether `words` speak of `field`; who asks for one name of the limit refuses the other."""
    names = "|".join(_LIMITS) if field in _LIMITS else re.escape(field)
    return bool(re.search(rf"\b({names})\b", words, re.IGNORECASE))
