"""What transformers makes of tokenizer folders, as JSON: run by the tests under both versions, each in a process of its own.

Reads {"folders": {name: path}, "texts": [...], "tokens": [...], "chats": [...]} from standard input.
"""

import json
import sys

from transformers import AutoTokenizer

ROLES = ["bos", "eos", "pad", "unk", "sep", "cls", "mask"]


def describe(folder, texts, tokens):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    extra = getattr(tokenizer, "extra_special_tokens", None)
    if not isinstance(extra, list):
        extra = tokenizer.additional_special_tokens
    return {
        "length": len(tokenizer),
        "ids": tokenizer.convert_tokens_to_ids(tokens),
        "roles": {role: getattr(tokenizer, f"{role}_token_id") for role in ROLES},
        "special": sorted(tokenizer.all_special_ids),
        "additional": [str(token) for token in extra],
        "encoded": [tokenizer(text)["input_ids"] for text in texts],
        "plain": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts],
        "decoded": [tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) for text in texts],
        "chat_template": tokenizer.chat_template,
    }


def render(chat):
    tokenizer = AutoTokenizer.from_pretrained(chat["folder"])
    try:
        return tokenizer.apply_chat_template(
            chat["messages"], chat_template=chat.get("template"), tokenize=False, **chat.get("arguments", {})
        )
    except Exception as error:
        return f"error: {error}"


def main():
    given = json.load(sys.stdin)
    described = {name: describe(path, given["texts"], given["tokens"]) for name, path in given.get("folders", {}).items()}
    json.dump({"folders": described, "chats": [render(chat) for chat in given.get("chats", [])]}, sys.stdout)


if __name__ == "__main__":
    main()
