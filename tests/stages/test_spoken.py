import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from num2words import num2words

from voice_agent.stages.spoken import spoken

UNTIMED = settings(deadline=None)  # other work on the machine must not fail a property

EXAMPLES = {
    "markdown": [
        (
            "**Bold** and *it* and ***both*** and __this__ and _that_.",
            "Bold and it and both and this and that.",
        ),
        ("**the first half of", "the first half of"),
        ("the second half.**", "the second half."),
        ("~~gone~~ `code_here()`", "gone code here"),
        ('See [a link](https://x.com/y "title") or [one][2].', "See a link or one."),
        ("![a cat](cat.png)", "a cat"),
        ("A claim[1] and another.[^2]", "A claim and another."),
        ("# Heading", "Heading."),
        ("### Is it? ###", "Is it?"),
        ("- Item one", "Item one."),
        ("* [x] Done", "Done."),
        ("• Item", "Item."),
        ("1. First", "one. First."),
        ("12) Twelfth", "twelve. Twelfth."),
        ("> quoted", "quoted"),
        ("> > - deep", "deep."),
        ("---", ""),
        ("***", ""),
        ("| Name | Age |\n|---|:-:|\n| Bob | 5 |", "Name, Age. Bob, five."),
        ("Run:\n```sh\nls -l\n```\nDone", "Run: Code omitted. Done"),
        ("```python\n", "Code omitted."),
        ("Text\n\n- one\n- two;\n\nEnd", "Text. one. two; End"),
        ("not \\*bold\\*", "not bold"),
    ],
    "html and faces": [
        ("<b>Bold</b><br/>and &amp; more", "Bold and and more"),
        ("Use a `<div>` here<!-- why -->.", "Use a div here."),
        ("a<b and x > y", "a is less than b and x is greater than y"),
        ("x<y and y>z is true.", "x is less than y and y is greater than z is true."),
        ("a &lt; b, a&lt;b and c&gt;d", "a is less than b, a is less than b and c is greater than d"),
        ("The <unknown> tag and <your name here> please.", "The unknown tag and your name here please."),
        ("A List<String> and Dict<str, int>.", "A List String and Dict str, int."),
        ("if a<b then c>d: a</b>", "if a is less than b then c is greater than d: a"),
        ("<p class='x'>One</p> <BR> <odd>two</odd> </thing> <div id=a><img src='a.png' />", "One two"),
        ("<think>So</think> <prosody rate='slow'>it is</prosody>", "So it is"),
        ("Hi 🎉👍🏽 there 🇫🇷 1️⃣ ❤️!", "Hi there one!"),
        ("I am Ann 👋 How are you?", "I am Ann. How are you?"),
        ("Family 👨‍👩‍👧‍👦.", "Family."),
        ("👍", ""),
        (":) hi ;-) <3", "hi"),
    ],
    "symbols": [
        ("R&D, AT&T & C++ vs C#", "R and D, AT and T and C plus plus versus C sharp"),
        (
            "a = b, x != y, p <= q, r >= s",
            "a equals b, x does not equal y, p is at most q, r is at least s",
        ),
        (
            "~5, ≈5, <5, >5, ±5",
            "about five, about five, less than five, more than five, plus or minus five",
        ),
        ("x < y > z", "x is less than y is greater than z"),
        ("A → B -> C", "A to B to C"),
        ("Settings > Network", "Settings, Network"),
        ("#1 and #python @home", "number one and hashtag python at home"),
        ("and/or, he/she, on/off, w/ it, w/o it", "and or, he or she, on slash off, with it, without it"),
        ("word — word – word - word—word", "word, word, word, word, word"),
        ("one (two) three [four]", "one, two, three, four"),
        ("file(s) f(x) len(my_list)", "files f x len my list"),
        ("“Quoted,” she said. It’s ‘fine’.", "Quoted, she said. It's fine."),
        ("Wait... what?! Well… no!!!", "Wait... what? Well... no!"),
        ("-m and --flag", "dash m and dash flag"),
        ("π and Δ", "pi and delta"),
        ("©2024, 5°", "copyright twenty twenty-four, five degrees"),
    ],
    "numbers": [
        ("0 7 42 100", "zero seven forty-two one hundred"),
        (
            "1,234 and 1234567",
            "one thousand two hundred and thirty-four and one million two hundred and thirty-four "
            "thousand five hundred and sixty-seven",
        ),
        ("3.14, 0.50, .5", "three point one four, zero point five zero, zero point five"),
        ("-5, −3.5, (-2)", "minus five, minus three point five, minus two"),
        ("007", "zero zero seven"),
        ("1st 2nd 3rd 21st 100th", "first second third twenty-first one hundredth"),
        ("1/2, 2/3, 3/4, 7/8", "one half, two thirds, three quarters, seven eighths"),
        ("1 1/2, 2½, ¾", "one and a half, two and a half, three quarters"),
        ("8/10, 22/7", "eight out of ten, twenty-two over seven"),
        ("24/7 since 9/11", "twenty-four seven since nine eleven"),
        ("5-10, 5–10, 5 - 10", "five to ten, five to ten, five to ten"),
        ("-10 to -5", "minus ten to minus five"),
        ("5%, 10-15%, 2.5 %", "five percent, ten to fifteen percent, two point five percent"),
        ("5k, 10K, 3M, 2B people", "five thousand, ten thousand, three million, two billion people"),
        ("3:1 odds", "three to one odds"),
        (
            "5-year-old, COVID-19, GPT-4, H2O, B12",
            "five year-old, COVID nineteen, GPT four, H two O, B twelve",
        ),
        (
            "12345678901234567890",
            "one two three four five six seven eight nine zero one two three four five six seven "
            "eight nine zero",
        ),
        ("٣ and ５", "three and five"),
    ],
    "sums": [
        ("2 + 2 = 4", "two plus two equals four"),
        ("5 - 3 = 2", "five minus three equals two"),
        ("3 * 4 = 12, 3×4=12", "three times four equals twelve, three times four equals twelve"),
        ("6 / 2, 6 ÷ 2", "six divided by two, six divided by two"),
        ("x^2 + y³ = 10^6", "x squared plus y cubed equals ten to the power of six"),
        (
            "√16, 10⁻³, 2²⁴",
            "the square root of sixteen, ten to the power of minus three, two to the power of twenty-four",
        ),
        (
            "$x^2 = \\frac{a}{b}$ and \\(\\sqrt{2}\\)",
            "x squared equals a over b and the square root of two",
        ),
        ("$2x + 3$ costs $5", "two x plus three costs five dollars"),
    ],
    "years and counts": [
        ("in 1999", "in nineteen ninety-nine"),
        ("In 1999 people danced.", "In nineteen ninety-nine people danced."),
        ("1999 people", "one thousand nine hundred and ninety-nine people"),
        ("It was 1969.", "It was nineteen sixty-nine."),
        ("2024 was good", "twenty twenty-four was good"),
        ("from 1905 to 2005", "from nineteen oh-five to two thousand and five"),
        ("1914-1918, 2024-25", "nineteen fourteen to nineteen eighteen, twenty twenty-four to twenty-five"),
        (
            "the 1990s, the '60s, his 20s, 1900s",
            "the nineteen nineties, the sixties, his twenties, nineteen hundreds",
        ),
        ("1500 steps", "one thousand five hundred steps"),
    ],
    "dates": [
        ("2024-03-05", "March fifth, twenty twenty-four"),
        ("03/05/2024", "March fifth, twenty twenty-four"),
        ("25/12/2024", "December twenty-fifth, twenty twenty-four"),
        ("05.03.2024", "March fifth, twenty twenty-four"),
        ("3/5/99", "March fifth, nineteen ninety-nine"),
        ("99/99/2024", "nine nine, nine nine, two zero two four"),
        ("March 5th, 2024", "March fifth, twenty twenty-four"),
        ("on Mar. 5 at noon", "on March fifth at noon"),
        ("5 March 2024", "the fifth of March, twenty twenty-four"),
        ("the 5th of March", "the fifth of March"),
        ("by 11/03", "by November third"),
        ("May 2024", "May twenty twenty-four"),
        ("March 3-5", "March third to fifth"),
        ("2024-03-05T14:05:00Z", "March fifth, twenty twenty-four, fourteen oh five and zero seconds"),
        ("Mon-Fri and Sat.", "Monday to Friday and Saturday."),
    ],
    "times": [
        ("3:30 pm, 3:30pm, 3:30 P.M.", "three thirty P M, three thirty P M, three thirty P M."),
        ("14:05, 15:00, 3:00", "fourteen oh five, fifteen hundred, three o'clock"),
        ("6 a.m. on Friday", "six A M on Friday"),
        ("at 6 a.m.", "at six A M."),
        ("9am-5pm, 9:00–17:30", "nine A M to five P M, nine o'clock to seventeen thirty"),
        ("5-7 pm", "five to seven P M"),
        ("7h 55m", "seven hours fifty-five minutes"),
    ],
    "telephone numbers and codes": [
        ("(555) 123-4567", "five five five, one two three, four five six seven"),
        ("555-123-4567", "five five five, one two three, four five six seven"),
        ("1-800-555-0199", "one, eight zero zero, five five five, zero one nine nine"),
        ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
        ("555-1234", "five five five, one two three four"),
        ("Call 911 now", "Call nine one one now"),
        ("500-1000 people", "five hundred to one thousand people"),
        ("CA 94043", "CA nine four zero four three"),
        ("Flight BA117, order A1234-56", "Flight BA one one seven, order A one two three four, five six"),
        ("1Z99AA10", "one Z nine nine A A one zero"),
        ("Exit 42B", "Exit forty-two B"),
        (
            "v1.2.3, 10.4.1, 127.0.0.1",
            "version one point two point three, ten point four point one, one hundred and twenty-"
            "seven dot zero dot zero dot one",
        ),
    ],
    "money": [
        (
            "$5, $1, $1.50, $0.99, $1.01",
            "five dollars, one dollar, one dollar and fifty cents, ninety-nine cents, one dollar and "
            "one cent",
        ),
        ("$1,299.99", "one thousand two hundred and ninety-nine dollars and ninety-nine cents"),
        (
            "€20, 20€, 20 €, £1, ¥500, 50¢",
            "twenty euros, twenty euros, twenty euros, one pound, five hundred yen, fifty cents",
        ),
        (
            "£3.5m, $2 million, $1bn, $5k",
            "three point five million pounds, two million dollars, one billion dollars, five thousand"
            " dollars",
        ),
        ("$5-10, $5–$10", "five to ten dollars, five to ten dollars"),
        ("US$5, -$5", "five U S dollars, minus five dollars"),
        ("$5/month, $12.50/hr", "five dollars per month, twelve dollars and fifty cents per hour"),
        ("It costs $5. OK", "It costs five dollars. OK"),
    ],
    "units": [
        (
            "5 km, 1 km, 5km, 5-km run",
            "five kilometers, one kilometer, five kilometers, five kilometer run",
        ),
        ("5-10 km", "five to ten kilometers"),
        (
            "20°C, -5 °C, 72°F, 45°",
            "twenty degrees Celsius, minus five degrees Celsius, seventy-two degrees Fahrenheit, "
            "forty-five degrees",
        ),
        (
            "60 mph, 100 km/h, 9.8 m/s²",
            "sixty miles per hour, one hundred kilometers per hour, nine point eight meters per "
            "second squared",
        ),
        (
            "3kg, 10 MB, 100 Mbps, 2.4 GHz",
            "three kilograms, ten megabytes, one hundred megabits per second, two point four gigahertz",
        ),
        ("5'10\", 6', 15\" wide", "five feet ten, six feet, fifteen inches wide"),
        ('a 6.1" screen', "a six point one inch screen"),
        ('"I have 5"', "I have five"),
        ("30 m², 5 sq ft, 2 m^3", "thirty square meters, five square feet, two cubic meters"),
        ("6 ft. 2 in. tall", "six feet two inches tall"),
        (
            "2x faster, 1920x1080",
            "two times faster, one thousand nine hundred and twenty by one thousand and eighty",
        ),
        ("10 min. walk, 5 lbs.", "ten minutes walk, five pounds."),
        (
            "1/2 tsp, 1 1/2 cm, 120/80 mmHg",
            "one half teaspoon, one and a half centimeters, one hundred and "
            "twenty over eighty millimeters of mercury",
        ),
        ("5 in the morning", "five in the morning"),
    ],
    "addresses": [
        ("https://example.com/docs", "example dot com slash docs"),
        ("https://docs.python.org/3/library/asyncio.html?x=1#y", "docs dot python dot org"),
        ("Visit www.example.com.", "Visit example dot com."),
        ("bob.smith@example.co.uk", "bob dot smith at example dot co dot uk"),
        ("<https://example.com>", "example dot com"),
        ("file.py, index.html, Node.js, .env", "file dot py, index dot H T M L, Node dot J S, dot env"),
    ],
    "abbreviations": [
        (
            "Dr. Smith, Mr. Jones, Mrs. May, Prof. Lee",
            "Doctor Smith, Mister Jones, Missus May, Professor Lee",
        ),
        ("Dr Smith and Mr Jones", "Doctor Smith and Mister Jones"),
        (
            "12 Park Dr. is near St. Paul on Main St.",
            "twelve Park Drive is near Saint Paul on Main Street.",
        ),
        ("e.g. this, i.e. that, E.g., so", "for example this, that is that, for example, so"),
        ("cats vs. dogs etc. and so on", "cats versus dogs et cetera and so on"),
        ("and so on, etc.", "and so on, et cetera."),
        ("The U.S. Army and the U.S.", "The U S Army and the U S."),
        ("NASA and the FBI", "NASA and the FBI"),
        ("J. R. R. Tolkien, Ph.D.", "J R R Tolkien, P H D."),
        ("No. 5, p. 4, Fig. 2, approx. 3", "number five, page four, Figure two, approximately three"),
        ("c. 1600", "circa sixteen hundred"),
        ("No. I won't.", "No. I won't."),
        (
            "World War II, Chapter IV, Henry VIII, World War I.",
            "World War two, Chapter four, Henry the eighth, World War one.",
        ),
        ("Part I like, and I said", "Part I like, and I said"),
        ("I, CIVIL, MIX, vitamin C, D", "I, CIVIL, MIX, vitamin C, D"),
    ],
    "nothing to do": [
        (
            "If you want to learn, it's well-known that you should.",
            "If you want to learn, it's well-known that you should.",
        ),
        ("  Spaces   and\ttabs ", "Spaces and tabs"),
        ("", ""),
        (" \n ", ""),
        ("...", ""),
        ("café naïve Zürich", "café naïve Zürich"),
        ("你好。", "你好."),
    ],
}


@pytest.mark.parametrize(
    ("text", "said"),
    [pytest.param(*pair, id=f"{kind}: {pair[0]}") for kind in EXAMPLES for pair in EXAMPLES[kind]],
)
def test_says_what_is_written(text: str, said: str) -> None:
    assert spoken(text) == said


SIGNS = st.sampled_from(
    (
        "5", "1,000", "3.14", "1/2", "10-20", "2024-03-05", "03/05/2024", "14:05", "3pm", "p.m.",
        "$", "€", "£", "¢", "%", "°", "°C", "km", "m²", "x", "×", "²", "⁵", "½", "^", "√", "+", "-",
        "−", "=", "!=", "<=", ">", "<", "&", "#", "@", "/", "\\", "~", "|", "_", "*", "**", "***",
        "`", "```", "~~~", "[", "]", "(", ")", "{", "}", "[a](b)", "![c](d)", "https://", "www.",
        "a.b.com", "me@x.org", ".py", "v2", "Dr.", "St.", "U.S.", "No.", "etc.", "e.g.", "II",
        "Henry", "War", "in", "the", "hello", "World", ".", ",", "!", "?", "…", "...", ":", ";",
        "'", '"', "’", "“", "🎉", "👍🏽", "❤️", "1️⃣", "①", "Ⅳ", "™", "©", "→", "&amp;", "<b>",
        "</b>", "\\frac{", "'s", "1990s", "# ", "1. ", "> ", "- ", "July", "May 5", "of",
        "555-1234", "+1", "5'10\"", " ", " ", "\n", "\t",
    )
)  # fmt: skip
TEXTS = st.lists(SIGNS | st.text(max_size=4), max_size=40).map("".join) | st.text(max_size=200)


@UNTIMED
@given(TEXTS)
@example("1" * 400)
@example("$" + "9" * 40 + ".99 " + "1/0 0/0 99/99/9999 24:59 $.5 $1. 1e5 5.5.5.5.5")
@example("²" * 5 + "½" * 3)
def test_only_words_and_punctuation_are_left(text: str) -> None:
    said = spoken(text)
    for char in said:
        assert char in " .,;:!?'-" or unicodedata.category(char) in (
            "Lu",
            "Ll",
            "Lt",
            "Lm",
            "Lo",
            "Mn",
            "Mc",
        ), repr(char)
    assert said == said.strip()
    assert not re.search(r"  | [.,;:!?]|^[.,;:!?'-]|[,;:!?]{2}", said)
    assert not said or any(map(str.isalpha, said))


@UNTIMED
@given(st.integers(0, 10**15 - 1))
def test_every_number_reads_back_as_itself(value: int) -> None:
    assert spoken(f"I counted {value:,} of them") == f"I counted {num2words(value).replace(',', '')} of them"


@UNTIMED
@given(
    st.lists(st.sampled_from(("the", "cat", "sat", "on", "a", "mat", "and", "it's", "well-worn")), min_size=1)
)
def test_plain_words_are_left_as_they_are(words: list[str]) -> None:
    assert spoken(" ".join(words)) == " ".join(words)
