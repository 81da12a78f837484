"""Rendered chats against transformers' own, which uses Jinja in Python: built-in templates, fixtures, and many corner cases."""

import json
from pathlib import Path

import pytest
from versions import ask

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
TEMPLATES = FIXTURES.parents[1] / "crate" / "src" / "tokenizer" / "chat" / "templates"
TURNS = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": " What burns\nlongest? \n"},
    {"role": "assistant", "content": "\n Beeswax — “naturally” <b>&amp;</b> "},
    {"role": "user", "content": "Why?"},
]
THINKING = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "<think>\nsum\n</think>\n\n4"},
    {"role": "user", "content": "And 3+3?"},
    {"role": "assistant", "reasoning_content": "another\nsum", "content": "6"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "melt",
            "description": "Melt <wax> & \"more\" — é",
            "parameters": {"type": "object", "properties": {"grams": {"type": "number", "default": 1.0, "maximum": 1e16}}, "required": []},
            "return": {"type": "string"},
        },
    }
]
CALLS = [
    {"role": "user", "content": "Melt 12 g"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "melt", "arguments": {"grams": 12.5, "é": None, "on": True}}}],
    },
    {"role": "tool", "tool_call_id": "abcdefghi", "name": "melt", "content": "done"},
]
PARTS = [
    {"role": "user", "content": [{"type": "text", "text": " Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A candle."}]},
]
DATE = {"date_string": "01 Jan 2026"}


def cases():
    """(name, template file or None for the tokenizer's own, model, messages, arguments)"""
    for name in ["chatml", "chatml_eos", "alpaca", "llama3", "mistral", "plain"]:
        for messages in (TURNS, TURNS[1:], TURNS[1:2]):
            for prompt in (False, True):
                yield name, TEMPLATES / f"{name}.jinja", "llama-gqa", messages, {"add_generation_prompt": prompt}
    for model in ["llama-gqa", "llama-gqa-4x", "mistral-sw8", "qwen3-tied"]:
        for messages in (TURNS, TURNS[1:], TURNS[1:3], [*TURNS, TURNS[3]]):
            yield model, None, model, messages, {"add_generation_prompt": True}
    files = FIXTURES / "chat_templates"
    for messages in (TURNS, TURNS[1:], CALLS):
        for tools in ({}, {"tools": TOOLS}):
            for more in ({}, {"in_question": False, "extras": ["code", "search"]}):
                arguments = {"add_generation_prompt": True, **DATE, **tools, **more}
                yield "tools", files / "tools_and_dates.jinja", "llama-gqa", messages, arguments
    for messages in (TURNS, THINKING, THINKING[:3], CALLS, [*CALLS, CALLS[2], THINKING[3]]):
        for arguments in ({"add_generation_prompt": True}, {"enable_thinking": False, "add_generation_prompt": True}, {"tools": TOOLS}):
            yield "thinking", files / "thinking.jinja", "qwen3-tied", messages, arguments
    for messages in (TURNS, TURNS[1:], [TURNS[1], TURNS[1]], CALLS, [TURNS[0]]):
        for arguments in ({}, {"tools": TOOLS}):
            yield "alternating", files / "alternating.jinja", "mistral-sw8", messages, arguments
    for messages in (TURNS, PARTS, TURNS[2:]):
        yield "parts", files / "parts.jinja", "llama-gqa", messages, {"add_generation_prompt": True}
    for messages in (TURNS, CALLS):
        yield "every corner", files / "every_corner.jinja", "llama-gqa", messages, {}


@pytest.fixture(scope="module")
def theirs():
    chats = [
        {
            "folder": str(FIXTURES / model),
            "template": template.read_text() if template else None,
            "messages": messages,
            "arguments": arguments,
        }
        for _, template, model, messages, arguments in cases()
    ]
    return ask("5", chats=chats, texts=[], tokens=[])["chats"]


def test_every_chat_is_rendered_as_in_python(chandlery, theirs, tmp_path):
    file = tmp_path / "chat.json"
    compared = refused = 0
    different = []
    for (name, template, model, messages, arguments), expected in zip(cases(), theirs, strict=True):
        file.write_text(json.dumps({"messages": messages, **arguments}))
        words = ["tokenizer", "chat", FIXTURES / model, "--messages", file, "--json"]
        if template:
            words += ["-t", template]
        if expected.startswith("error: "):
            done = chandlery(*words, status=1)
            refused += 1
            # An exception of the template has the template's words; what fails in Python fails here with other words.
            reason = expected.removeprefix("error: ").split("\n")[0]
            if reason not in done.stderr and "has no" not in reason and "can only" not in reason:
                different.append((name, expected, done.stderr))
            continue
        text = json.loads(chandlery(*words).stdout)["text"]
        compared += 1
        if text != expected:
            different.append((name, expected, text))
    assert not different, "\n".join(f"{name}\ntheirs: {theirs!r}\nours:   {ours!r}" for name, theirs, ours in different)
    assert compared > 80 and refused >= 4, (compared, refused)
