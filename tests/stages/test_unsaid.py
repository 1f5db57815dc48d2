"""What is written for the eye, or for nobody, and is not said: citations, stage directions, invisible signs, data."""

import pytest

from voice_agent.stages.sentences import Cutter
from voice_agent.stages.spoken import spoken

EXAMPLES = {
    "citations": [
        ("Paris is the capital of France.[1][2]", "Paris is the capital of France."),
        ("It has many people [1].", "It has many people."),
        ("It is so [1, 2]. And [3-5] then [6–8].", "It is so. And then."),
        ("It is so [1] [2]. See^[3].", "It is so. See."),
        ("France is big【1†source】. Very【4:0†a file.pdf】.", "France is big. Very."),
        ("It is known.[^1][^note]", "It is known."),
        ("[^1]: The source of it.", "The source of it."),
        ("France.¹ It is large.¹² The water³ is deep.", "France. It is large. The water is deep."),
        ("It is “so”.¹ Next", "It is so. Next"),
        ("See [source]. Then [citation needed] it [Source 2].", "See. Then it."),
        ("Yes [source](http://x.y/z), [[1]](http://a.b) and [2](http://a.b/c_(d)).", "Yes, and."),
        ("It is so<ref>Smith 2020</ref>. Yes<ref name='a'/>.", "It is so. Yes."),
        ("Sources: [1] and [2], [3]. The result: [1, 2]", "Sources: and. The result: one, two"),
        ("It is so (see [1]). As f() is", "It is so. As f is"),
        ("[1]: http://a.b/c", ""),
        ("note<sup>1</sup> and France<sup>[2]</sup>.", "note and France."),
        ("Hello \ue200cite\ue202turn0search1\ue202turn0news2\ue201 there.", "Hello there."),
        ("Hello citeturn0search1turn0search2.", "Hello."),
        ("Hello \ue200cite\ue202turn0sea", "Hello"),
        ("It is so [citation: 2]. And [source: 3] it [Ref. 3] is [cite: 1, 2].", "It is so. And it is."),
        ("[cite_start]It is foo.[cite: 5] [cite_start]It is bar[cite: 6, 7].[cite_end]", "It is foo. It is bar."),
        ("It is so.[ref_1] It[#1] is [#2]. It is [S1]. And [A1] is [i].", "It is so. It is. It is. And is."),
        ("It is so [1, p. 5]. It was [1 2] so.[3, pp. 5–6]", "It is so. It was so."),
        ("It is so⁽¹⁾. It is so.⁽¹²⁾ It is so.^1^ And so^2^. It is so.² ³ Yes.", "It is so. It is so. It is so. "
         "And so. It is so. Yes."),
        ("So. [oai_citation:1‡a.b](https://a.b/c) And. [oai_citation:1‡a.b](https://a", "So. And."),
        ("It is so.[1", "It is so."),
        ("It is so [source: BBC News]. [note: it is]", "It is so, note: it is"),
        ("It is so[1, 2", "It is so"),
        ("According to [1] and [2], it works.", "According to source one and source two, it works."),
        ("As [3] shows, it is in [1]. See [4].", "As source three shows, it is in source one. See source four."),
        ("[1] says it, in [2] Paris.", "source one says it, in Paris."),
        # Not citations.
        ("a[i] of list[i] and x^2^ [b]", "a, i, of list, i, and x squared, b"),
        ("The list is [1, 2, 3] and a[0] is it.", "The list is, one, two, three, and a, zero, is it."),
        ("x¹, y², 5 m², 10⁶ and sin²(x)", "x to the power of one, y squared, five square meters, "
         "ten to the power of six and sin squared, x"),
        ("H<sub>2</sub>O, x<sup>2</sup>, 1<sup>st</sup>", "H two O, x squared, first"),
        ("See [one][2] and [two](http://a.b).", "See one and two."),
        ("【注意】 look", "注意 look"),
    ],
    "stage directions": [
        ("*laughs* That is funny (pause) okay.", "That is funny okay."),
        ("_sighs_ Well. *clears throat loudly* Hi.", "Well. Hi."),
        ("[laughs] [pause] <laugh> (sighs deeply) {laughs} Hi.", "Hi."),
        ("[LAUGHTER] [Music] [soft music playing] (long pause) Hi.", "Hi."),
        ("[pause 2s] [pause: 500 ms] <break time='1s'/> Hi.", "Hi."),
        ("«*He smiles warmly.*» Hello.", "Hello."),
        ("*He leans in.* *The crowd cheers* *I smile* *then nods slowly*", ""),
        ("*looks around nervously* Hi. *waves* How are you?", "Hi. How are you?"),
        ("(looks around) Hi. (softly) I see. (he laughs)", "Hi. I see."),
        ("*takes a deep breath* *in a soft voice* Right *with a smile*", "Right"),
        ("*sigh* ok *gasp* *GRINS*", "ok"),
        ("Well *laughs* that is funny, *chuckles* really.", "Well that is funny, really."),
        ("~laughs~ （laughs） ＊laughs＊ \\*laughs\\* Hi", "Hi"),
        ("**sighs** Fine.", "Fine."),
        ("*kisses your cheek* *eyes widen* *cough cough* [sound of rain] Hi <|im_end|>", "Hi"),
        ("*laughs softly. ", ""),
        ("Then stops.* ", ""),
        ("*nods thoughtfully, considering the question*", ""),
        ("*he laughs at the joke and then sits down on the chair beside the window slowly* Okay.", "Okay."),
        *[(f"{marked} Hi.", "Hi.") for marked in (
            "【laughs】", "**(laughs)**", "**laughs*", "*laughs**", "* laughs *", "＜laughs＞", "<i>laughs</i>",
            "-laughs-", "/laughs/", "<em>sighs deeply</em>", "[happy]", "[Excited]", "(to himself)",
            "(under her breath)", "*beep boop*", "*typing sounds*", "*drumroll*", "*crickets chirping*",
            "[door creaking]", "*a moment passes*", "*a long moment passes*", "*The phone rings.*", "*the door slams*",
            "*I take a deep breath.*", "*I shake my head*")],
        ("*waves* ok, *nods* sure", "ok, sure"),
        ("*cat purrs* *meow* *dog barks loudly* Hi", "Hi"),
        # Not directions.
        ("I am [happy] or (happy). The *phone* rings. A *drumroll* please. (phone)", "I am, happy, or, happy. "
         "The phone rings. A drumroll please, phone"),
        ("*I think so.* *I look good.* *Time* passes. Use -l or /usr/bin/ ok", "I think so. I look good. Time passes. "
         "Use dash l or usr slash bin ok"),
        ("* One *two* three", "One two three."),
        ("* 2 * 3 is six", "two times three is six."),
        ("So he is well -known- and and/or /here", "So he is well dash known and and or here"),
        ("**bold** and *really* good. *This* is it.", "bold and really good. This is it."),
        ("the *pause* was long, she *laughs* at it, a *sigh*", "the pause was long, she laughs at it, a sigh"),
        ("Press *pause* to stop. The word *laughs* is a verb.", "Press pause to stop. The word laughs is a verb."),
        ("The (pause) button. He *really laughs* a lot. *Smile!*", "The, pause, button. He really laughs a lot. "
         "Smile!"),
        ("I love *music*. It was a nice *smile*. He kept *laughing* today.", "I love music. It was a nice smile. "
         "He kept laughing today."),
        ("*Note:* *Important!* *The Great Gatsby*", "Note: Important! The Great Gatsby"),
        ("The *waves* are high. *Waves* are high.", "The waves are high. Waves are high."),
        ("(smiles are free) (cough syrup) (breathing exercises)", "smiles are free, cough syrup, breathing exercises"),
        ("*smiles are free* and **Smiles** too", "smiles are free and Smiles too"),
        ("It is here (see below) [four] (singing in the rain)", "It is here, see below, four, singing in the rain"),
        ("*sometimes it rains* *this is it* *years later* *news at ten*", "sometimes it rains this is it years later "
         "news at ten"),
        ("*It looks like rain.* *Look Back in Anger*", "It looks like rain. Look Back in Anger"),
        ("2 * 3 * 4 = 24, snake_case_name", "two times three times four equals twenty-four, snake case name"),
    ],
    "spaces in numbers": [
        ("10\u202f000, 10\xa0000, 10\u2009000, 10\u2007000", "ten thousand, ten thousand, ten thousand, ten thousand"),
        ("10'000 or 10’000 or 10_000 or 10 000", "ten thousand or ten thousand or ten thousand or ten thousand"),
        ("1\u202f234\u202f567,89", "one million two hundred and thirty-four thousand five hundred and sixty-seven "
         "point eight nine"),
        ("1.234.567 and 1,00,000", "one million two hundred and thirty-four thousand five hundred and sixty-seven and "
         "one hundred thousand"),
        ("5\xa0km, 20\u202f°C, 5\u2009%, 100\xa0€", "five kilometers, twenty degrees Celsius, five percent, "
         "one hundred euros"),
        ("2,50 € and €3,20", "two euros and fifty cents and three euros and twenty cents"),
        ("10.000,50 or 3.14", "ten thousand point five zero or three point one four"),
        ("$10\u202f000 and 10\u202f000\xa0km", "ten thousand dollars and ten thousand kilometers"),
        ("1 234 567, 3 450 or 999 999 people", "one million two hundred and thirty-four thousand five hundred and "
         "sixty-seven, three thousand four hundred and fifty or nine hundred and ninety-nine thousand nine hundred and "
         "ninety-nine people"),
        ("12 345,67 €", "twelve thousand three hundred and forty-five euros and sixty-seven cents"),
        *[(f"1{space}234 km", "one thousand two hundred and thirty-four kilometers")
          for space in " \xa0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"],
        ("On May 5 300 people, at 10:05 300 more, 1 2345 and 3 45", "On May fifth three hundred people, at ten oh five "
         "three hundred more, one two thousand three hundred and forty-five and three forty-five"),
        ("100 200 300, then 555 123 4567", "one hundred two hundred three hundred, then five five five, one two three, "
         "four five six seven"),
        ("number 123 456, DE89 3704 0044 0532 0130 00", "number one two three, four five six, D E eight nine, three "
         "seven zero four, zero zero four four, zero five three two, zero one three zero, zero zero"),
        ("The code is 123 456.", "The code is one two three, four five six."),
        ("Call 020 7946 0958 or (030) 1234 567.", "Call zero two zero, seven nine four six, zero nine five eight or "
         "zero three zero, one two three four, five six seven."),
        ("in 2019 300 people", "in twenty nineteen three hundred people"),
        ("20 USD, EUR 20, USD 1,000.50", "twenty dollars, twenty euros, one thousand dollars and fifty cents"),
    ],
    "what cannot be seen": [
        ("he\u200bllo wo\u200crld \u202eabc\u202c\u2066x\u2069 \ufeffco\xadop", "hello world abcx coop"),
        ("1\u200b0\u2060,000", "ten thousand"),
        ("*\u200blaughs* Hi", "Hi"),
        ("Z\u0301\u0302\u0303\u0304\u0305a", "Ź\u0302\u0303a"),
        ("&#8203;Hi&nbsp;there &lt;b&gt;", "Hi there b"),
    ],
    "data and addresses": [
        ("The hash is d41d8cd98f00b204e9800998ecf8427e now", "The hash is now"),
        ("Key sk-proj-a8Kd93jfKd92Jd82jfLs92 ok", "Key sk-proj- ok".replace("- ", " ")),
        ("DE89370400440532013000", "D E eight nine three seven zero four zero zero four four zero five three two zero "
         "one three zero zero zero"),
        ("2001:db8::1 at 14:05:30", "two zero zero one, D B eight, one at fourteen oh five and thirty seconds"),
        ("0x1F, 0b101, 0o17 and #FF00AA, not #1 or 0xyz", "hex one F, binary one zero one, octal one seven and F F "
         "zero zero A A, not number one or zero xyz"),
        ("№5 and № 7", "number five and number seven"),
        ("Well ¯\\_(ツ)_/¯ ok. ¯\\\\_(ツ)\\_/¯", "Well ok."),
        ("(╯°□°)╯︵ ┻━┻ Hi ( ͡° ͜ʖ ͡°) ʕ•ᴥ•ʔ (^_^) T_T o_O >_< ¯", "Hi"),
        ("It is hot (30° or 40°) and (a^b + c^b)", "It is hot, thirty degrees or forty degrees, and, a to the "
         "power of b plus c to the power of b"),
        ("192.168.100.200", "one hundred and ninety-two dot one hundred and sixty-eight dot one hundred "
         "dot two hundred"),
        ("[link](http://", "link"),
        ("**bold", "bold"),
        ("$$x^2", "x squared"),
        ("[**link**](http://a.b) **`code`** **bold _and_ it**", "link code bold and it"),
        ("[![img](a.png)](http://a.b)", "img"),
        ("\\frac{\\sqrt{2}}{x^{2}}", "the square root of two over x to the power of two"),
        ("> - [ ] task", "task."),
        ("Say :smile: ok", "Say ok"),
        ("Hi,how are you?fine", "Hi, how are you? fine"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [pytest.param(*pair, id=f"{kind}: {pair[0]!r}") for kind in EXAMPLES for pair in EXAMPLES[kind]],
)
def test_says_only_what_is_for_the_ear(text: str, said: str) -> None:
    assert spoken(text) == said


def cut(text: str) -> list[str]:
    cutter = Cutter(7, 24)
    return [piece.text for char in text for piece in cutter.feed(char)] + [
        piece.text for piece in cutter.end()
    ]


@pytest.mark.parametrize(
    "marked",
    [
        "I am fine today.|How are you?",
        "today!|How are yes?|No end.|\"Next one",
        "Paris is in France.[1][2] |It is large.",
        "People [1]. |It is big.",
        "It is so.[1, 2] |And then.",
        "It is so【1†source】. |It is.【4:0†source.pdf】 |Yes.",
        "It is so.¹ |It is.¹² |Yes.",
        "It is so.[cite: 5] |It is so.[ref_1] |So it is.[1, p. 5] |Yes.",
        "It is so.⁽¹⁾ |It is so.^1^ |It is so.[1 2] |[cite_start]It is so.[cite_end] |Yes.",
        "I like it.[1]|It is good.[2] |Yes.",
        "It rained.|Tomorrow will be fine.|I think so.|The end",
        "It ended in 2024.|The next is 2025.|It is.",
        "It costs $5.|It is cheap.",
        "Version 2.0.|It is new.",
        "The U.S.|It is big. |At 5 p.m.|Then we go.",
        "NASA.|It is big.",
        "We use Node.js.|It is good.",
        "I work at example.com.|She too",
        "Ask at info@example.com.|We answer.",
        '"It ends."|Next one.',
        "**It ends.**|Next one. |It ends.|**Next** one.",
        "I like it.|(Really)Then we go.",
        "*He smiles.*|Hello there.",
        "Well…|Then we go.",
        "it is fine.|how are you",
        "See example.com, U.S.A, 3.5, e.g.this, file.txt, Node.js, v1.2.3, a.m., J.R.R.Tolkien and more",
        "Use asyncio.Queue, np.array, System.Out, Math.floor, ASP.NET or `promise.Then` or foo.Bar() here",
        "e.g.This and i.e.The other of Dr.Smith and St.Louis and Mr.Jones here",
        "Go to http://a.b/c?Next=1 and a.b.c.d and 1.First and today.how.com here",
        "A 3.The and x.It there",
        "row = aiosqlite.Row is set",
        "*he laughs at the joke and then sits down on the chair beside the window slowly* Okay. |So",
        "Hello! |*he laughs, because it is funny, and then he slowly sits down on the chair* Okay. |So",
        "The end.|2020 was bad.",
        "3 apples.|4 pears.|5 plums.",
        "A lot.|$5 is it! |The end!|3 left.|1,000.5 then.",
        "I went home.|it was late.|then I slept.",
        "It rained.|she woke.|it's late",
        "Yes.|No.|Maybe. |So",
        "yes.|no.|maybe. |So",
        "that is it.|yes it",
        "See you at 5.30.|Bring wine.",
        "Visit home.it or promise.then or main.go or v1.2.Beta or System.Out.Print here",
        "See a.it or notion.so or t.me or config.is here",
        "*note that it works very well, |because we all need it to work well for us today* Ok. |So",
        "See fig.5 and No.5 and version.2.png and RFC.2616 or Python3.5 or .5 here",
    ],
)  # fmt: skip
def test_a_sentence_ends_where_the_next_follows_without_a_space_or_behind_a_citation(marked: str) -> None:
    assert cut(marked.replace("|", "")) == marked.split("|")


def test_what_is_not_cut_has_a_pause() -> None:
    assert spoken("I am fine today.How are you?Fine.") == "I am fine today. How are you? Fine."
    assert spoken("Is it so?(Yes.)Then...but why") == "Is it so? Yes, Then... but why"
    assert spoken("The end.2020 was bad.it was.") == "The end. twenty twenty was bad. it was."
    assert spoken("See fig.5, version.2 or .5") == "See figure five, version. two or zero point five"
    assert spoken("Dr.Smith lives in St.Louis.") == "Doctor Smith lives in Saint Louis."
