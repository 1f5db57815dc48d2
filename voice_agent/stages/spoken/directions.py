"""Stage directions, which models write for a stage that is not there: "*laughs*", "(pause)", "[sighs]".

A direction is told by its form (in asterisks, underscores or brackets) and its words. Emphasis on ordinary words is
said, and so is a verb that belongs to the sentence: "she *laughs* at everything".
"""

import re
from typing import Final

from voice_agent.stages.english import INTERJECTIONS, words

_SOUNDS: Final = words(
    "laugh chuckle giggle snicker cackle sigh gasp cough sob sniff sniffle yawn groan moan snort gulp "
    "hiccup sneeze wink smirk grin shrug blush whisper mutter mumble murmur snore scoff squeal whimper "
    "pant exhale inhale breathe swallow smile nod frown pout pause hum weep stammer stutter shudder "
    "tremble facepalm"
)
"""Acts of a face, a throat or a voice. As a verb or a noun in brackets of any kind it is a direction."""
_ACTS: Final = words(
    "look lean turn take wave think raise tilt scratch bow clap beam blink stare gesture pat hug jump "
    "dance shake scream shout stretch tap point step walk sit stand roll clear rub cross fold hold hand "
    "offer adjust glance gaze narrow widen lower close open reach touch press place put give let bounce "
    "spin twirl hop skip run smooth brush wipe ponder consider listen wait cry sing cheer applaud growl "
    "howl purr bark meow hesitate stop flash wring wrinkle furrow"
)
"""Acts of a body. A direction in asterisks, as a verb with more words; alone it may be emphasis."""
_NOUNS: Final = words(
    "pause beat silence laughter applause music sfx crickets cheering cheers crosstalk inaudible noise "
    "blank_audio static typing footsteps breath chuckling hug hugs ahem clapping"
)
_EFFECTS: Final = words(
    "beep beeps boop boops bzzt ding dong whoosh bang boom thud knock knocks drumroll drum rolls tada click clicks "
    "whirring whirs sounds sound noises typing keyboard crickets chirping chirp birds thunder rumbling rumble wind "
    "rain meow woof purr moo boop bell bells ringing phone door creaking creaks slams "
    "bubbling sizzling static crackling buzzing buzz"
)
"""Sounds, in two words or between sentences: "crickets chirping"."""
_MOODS: Final = words(
    "happy sad excited angry calm cheerful curious serious sarcastic surprised nervous annoyed amused confused playful "
    "warm friendly neutral gentle enthusiastic thoughtful worried embarrassed proud tired bored scared shocked "
    "whispering shouting crying empathetic sympathetic hopeful"
)
"""Tags for a voice that would act: "[excited]"."""
_HAPPENS: Final = words(
    "ring buzz creak slam echo beep chime fall fade start begin stop arrive open close boil"
)
"""Acts of things: "*The phone rings.*"."""
_BODY: Final = words(
    "breath breaths head eyes eye hand hands arms shoulders throat chin face hair finger seat"
)
_MOMENT: Final = re.compile(
    r"(?:an?|another|some|several|few|\s)*(?:(?:long|brief|short|awkward|quiet) )?"
    r"(?:moments?|seconds?|beats?|minutes?|pause|silence|time) (?:pass(?:es)?|goes by|go by|falls|follows)"
)
_ASIDE: Final = re.compile(
    r"to (?:him|her|my|your|it)self|to themselves|under (?:his|her|my|their) breath|aside"
)
_KINDS: Final = words(
    "a an the long short brief slight small big little deep heavy soft quiet dramatic awkward thoughtful "
    "pregnant light nervous audible faint loud gentle playful happy sad background upbeat another more"
)
"""Words that may stand before a direction's noun: "a long pause"."""
_ACTORS: Final = words("then he she they i assistant ai bot narrator speaker voice agent host")
_MANNERS: Final = words(
    "softly quietly excitedly cheerfully sarcastically warmly gently nervously dryly playfully sadly "
    "happily dramatically hesitantly sheepishly thoughtfully whispering"
)
_SUBJECTS: Final = words(
    "a an the this that these those he she it who they we you i and or but to of with my his her your our "
    "their its never always often also just only even really everyone everybody nobody someone one not no "
    "every each any as is was be in on for at by will would can could should must may might loud word "
    "verb term say says said called out long short deep big"
)
"""Before these words' complement the marks are emphasis: "the *pause* was long", "she *laughs*"."""
_VERBS_ON: Final = words("are is was were of that who which when if")
"""Before these a verb's form is no direction: "(smiles are free)"."""
_ON: Final = words("to at in with and out again for a an his her up off")
"""Words that may follow a verb in parentheses, besides an adverb: "(laughs at that)", but "(breathing exercises)"."""
_FEATURES: Final = words("eyes eye voice face heart ears tone cheeks lips hands")
_NO_VERBS: Final = words(
    "this is was has its it's as us yes plus thus perhaps does sometimes always these those his hers ours "
    "yours theirs that's what's there's here's let's he's she's who's unless besides nowadays towards "
    "afterwards across less class minus versus others news lots hours days weeks months years times ones"
)
"""Words that end as a verb does, and are none."""
_LOUD: Final = words("music laughter applause")
_PLAYS: Final = words("playing plays fades continues in out stops")
_MOST_WORDS: Final = 32
_WORD: Final = re.compile(r"[^\W\d]+(?:['’][^\W\d]+)?")
_TIMED: Final = re.compile(
    r"(?:pause|break|silence|beat)[\s:=]{1,3}[\d.]{1,6}\s?(?:ms|s|secs?|seconds?|milliseconds?)?"
)
_VOICES: Final = re.compile(
    r"(?:in|with) (?:a|an|his|her|my) (?:\w{1,20},? ){0,3}"
    r"(?:voice|tone|whisper|smile|grin|laugh|chuckle|sigh|wink|nod|shrug|smirk|giggle|gasp)"
)


def _stems(word: str) -> set[str]:
    """Words that `word` may come from: "laughs", "laughing" -> "laugh"; "shrugging" -> "shrug"; "cries" -> "cry"."""
    found: set[str] = set()
    for ending in ("s", "es", "ing"):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            stem = word[: -len(ending)]
            found |= {stem, stem + "e"}
            if ending == "ing" and stem[-1] == stem[-2:-1]:
                found.add(stem[:-1])
            if ending == "es" and stem.endswith("i"):
                found.add(stem[:-1] + "y")
    return found


def _is_form(word: str, verbs: frozenset[str]) -> bool:
    """Whether `word` is one of these verbs as directions have it: "laughs" or "laughing"."""
    return not verbs.isdisjoint(_stems(word))


def is_direction(text: str, *, starred: bool, alone: bool) -> bool:
    """Whether the text between two marks is a direction.

    Args:
        text: what stands between them.
        starred: they are asterisks or underscores.
        alone: it stands between sentences.
    """
    if _TIMED.fullmatch(text.lower()):
        return True
    found = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    if not found or len(found) > _MOST_WORDS or any(map(str.isdecimal, text)):
        return False
    if len(found) == 1 and alone and not starred and found[0] in _MANNERS:
        return True
    if not starred and len(found) > 1 and found[0] in ("sound", "sounds", "sfx"):
        return True
    rest = [word for word in dict.fromkeys(found) if word not in _KINDS]
    if len(rest) == 1 and (rest[0] in _NOUNS or rest[0] in _SOUNDS):
        return not text.endswith("!")  # "sigh", "a long pause", but "Smile!"
    if alone and not starred and len(found) == 1 and found[0] in _MOODS:
        return True
    if ((alone and starred) or len(rest) > 1) and rest and (_EFFECTS | _NOUNS).issuperset(rest):
        return not text.endswith("!")
    if _MOMENT.fullmatch(" ".join(found)) or ((alone or not starred) and _ASIDE.fullmatch(" ".join(found))):
        return True
    if starred and found[0] == "i" and len(found) > 2 and found[1] in _ACTS and found[-1] in _BODY:
        return True  # "I take a deep breath"
    if starred and alone and len(found) in (2, 3) and found[1].endswith("s") and _happens(found[1:]):
        return True
    if len(found) < 5 and not _LOUD.isdisjoint(found) and (_KINDS | _LOUD | _PLAYS).issuperset(found):
        return True  # "soft music playing"
    if _VOICES.fullmatch(" ".join(found)):
        return True
    acted = False
    while len(found) > 1 and (found[0] in _ACTORS or found[0].endswith("ly")):
        acted |= found[0] in _ACTORS
        found = found[1:]
    if starred and found[0] == "the" and len(found) > 2:
        acted, found = True, found[1 if found[1] in _ACTORS else 2 :]
        if _is_form(found[0], _HAPPENS) and len(found) < 3:
            return True
        if found[0] in _ACTORS:
            found = found[1:] or found
    return _is_act(found, starred=starred, alone=alone, acted=acted)


def _happens(found: list[str]) -> bool:
    """Whether these words are what somebody or something does, as in "cat purrs loudly"."""
    verb, *more = found
    known = verb not in _NO_VERBS and _is_form(verb, _SOUNDS | _ACTS | _HAPPENS)
    return known and all(word.endswith("ly") for word in more)


def _is_act(found: list[str], *, starred: bool, alone: bool, acted: bool) -> bool:
    """Whether these words are what somebody does: a verb, and more."""
    verb, *more = found
    if more and more[0] in _VERBS_ON:
        return False
    if verb in ("clears", "clearing"):
        return "throat" in more
    if verb in ("rolls", "rolling"):
        return "eyes" in more
    known = not more or more[0] in _ON or more[0].endswith("ly")
    if not starred and not known and not (alone and verb.endswith("s")):
        return False
    if _is_form(verb, _SOUNDS) or (starred and acted and verb in _SOUNDS):
        return True
    if starred and alone and more and (verb in _FEATURES or (verb.endswith("s") and verb not in _NO_VERBS)):
        return True  # "eyes widen", "kisses your cheek"
    if starred:
        return (alone or acted or bool(more)) and _is_form(verb, _ACTS)
    return alone and verb.endswith("s") and _is_form(verb, _ACTS)


_MARKED: Final = re.compile(
    r"(?<![*\\])\\?\*(?![*\s])([^*\n]{2,240})(?<![\\\s])\\?\*(?!\*)"
    r"|(?<![\w_\\])\\?_(?![_\s])([^_\n]{2,240})(?<![\\\s])\\?_(?![\w_])"
    r"|[(]([^()\n]{3,80})[)]|\[([^\[\]\n]{3,80})\](?![(\[:])|\{([^{}\n]{3,80})\}|(?<!\w)<([^<>/=\n]{3,80})>"
    r"|【([^【】\n]{3,80})】|(?<!\S)-(?![-\s\d])([^-\n]{3,60})(?<!\s)-(?!\S)|(?<!\S)/(?!\s)([^/\n]{3,60})(?<!\s)/(?!\S)"
    r"|~([^~\n]{3,40})~|(?<![^\s.!?])\*\s([^*\n]{3,60})\s\*(?!\S)"
    r"|(?<![*\\])\*{2,3}(?![*\s])([^*\n]{3,40})(?<!\s)\*{2,3}|(?<![\w_])_{2,3}(?![_\s])([^_\n]{3,40})_{2,3}(?![\w_])"
    # More on one side than on the other.
    r"|(?<![*\\])\*{1,3}(?![*\s])([^*\n]{3,40})(?<!\s)\*{1,3}"
    # One half of a pair: the piece was cut within.
    r"|(?<![*\\])\*(?![*\s])([^*\n]{2,240})$"
)
_CLOSED: Final = re.compile(r"\s?([^*\n]{2,160})(?<![*\s])\*(?!\*)[.!?]?\s?$")
_NAMED: Final = re.compile(r"\b(?:the|an?|press)\s$", re.I)
"""Behind these a word in parentheses is the name of something: "the (pause) button"."""
_BEFORE: Final = re.compile(r"([^\W\d_]+(?:['’][^\W\d_]+)?),?\s$")


def without_directions(text: str) -> str:
    """A line of text without its stage directions."""
    if _SIGNS.isdisjoint(text):
        return text
    if (
        text.count("*") == 1
        and (half := _CLOSED.match(text))
        and is_direction(half[1], starred=True, alone=False)
    ):
        return ""
    return _MARKED.sub(_without, text)


_SIGNS: Final = frozenset("*_([{~<【-/")


def _without(match: re.Match[str]) -> str:
    (
        star,
        line,
        parens,
        brackets,
        braces,
        angles,
        lenses,
        dashes,
        slashes,
        tildes,
        loose,
        bold,
        strong,
        uneven,
        half,
    ) = match.groups()
    starred = star or line or half or tildes or loose or bold or strong or uneven
    inside = starred or parens or brackets or braces or angles or lenses or dashes or slashes
    inside = inside.strip("()[] ") if bold or strong else inside
    alone = _stands_alone(match, inside.lower() if brackets else inside)
    if (bold or strong) and not (alone and _is_form(inside, _SOUNDS)):
        return match[0]
    if not is_direction(inside, starred=bool(starred), alone=alone):
        return match[0]
    if starred and not alone and _belongs(match, inside.lower()):
        return match[0]
    if parens and _NAMED.search(match.string, max(0, match.start() - 8), match.start()):
        return match[0]
    return " "


def _belongs(match: re.Match[str], inside: str) -> bool:
    """Whether words in asterisks are their sentence's: "she *laughs*", "a nice *smile*", "I love *music*"."""
    before = _BEFORE.search(match.string[max(0, match.start() - 24) : match.start()])
    if not before or before[1].lower() in INTERJECTIONS:
        return False
    if before[1].lower() in _SUBJECTS:
        return True
    # Behind a word that nothing parts from them, only a verb such as "laughs" is no part of the sentence.
    first, *more = inside.split()
    return not before[0].rstrip().endswith(",") and (
        (first in _NOUNS and not more) or (first in _SOUNDS and not more) or first.endswith("ing")
    )


def _interjects(match: re.Match[str]) -> bool:
    """Whether an interjection with a small letter follows: "*waves* ok"."""
    after = _WORD.search(match.string, match.end(), match.end() + 16)
    return after is not None and after[0] in INTERJECTIONS


def _stands_alone(match: re.Match[str], inside: str) -> bool:
    """Whether what the marks enclose begins small and stands between sentences: "Hi! *waves* How are you?"."""
    before = match.string[max(0, match.start() - 4) : match.start()].strip()
    after = match.string[match.end() : match.end() + 4].strip()
    return (
        inside[0].islower()
        and (not before or before[-1] in '.!?:…"”)]*')
        and (not after or after[0].isupper() or not after[0].isalnum() or _interjects(match))
    )
