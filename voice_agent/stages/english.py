"""The English words that tell the end of a sentence from an abbreviation, and where a clause begins."""

from typing import Final


def words(text: str) -> frozenset[str]:
    """The set of the words in `text`."""
    return frozenset(text.split())


TITLES: Final = words(
    "Dr Mr Mrs Ms Mx Messrs Prof Rev Hon Gen Sen Rep Gov Capt Cmdr Col Lt Sgt Cpl Pvt Maj Adm Pres Fr "
    "Mt Ft Sta"
)
"""A name always follows, so the stop is never an end."""
NEVER_LAST: Final = words("vs v e.g i.e eg ie cf viz approx esp incl excl dept asst assoc univ")
"""Something always follows, whatever the case."""
BEFORE_NUMBER: Final = words(
    "no nos fig figs vol vols ch chap sec secs p pp eq art para apt ste op pt ref ver ext tel jan feb "
    "mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun ft lb lbs oz "
    "min mins hr hrs yd yr yrs mo wk tbsp tsp qt gal sq cu est etc"
)
"""An abbreviation if a number or a small letter follows ("No. 5", "6 ft. tall"), else a last word ("No.")."""
BEFORE_NAME: Final = words("inc ltd co corp jr sr st ave blvd rd ln ct pl bros al esq ph.d m.d b.a m.a")
"""Last only if a word follows that often starts a sentence ("Apple Inc. CEO", but "Apple Inc. The")."""
STARTERS: Final = words(
    "the a an it he she we they you i this that these those there here but and so if in on at for as "
    "when while what who why how where after before since however then also now yes no please let its "
    "his her our my your their once not do does did is are was can could would will to both many most "
    "some all each which with by from although because though until unless another other one two next "
    "finally first just"
)
"""Words that rarely follow an abbreviation within a sentence, written with a capital."""
UNSPACED_STARTERS: Final = STARTERS | words(
    "there's here's or nor yet sure thanks thank sorry okay ok well oh hello hi yeah absolutely maybe perhaps "
    "today tomorrow yesterday according additionally moreover furthermore finally overall remember feel "
    "about after again always any anything are because been before being between during even every everyone "
    "everything get give go good great have having hope i'm i'll i'd i've know like make may might more much "
    "must never nobody nothing often only or over people rather really see several should since something "
    "sometimes still take tell than thus under very want was were whether which whose why without"
)
"""The start of a sentence that was written without a space in front ("today.How"), whatever stands before the stop."""
SMALL_STARTERS: Final = words(
    "the they that these those there here how what when where why which but and you we it's i'm i'll you're "
    "i he she his her our your their this then yes yeah maybe perhaps now however after before because also "
    "don't let's that's there's okay ok thanks please sorry would could should can did does i've we're they're"
)
"""The same with a small letter ("today.how are you"): none of these is the end of a file or a host."""
MAY_ACT: Final = words("he she they i the a an then narrator assistant")
"""May begin a stage direction, as what ends in -s, -ing or -ly may: "*he laughs*", "*slowly nods*"."""
SMALL_HOSTS: Final = words("it no")
"""The same where no address is spoken of ("I went home.it was late"): they stand for countries, too ("visit a.it")."""
TO_ADDRESS: Final = words(
    "visit at on to see from via by try open called using domain site website go into or"
)
"""Behind these a word with a stop within is an address rather than two sentences."""
CODE_NAMES: Final = words(
    "asyncio collections console datetime decimal fetch logging math node numpy os pandas pathlib random react re self "
    "promise response result socket sys system tf threading time torch typing vue window document java javax "
    "org com net io"
)
"""In front of a stop and a capital they are the name of a module: "asyncio.Queue"."""
AFTER_TIME: Final = words(
    "est edt cst cdt mst mdt pst pdt et ct mt pt gmt utc bst cet cest ist jst eastern central mountain "
    "pacific monday tuesday wednesday thursday friday saturday sunday january february march april may "
    "june july august september october november december"
)
"""Words that may follow "5 p.m." with a capital and still belong to it."""
OPENERS: Final = STARTERS | words(
    "or nor yet which who whose whom whether unless until than like instead including especially "
    "usually sometimes often even only still maybe perhaps with without by from into onto over under "
    "between through during against about of it's i'm i'll i'd i've you're you'll you'd you've he's "
    "she's we're we'll they're that's there's here's let's don't have has had should may might must "
    "were be been making using depending"
)
"""Words that open a clause or a phrase after a comma, where the next item of a list rarely does."""
INTRODUCTIONS: Final = words(
    "if when while after before since once because as although though unless until to in on at for with from "
    "by during given"
)
"""A sentence that begins with one of these goes on after its first comma: "To reset it, hold the button"."""
JOINS: Final = words("but because although though whereas while")
"""Before these a sentence can be cut without a comma."""
LOOSE_JOINS: Final = words("which who where when if unless until")
"""The same, less naturally: only in a sentence that is long already."""
PRONOUNS: Final = words(
    "i you he she it we they there this that then i'm i'll it's you're you'll we're they're"
)
"""After "and" and "or" these start a clause, not the next item of a list."""
PREPOSITIONS: Final = words(
    "in on at to for of with by from as that into over under through during about so after before since"
)
"""Before these a sentence without any clause boundary is cut in the end."""
NOT_BEFORE: Final = PREPOSITIONS | words(
    "a an the even only just but and or than more not especially little nothing anything all is are was "
    "were be that which no"
)
"""After these a join is part of a phrase ("even though", "for a while", "in which")."""
INTERJECTIONS: Final = words(
    "absolutely ah alright certainly definitely exactly fine good great hello hey hi hmm maybe no oh ok okay "
    "perfect please right sorry sure thanks true well wow yeah yep yes"
) | {
    "all right",
    "good morning",
    "good afternoon",
    "good evening",
    "got it",
    "hi there",
    "hello there",
    "i see",
    "no problem",
    "of course",
    "thank you",
}
"""Words that stand by themselves before the sentence proper, with a comma behind it: "Sure, here is ..."."""
