"""A reasoning model's thoughts, kept from the voice."""


class ThoughtFilter:
    """Takes `<think>...</think>` out of a reply that comes in pieces, wherever they cut the tags."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._said = False

    def feed(self, text: str) -> str:
        """What of the text so far is for the user; what may be the beginning of a tag is held back."""
        self._held += text
        said = ""
        while True:
            tag = "</think>" if self._thinking else "<think>"
            before, found, after = self._held.partition(tag)
            if not found:
                break
            said += "" if self._thinking else before
            self._held, self._thinking = after, not self._thinking
        kept = next(n for n in range(len(tag) - 1, -1, -1) if self._held.endswith(tag[:n]))
        cut = len(self._held) - kept
        said += "" if self._thinking else self._held[:cut]
        self._held = self._held[cut:]
        return self._trimmed(said)

    def rest(self) -> str:
        """What was held back, once nothing follows."""
        held, self._held = self._held, ""
        return "" if self._thinking else self._trimmed(held)

    def _trimmed(self, said: str) -> str:
        """Without white space before the first word."""
        if not self._said:
            said = said.lstrip()
            self._said = bool(said)
        return said
