"""Which of the models that an endpoint lists to talk to."""

import re
from collections.abc import Iterator
from typing import Any, Final

_NO_CHAT: Final = re.compile(
    r"embed|rerank|whisper|transcri|moderation|\btts\b|speech|dall-?e|image|diffusion|sora|video|realtime"
    r"|clip\b|guard|\bbge\b|\be5\b|\bgte\b|minilm|colbert|parakeet|kokoro|piper|ocr|davinci-00|babbage-00|audio",
    re.IGNORECASE,
)
"""In the names of models that do something else."""
_CHAT_KINDS: Final = frozenset(
    {"chat", "llm", "vlm", "language", "text", "text-generation", "model", "generate"}
    | {"completion", "completions", "tools"}
)


def offered(page: object) -> list[str]:
    """The models of a list, as endpoints give it: those that look like chat first, otherwise in its order."""
    entries = page
    if isinstance(page, dict):
        entries = next(
            (page[key] for key in ("data", "models", "result") if isinstance(page.get(key), list)), []
        )
    named = (
        [(name, entry) for entry in entries if (name := _name(entry))] if isinstance(entries, list) else []
    )
    return [name for name, entry in sorted(named, key=lambda pair: not _chats(*pair))]


def _name(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = next((entry[key] for key in ("id", "name", "model") if isinstance(entry.get(key), str)), "")
    return entry if isinstance(entry, str) else ""


def _chats(name: str, entry: object) -> bool:
    """By what the list tells of the model, else by its name."""
    kinds = list(_kinds(entry))
    if kinds:
        return any(kind.lower() in _CHAT_KINDS or "chat" in kind.lower() for kind in kinds)
    return not _NO_CHAT.search(name)


def _kinds(entry: object) -> Iterator[str]:
    """The model's kind and abilities, where the list tells: Together, LM Studio, Mistral, Infinity."""
    if not isinstance(entry, dict):
        return
    for key in ("type", "task"):
        if isinstance(kind := entry.get(key), str) and kind:
            yield kind
    match entry.get("capabilities"):
        case list() as able:
            yield from (kind for kind in able if isinstance(kind, str))
        case dict() as able:
            yield from (
                (kind for kind, can in able.items() if can is True) if any(able.values()) else ("none",)
            )
