"""Whether the user's turn is over, weighed from what is known at a silence.

A logistic model of a dozen terms. The silence enters as a logarithm: the longer a pause has lasted, the longer it tends
to go on. So every other term makes the wait longer or shorter by a factor. The weights are fitted by
`python -m voice_agent.lab.fit_endpoint` on recorded speech; docs/latency.md says what they achieve.

The words are judged by English rules. In another language few of them match, and voice and silence decide.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from typing import Final, NamedTuple

from voice_agent.config import Eagerness


@dataclass(frozen=True, slots=True)
class Evidence:
    """The facts that are known at a silence."""

    silence_ms: float
    """Since the last frame that VAD took for speech."""
    speech_ms: float
    """From the utterance's onset to its last speech, pauses included. Not weighed: the words say more."""
    audio: float | None
    """smart-turn's latest probability for this silence; None until known."""
    text: str | None
    """Transcript of the utterance up to this silence; None until known."""
    agent_said: str
    """The agent's last words, as far as they were heard; empty if there were none."""
    pauses_ms: tuple[float, ...]
    """The speaker's earlier pauses in this session that were not the end of a turn."""


class Terms(NamedTuple):
    """The terms of the model, which features and weights share."""

    bias: float
    no_audio: float
    """1 until smart-turn has spoken."""
    no_text: float
    """1 until the transcript is ready."""
    audio_against: float
    """smart-turn's log-odds where it takes the turn for unfinished (negative), else 0; and 0 after a question."""
    audio_against_question: float
    """The same after words that are a finished question ("What time is it?"), and 0 after others."""
    audio_for: float
    """The same where it takes it for finished."""
    unfinished: float
    """1: the words can't end here ("I'd like to book a", "um", "and..."). Less: they seldom do."""
    short: float
    """1: one or two words that answer nothing ("Hello."), after which more tends to come. Less: three."""
    repeated: float
    """1: the last word was said twice: the speaker stumbles."""
    silence: float
    """Logarithm of the silence over `USUAL_MS`."""
    pause: float
    """Logarithm of 1 + the speaker's longest earlier pause over `USUAL_MS`."""


WEIGHTS: Final = Terms(
    bias=-0.53,
    no_audio=-0.50,
    no_text=-0.50,
    audio_against=0.96,
    audio_against_question=0.15,
    audio_for=0.06,
    unfinished=-2.97,
    short=-2.91,
    repeated=-1.99,
    silence=2.93,
    pause=-0.31,
)
"""Printed by `python -m voice_agent.lab.fit_endpoint`."""

THRESHOLD: Final[Mapping[Eagerness, float]] = {"low": 0.75, "auto": 0.5, "high": 0.3}
"""Probability from which the turn is committed. Of the recordings that the weights were fitted on, `auto` cuts off
5 %."""
SCORE_AT_MS: Final[tuple[float, ...]] = (120.0, 1000.0)
"""Lengths of silence at which smart-turn is asked. Of its scores at 120, 200, 300 and 600 ms the first tells best what
silences of 420 ms and more are (area under the ROC curve 0.80, 0.78, 0.78, 0.75 on 298 of them). One at 1000 ms brings
round some that were wrong."""
USUAL_MS: Final = 400.0
"""About the silence at which a turn with nothing against it is over: only sets the scale."""
LONGEST_MS: Final = 3000.0
"""No evidence is waited on for longer than this."""


def probability(evidence: Evidence) -> float:
    """Probability that the turn is over, 0 to 1. Rises with the silence, all else equal; 1 from `LONGEST_MS` on."""
    if evidence.silence_ms >= LONGEST_MS:
        return 1.0
    return 1.0 / (1.0 + math.exp(-sum(map(mul, features(evidence), WEIGHTS))))


MOST_AUDIO: Final = math.log(0.99 / 0.01)
"""Bound of smart-turn's log-odds: beyond 99 % it is no surer, only louder."""
SHORTEST_MS: Final = 10.0
"""A silence is taken for at least this: its logarithm is needed."""


def features(evidence: Evidence) -> Terms:
    """The values of the terms that `WEIGHTS` weigh."""
    audio = 0.0 if evidence.audio is None else _log_odds(evidence.audio)
    words = _NO_WORDS_YET if evidence.text is None else _weigh_words(evidence.text, evidence.agent_said)
    return Terms(
        bias=1.0,
        no_audio=float(evidence.audio is None),
        no_text=float(evidence.text is None),
        audio_against=0.0 if words.question else min(audio, 0.0),
        audio_against_question=min(audio, 0.0) if words.question else 0.0,
        audio_for=max(audio, 0.0),
        unfinished=words.unfinished,
        short=words.short,
        repeated=words.repeated,
        silence=math.log(max(evidence.silence_ms, SHORTEST_MS) / USUAL_MS),
        pause=math.log1p(max(evidence.pauses_ms, default=0.0) / USUAL_MS),
    )


def _log_odds(probability: float) -> float:
    if probability <= 0.0:
        return -MOST_AUDIO
    if probability >= 1.0:
        return MOST_AUDIO
    return max(-MOST_AUDIO, min(MOST_AUDIO, math.log(probability / (1.0 - probability))))


class _Words(NamedTuple):
    """The terms that are read off the words."""

    question: bool = False
    unfinished: float = 0.0
    short: float = 0.0
    repeated: float = 0.0


_NO_WORDS_YET: Final = _Words()


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FILLERS: Final = _set("um uh uhm er erm eh ah hm hmm mm")
NEVER_LAST: Final = _set(
    "a an the and or but because if unless than as my your our their his its whose every per versus "
    "i we they i'm i'd i'll i've we're we'd we'll they're you're it'll he's she's there's let's gonna wanna"
)
"""Articles, conjunctions, possessives and clipped subjects: what they announce is still to come."""
SELDOM_LAST: Final = _set(
    "to for with from at by about between without until till of into when where what who how why these those "
    "like do does did is are was were am be been being can could would should will shall may might must "
    "has had get want need just also really very so another no he she"
)
"""Prepositions that are seldom adverbs, auxiliaries and such. A question may well end with one ("What is it for?")."""
SAYS_ALL: Final = re.compile(
    r"(thanks?|thank you|bye|goodbye|please|cheers|never ?mind|that's (all|it)|see you"
    r"|yes|yeah|yep|no|nope|sure|correct|stop|quit|exit|cancel|help|repeat|next|skip|pause|undo)\b"
)
"""The beginnings of short sentences that are complete: a close, an answer, or a command."""
GREETING: Final = re.compile(r"(hi|hello|hey|howdy|greetings|good (morning|afternoon|evening|day))\b")
QUESTION_WORD: Final = re.compile(
    r"(what|where|when|who|how|why|which|whose|is|are|was|were|do|does|did|have|has|can|could|may|might|will|would|should)\b"
)
"""Near the beginning of a sentence that ends with "?", it makes that a whole question."""
NUMBER_WORD: Final = re.compile(
    r"\d|^([a-z]|o|oh|zero|one|two|three|four|five|six|seven|eight|nine|ten|double|triple|dash|dot|hundred|thousand)$"
)
"""Digits and letters, which are dictated in groups with pauses between them."""
ASKS_FOR_DETAILS: Final = re.compile(
    r"\b(number|digits?|code|pin|spell(ed|ing)?|e-?mail|address|phone|zip|postcode|birth|account|card|name)\b"
)
"""Questions that are answered by dictating."""
NO_PUNCTUATION: Final = 0.7
"""`Terms.unfinished` of a text that Whisper ends with no mark at all. "..." and "-" say it outright."""
SELDOM: Final = 0.5
"""`Terms.unfinished` of a text that ends with one of `SELDOM_LAST`."""
SHORT: Final[Mapping[int, float]] = {1: 1.0, 2: 1.0, 3: 0.25}
"""`Terms.short` by the number of words in the last sentence."""
LONGEST_GREETING: Final = 4
"""Words; "Hello, hello world" and "Good morning to you" are no more than that."""


@lru_cache(maxsize=256)
def _weigh_words(text: str, agent_said: str) -> _Words:
    """Cached, for a silence asks every 20 ms."""
    sentences = [words for part in re.split(r"[.?!…。？！]+(?:\s+|$)", text) if (words := _split(part))]
    if not sentences:
        return _Words(unfinished=1.0)
    words = [word for sentence in sentences for word in sentence]
    last = sentences[-1]
    asks = text.rstrip().endswith(("?", "？"))
    question = asks and len(last) > 2 and any(QUESTION_WORD.match(word) for word in last[:3])
    return _Words(
        question=question,
        unfinished=max(_open_end(text.rstrip()), _open_word(words, asks)),
        short=0.0 if question else _short(words, last, agent_said),
        repeated=float(words[-2:-1] == words[-1:] and not NUMBER_WORD.search(words[-1])),
    )


def _split(text: str) -> list[str]:
    return re.findall(r"\w(?:[\w'.-]*\w)?", text.lower().replace("’", "'"))


def _open_end(text: str) -> float:
    """How unfinished it is by its punctuation. Whisper puts no full stop behind a number."""
    if text.endswith(("...", "…", "-", "—", ",")):
        return 1.0
    if text.endswith((".", "?", "!", "。", "？", "！")) or re.search(r"(\d|\d ?[ap]m)\W?$", text.lower()):
        return 0.0
    return NO_PUNCTUATION


def _open_word(words: list[str], asks: bool) -> float:
    """How unfinished it is by its last word."""
    if words[-1] in FILLERS or words[-1] in NEVER_LAST:
        return 1.0
    return SELDOM if words[-1] in SELDOM_LAST and len(words) > 1 and not asks else 0.0


def _short(words: list[str], last: list[str], agent_said: str) -> float:
    """How little was said, for what the agent had asked."""
    asked = re.split(r"[.!]\s+", agent_said.rstrip().lower())[-1]
    if ASKS_FOR_DETAILS.search(asked):
        return 1.0 if NUMBER_WORD.search(last[-1]) else SHORT.get(len(last), 0.0)
    sentence = " ".join(last)
    if asked.endswith("?") or SAYS_ALL.match(sentence) or any(char.isdigit() for char in sentence):
        return 0.0
    if len(words) <= LONGEST_GREETING and GREETING.match(" ".join(words)):
        return 1.0
    return SHORT.get(len(last), 0.0)
