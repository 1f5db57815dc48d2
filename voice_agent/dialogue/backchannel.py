"""Backchannels: the words of a listener who does not want the floor."""

import re
from typing import Final

from voice_agent.stages.english import words

WORDS: Final = words(
    "mm mmm mhm mmhm mm-hm mm-hmm mmhmm hm hmm hmmm uh-huh uhhuh huh uh um ah aha oh ooh wow yeah yea yep yup ya "
    "yes ok okay right sure cool nice great good fine true exactly totally absolutely definitely indeed really "
    "interesting alright"
)
"""Each alone, or several in a row. English."""
PHRASES: Final = (
    "i see",
    "got it",
    "gotcha",
    "of course",
    "all right",
    "makes sense",
    "that's right",
    "go on",
    "no way",
    "oh my",
)
"""Of two words and more."""
LONGEST: Final = 4
"""Words; who says more wants to be heard."""

_PHRASE: Final = re.compile(r"\b(?:" + "|".join(map(re.escape, PHRASES)) + r")\b")


def is_backchannel(text: str) -> bool:
    """Whether `text` only shows that the user listens: "mm-hm", "yeah, right". Not so where there are no words.

    The classes are those of Ward & Tsukahara 2000 ("Prosodic features which cue back-channel responses"): feedback
    that answers nothing and asks for nothing. "No", "wait" and "stop" are never among them.
    """
    plain = text.lower().replace("’", "'")
    if not 0 < len(re.findall(r"[\w'-]+", plain)) <= LONGEST:
        return False
    return all(word.strip("-'") in WORDS for word in re.findall(r"[\w'-]+", _PHRASE.sub(" ", plain)))
