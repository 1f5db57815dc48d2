"""What a model's stream can be, row by row, over real HTTP: what is sent, and what the reader is left with."""

import json
from typing import Any

import pytest

from tests.stages.generator.serving import (
    DONE,
    Endpoint,
    Piece,
    chunk,
    data,
    event,
    finish,
    read,
)
from voice_agent.stages.generator.deltas import Finish, Usage

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOLD = b": open"  # a comment without its end: nothing follows


def part(kind: str, text: Any, key: str = "text") -> dict[str, Any]:
    return {"type": kind, key: text}


CONTENT: dict[str, tuple[dict[str, Any], str, str]] = {
    # delta: what is for the user, what is thought
    "text": ({"content": "Hi"}, "Hi", ""),
    "none": ({"content": None}, "", ""),
    "empty": ({}, "", ""),
    "number": ({"content": 42}, "42", ""),
    "fraction": ({"content": 4.5}, "4.5", ""),
    "truth": ({"content": True}, "", ""),
    "list of text": ({"content": [part("text", "Hi"), part("output_text", " you")]}, "Hi you", ""),
    "list of strings": ({"content": ["Hi", " you"]}, "Hi you", ""),
    "one part": ({"content": part("text", "Hi")}, "Hi", ""),
    "part without a type": ({"content": {"text": "Hi"}}, "Hi", ""),
    "text within text": ({"content": [part("text", {"value": "Hi"})]}, "Hi", ""),
    "content within": ({"content": {"content": "Hi"}}, "Hi", ""),
    "empty list": ({"content": []}, "", ""),
    "list of odd things": ({"content": [None, 5, True, [], {}, {"type": 3}]}, "5", ""),
    "part of nothing": ({"content": [{"type": "text"}, {"type": "text", "text": None}]}, "", ""),
    "picture": ({"content": [part("image_url", {"url": "x"}, "image_url"), part("text", "Hi")]}, "Hi", ""),
    "part of unknown type": ({"content": [part("citation", "[1]"), part("text", "Hi")]}, "Hi", ""),
    "thinking part": ({"content": [part("thinking", "Hm", "thinking"), part("text", "Hi")]}, "Hi", "Hm"),
    "Mistral's": ({"content": [part("thinking", [part("text", "Hm")], "thinking")]}, "", "Hm"),
    "reasoning part": ({"content": [part("reasoning", "Hm"), part("text", "Hi")]}, "Hi", "Hm"),
    "reasoning text": ({"content": [part("reasoning_text", "Hm")]}, "", "Hm"),
    "summary": ({"content": [part("summary_text", "Hm")]}, "", "Hm"),
    "hidden thought": ({"content": [part("redacted_thinking", "xyz", "data")]}, "", ""),
    "thought by flag": ({"content": [{"text": "Hm", "thought": True}, {"text": "Hi"}]}, "Hi", "Hm"),
    "refusal part": ({"content": [part("refusal", "I won't.", "refusal")]}, "I won't.", ""),
    "refusal": ({"content": None, "refusal": "I won't."}, "I won't.", ""),
    "no refusal": ({"content": "Hi", "refusal": None}, "Hi", ""),
    "reasoning_content": ({"content": None, "reasoning_content": "Hm"}, "", "Hm"),
    "reasoning": ({"content": "", "reasoning": "Hm"}, "", "Hm"),
    "reasoning as object": ({"reasoning": {"content": "Hm"}}, "", "Hm"),
    "reasoning and text": ({"content": "Hi", "reasoning": "Hm"}, "Hi", "Hm"),
    "reasoning twice": ({"reasoning": "Hm", "reasoning_content": "Hm"}, "", "Hm"),
    "reasoning_details": ({"reasoning_details": [part("reasoning.text", "Hm")]}, "", "Hm"),
    "reasoning summary": ({"reasoning_details": [part("reasoning.summary", "Hm", "summary")]}, "", "Hm"),
    "encrypted": ({"reasoning_details": [part("reasoning.encrypted", "xyz", "data")]}, "", ""),
    "thinking": ({"thinking": "Hm"}, "", "Hm"),
    "thinking blocks": ({"thinking_blocks": [part("thinking", "Hm", "thinking")]}, "", "Hm"),
    "thinking as truth": ({"thinking": True, "content": "Hi"}, "Hi", ""),
    "Gemini's flag": ({"content": "Hm", "extra_content": {"google": {"thought": True}}}, "", "Hm"),
    "flag in the delta": ({"content": "Hm", "thought": True}, "", "Hm"),
}


@pytest.mark.parametrize("row", CONTENT)
async def test_a_delta_says(endpoint: Endpoint, row: str) -> None:
    delta, text, thought = CONTENT[row]
    answer = await read(endpoint, delta, finish(), DONE)
    assert (answer.text, answer.thought) == (text, thought)
    assert answer.end == Finish("stop")


HI = {"delta": {"content": "Hi"}}
CHUNKS: dict[str, tuple[str, str]] = {
    # an event: what it says after "One"
    "no choices": (data({"choices": []}), "One"),
    "choices null": (data({"choices": None}), "One"),
    "choices as text": (data({"choices": "Hi"}), "One"),
    "choices of nothing": (data({"choices": [None, 5, "Hi", []]}), "One"),
    "choice of nothing": (data({"choices": [{}]}), "One"),
    "delta null": (chunk(delta=None), "One"),
    "delta as text": (chunk(delta="Hi"), "OneHi"),
    "delta as number": (chunk(delta=7), "One7"),
    "number": (data(5), "One"),
    "null": (data(None), "One"),
    "text": (data("Hi"), "One"),
    "list": (data([HI]), "One"),
    "no index": (data({"choices": [HI]}), "OneHi"),
    "index null": (data({"choices": [{"index": None, **HI}]}), "OneHi"),
    "index as text": (data({"choices": [{"index": "0", **HI}]}), "OneHi"),
    "another choice": (data({"choices": [{"index": 1, **HI}]}), "One"),
    "another beside it": (data({"choices": [{"index": 1, "delta": {"content": "No"}}, {**HI, "index": 0}]}), "OneHi"),
    "two without index": (data({"choices": [HI, HI]}), "OneHi"),
    "legacy text": (chunk(text="Hi"), "OneHi"),
    "a message of all so far": (chunk(message={"role": "assistant", "content": "OneHi"}), "One"),
    "a message beside the delta": (chunk(message={"content": "OneHi"}, **HI), "OneHi"),
    "usage": (data({"usage": {"total_tokens": 3}}), "One"),
    "error null": (data({"error": None, "choices": [{"index": 0, **HI}]}), "OneHi"),
    "error empty": (data({"error": {}, "choices": [{"index": 0, **HI}]}), "OneHi"),
    "error of a choice null": (chunk(error=None, **HI), "OneHi"),
    "message beside choices": (data({"message": "ok", "code": 0, "choices": [HI]}), "OneHi"),
    "comment": (": OPENROUTER PROCESSING\n\n", "One"),
    "other event": ("event: ping\ndata: {}\n\n", "One"),
    "named event": (f"event: completion\n{event(content='Hi')}", "OneHi"),
    "field unknown": ("data: {}\nbut: why\nid: 7\nretry: 10\n\n", "One"),
}  # fmt: skip


@pytest.mark.parametrize("row", CHUNKS)
async def test_a_chunk_says(endpoint: Endpoint, row: str) -> None:
    sent, text = CHUNKS[row]
    answer = await read(endpoint, "One", sent, " two", finish(), DONE)
    assert answer.text == f"{text} two"


ONE = event(content="One")
ENDS: dict[str, tuple[list[Piece], str, Finish]] = {
    "done": (["One", finish(), DONE], "One", Finish("stop")),
    "nothing after the reason": (["One", finish()], "One", Finish("stop")),
    "text with the reason": ([finish(content="One"), DONE], "One", Finish("stop")),
    "no reason": (["One", DONE], "One", Finish("stop")),
    "no reason and no mark": (["One"], "One", Finish("stop")),
    "mark in other words": (["One", 'data:"[DONE]"\n\n'], "One", Finish("stop")),
    "reason empty until the end": (
        [chunk(delta={"content": "One"}, finish_reason=""), chunk(delta={"content": " two"}, finish_reason="")],
        "One two",
        Finish("stop"),
    ),
    "text after the reason": (["One", finish(), " two", DONE], "One two", Finish("stop")),
    "a reason with each": (
        [finish(content="Hello "), finish(content="there, "), finish(content="you."), DONE],
        "Hello there, you.",
        Finish("stop"),
    ),
    "a reason with each, and no mark": (
        [finish(content="Hello "), finish(content="there."), finish("length")],
        "Hello there.",
        Finish("stop"),
    ),
    "a reason with each, and a thought": (
        [finish(content="<think>Hm"), finish(content=".</th"), finish(content="ink>Hello."), DONE],
        "Hello.",
        Finish("stop"),
    ),
    "a reason first": ([finish(content=""), "Hello.", finish("length"), DONE], "Hello.", Finish("length")),
    "a reason first and none after": ([finish(role="assistant"), "Hello.", DONE], "Hello.", Finish("stop")),
    "a reason and no more": ([finish("content_filter")], "", Finish("content_filter")),
    "text after the mark": (["One", DONE, " two"], "One", Finish("stop")),
    "garbage after the reason": (["One", finish(), "data: {nonsense\n\n"], "One", Finish("stop")),
    "an error after the reason": (["One", finish(), data({"error": "late"})], "One", Finish("stop")),
    "a second reason": (["One", finish("length"), finish("stop"), DONE], "One", Finish("length")),
    "usage after it": (
        ["One", finish(), data({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}), DONE],
        "One",
        Finish("stop", Usage(9, 2)),
    ),
    "usage with each": (
        [
            data({"choices": [HI], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}),
            chunk(delta={}, finish_reason="stop"),
        ],
        "Hi",
        Finish("stop", Usage(9, 1)),
    ),
    "usage of odd shape": (["One", finish(), data({"usage": {"prompt_tokens": "9"}})], "One", Finish("stop")),
    "nothing at all": ([finish(), DONE], "", Finish("stop")),
    "nothing but the mark": ([DONE], "", Finish("stop")),
    "white space": (["  ", "\n\n", " \t", finish(), DONE], "", Finish("stop")),
    "only thoughts": ([{"reasoning": "Hm"}, finish("length")], "", Finish("length")),
    "out of tokens in mid-thought": (["<think>Let me", " see", finish("length")], "", Finish("length")),
}  # fmt: skip
ENDS |= {
    f"reason {theirs}": (["One", finish(theirs), DONE], "One", Finish(ours))  # type: ignore[arg-type]
    for ours, reasons in {
        "stop": "stop STOP eos eos_token end_turn stop_sequence COMPLETE whatever",
        "length": "length LENGTH max_tokens MAX_TOKENS max_output_tokens model_length",
        "tool_calls": "tool_calls function_call tool_use",
        "content_filter": "content_filter SAFETY recitation refusal",
    }.items()
    for theirs in reasons.split()
}


@pytest.mark.parametrize("row", ENDS)
async def test_a_reply_ends(endpoint: Endpoint, row: str) -> None:
    body, text, end = ENDS[row]
    answer = await read(endpoint, *body)
    assert (answer.text, answer.end) == (text, end)


WHOLE = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"content": "Hi."}, "finish_reason": "stop"}],
}
BODIES: dict[str, tuple[list[Piece], str, str]] = {
    # body, its type, what it says
    "no stream": ([json.dumps(WHOLE).encode()], "application/json", "Hi."),
    "no stream, printed neatly": ([json.dumps(WHOLE, indent=2).encode()], "application/json", "Hi."),
    "no stream, in an event": ([data(WHOLE), DONE], "text/event-stream", "Hi."),
    "a document a line": (
        [b'{"choices":[{"delta":{"content":"Hi"}}]}\n', b'{"choices":[{"delta":{"content":"."}}]}\n'],
        "application/x-ndjson",
        "Hi.",
    ),
    "events as JSON": ([event(content="Hi."), finish()], "application/json", "Hi."),
    "events as text": ([event(content="Hi."), finish()], "text/plain", "Hi."),
    "byte order mark": ([b"\xef\xbb\xbf", event(content="Hi.").encode()], "text/event-stream", "Hi."),
    "carriage returns": ([event(content="Hi.").replace("\n", "\r\n").encode()], "text/event-stream", "Hi."),
    "only carriage returns": ([event(content="Hi.").replace("\n", "\r").encode()], "text/event-stream", "Hi."),
    "no blank lines": (
        [event(content="Hi").replace("\n\n", "\n"), event(content=".").replace("\n\n", "\n")],
        "text/event-stream",
        "Hi.",
    ),
    "no space": ([event(content="Hi.").replace("data: ", "data:")], "text/event-stream", "Hi."),
    "no end of line": ([event(content="Hi.").rstrip()], "text/event-stream", "Hi."),
    "many lines": (
        [b'data: {"choices":\ndata: [{"delta":\ndata: {"content": "Hi."}}]}\n\n'],
        "text/event-stream",
        "Hi.",
    ),
    "a byte at a time": (
        [bytes([byte]) for byte in (event(content="Hi 👍.") + finish()).encode()],
        "text/event-stream",
        "Hi 👍.",
    ),
    "bytes that are no text": (
        [b'data: {"choices":[{"delta":{"content":"Hi \xff."}}]}\n\n'],
        "text/event-stream",
        "Hi \ufffd.",
    ),
    "lines of Unicode within": (["Hi\u2028there\u0085now."], "text/event-stream", "Hi\u2028there\nnow."),
}  # fmt: skip


@pytest.mark.parametrize("row", BODIES)
async def test_a_body_says(endpoint: Endpoint, row: str) -> None:
    body, kind, text = BODIES[row]
    answer = await read(endpoint, *body, kind=kind)
    assert answer.text == text
    assert answer.end == Finish("stop")


TEXTS: dict[str, tuple[list[Piece], str]] = {
    "half a character in each": ([event(content="Hi \ud83d"), event(content="\udc4d.")], "Hi 👍."),
    "half a character at the end": ([event(content="Hi \ud83d")], "Hi \ufffd"),
    "half a character alone": ([event(content="Hi \ud83d"), " you"], "Hi \ufffd you"),
    "the other half alone": ([event(content="\udc4d"), " you"], "\ufffd you"),
    "halves with a thought between": (
        [event(content="\ud83d"), event(reasoning="Hm"), event(content="\udc4d")],
        "👍",
    ),
    "control characters": ([event(content="\x00Hi\x07\x1b\x7f you\n\there.")], "Hi you\n\there."),
    "byte order mark": ([event(content="\ufeff"), "Hi\ufeff."], "Hi."),
    "emoji": (["👍"], "👍"),
    "the same sign": (["*"] * 4000, "*" * 4000),
    "the beginning of a marker": (["<"] * 4000, "<" * 4000),
    "one long token": (["a" * 100_000], "a" * 100_000),
    "one long token of beginnings": (["<|" * 50_000], "<|" * 50_000),
    "tokens of a character": (list("Is a < b, or [1]?"), "Is a < b, or [1]?"),
}
TEXTS |= {
    f"special token {token}": (["Hello.", token, " user\nMore."], "Hello.")
    for token in (
        *("<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>", "<|endoftext|>", "<|end|>", "<|END_OF_TURN_TOKEN|>"),
        *("<｜end▁of▁sentence｜>", "<|im_start|>", "<|user|>", "[INST]", "<eos>", "<|EOT|>", "<turn|>"),
    )
}  # fmt: skip
TEXTS |= {
    f"header {header.encode()!r}": ([header, "Hello."], "Hello.")
    for header in (
        "<|im_start|>assistant\n",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|assistant|>\n",
        "<start_of_turn>model\n",
        "<s>",
        "<|begin_of_text|>",
        "<|unheard_of|>",
    )
}


@pytest.mark.parametrize("row", TEXTS)
async def test_text_arrives(endpoint: Endpoint, row: str) -> None:
    pieces, text = TEXTS[row]
    answer = await read(endpoint, *pieces, finish(), DONE)
    assert answer.text == text
