"""As much as a voice says in one go: what is longer is parted, whatever it is.

An engine's time and memory for a chunk grow faster than its length (400 digits took Piper a minute and 2 GB), and
nothing of it is heard before its first sentence is encoded.
"""

from typing import Final

MOST_SAID: Final = 180
"""Longest text that a voice is given at once, in characters as `length` counts them; some ten seconds of speech, at the
65 ms a character that `response.py` reckons with. 24 words of ordinary English are 140."""
_LETTER: Final = 4
"""A letter that is spelled ("B", "HTML") takes as long as so many characters of a word ..."""
_DOUBLE_U: Final = 9
"""... and a W as so many."""
_SYLLABLE: Final = 5
"""A character that stands for a syllable: Chinese, Japanese, Korean and the like."""
_VOWELS: Final = frozenset("aeiouyAEIOUYàáâäãåèéêëìíîïòóôöõùúûü")


def length(word: str) -> int:
    """How long a word takes to say, in characters of English text, the space behind it counted."""
    if word.isascii() and not word.isupper() and not _VOWELS.isdisjoint(word):
        return len(word) + 1
    spelled = word.isupper() or _VOWELS.isdisjoint(word)
    return 1 + sum(_of(char, spelled=spelled) for char in word)


def _of(char: str, *, spelled: bool) -> int:
    if char > "\u0530" and char.isalpha():
        return _SYLLABLE
    if spelled and char.isalpha():
        return _DOUBLE_U if char in "wW" else _LETTER
    return 1


def parted(said: str, text: str) -> list[tuple[str, str]]:
    """`said` in parts that a voice can say in one go, each with its share of the `text` that it was made of.

    The parts hold all words of `said`; the shares, put together, are `text`. One part where nothing is too long.
    """
    if len(said) * _DOUBLE_U <= MOST_SAID:
        return [(said, text)]
    words = [part for word in said.split() for part in _short(word)]
    lengths = [length(word) for word in words]
    total = sum(lengths)
    if total - 1 <= MOST_SAID:
        return [(said, text)]
    parts, start, shared, done = [], 0, 0, 0
    while start < len(words):
        end = _end(words, lengths, start, total - done)
        done += sum(lengths[start:end])
        share = _share(text, shared, len(text) * done // total) if end < len(words) else len(text)
        parts.append((" ".join(words[start:end]), text[shared:share]))
        start, shared = end, share
    return parts


def _short(word: str) -> list[str]:
    """A word that is itself too long to be said at once, in pieces."""
    if length(word) <= MOST_SAID:
        return [word]
    step = MOST_SAID // _DOUBLE_U
    return [word[i : i + step] for i in range(0, len(word), step)]


def _end(words: list[str], lengths: list[int], start: int, left: int) -> int:
    """Behind which word the part that begins at `start` ends: at a stop or a comma in its second half if there is one,
    else so that the parts are of about one length. `left` is the length of all that is left."""
    if left - 1 <= MOST_SAID:
        return len(words)
    even = left / -(-left // MOST_SAID)
    best, best_worth, reached = start + 1, (-1, 0.0), 0
    for index in range(start, len(words)):
        reached += lengths[index]
        if reached - 1 > MOST_SAID:
            break
        mark = 2 if words[index][-1] in ".!?;:" else words[index][-1] == ","
        worth = (mark if 2 * reached > MOST_SAID else 0, -abs(reached - even))
        if worth >= best_worth:
            best, best_worth = index + 1, worth
    return best


_NEAR: Final = 12
"""Characters around a share's end within which it is moved to the start of a word."""


def _share(text: str, start: int, end: int) -> int:
    """Where a share of `text` that begins at `start` and should end about `end` ends: where a word starts, or there."""
    end = min(max(end, start + 1), len(text))
    for away in range(_NEAR):
        for at in (end - away, end + away):
            if start < at < len(text) and text[at - 1].isspace() and not text[at].isspace():
                return at
    return end
