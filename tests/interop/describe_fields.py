"""Describes configuration classes as one version of transformers has them: fields, defaults, aliases. Called by versions.ask."""

import dataclasses
import inspect
import json
import sys

import transformers
from transformers import AutoConfig, PretrainedConfig


def declared(kind):
    """Fields of a class by name, with their defaults; `...` for those without."""
    if dataclasses.is_dataclass(kind):
        own = {field.name: field.default for field in dataclasses.fields(kind)}
        made = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
        return {name: "..." if name in made else value for name, value in own.items()}
    parameters = inspect.signature(kind.__init__).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [one for one in parameters if one.kind in kinds and one.name != "self"]
    return {one.name: "..." if one.default is inspect.Parameter.empty else one.default for one in named}


question = json.load(sys.stdin)
base = set(declared(PretrainedConfig)) | set(PretrainedConfig().to_dict())
answer = {"version": transformers.__version__, "base": sorted(base)}
for name in question["kinds"]:
    try:
        made = AutoConfig.for_model(name)
    except ValueError:
        # This version does not have it.
        continue
    answer[name] = {
        "declared": declared(type(made)),
        "made": {key: value for key, value in made.to_dict().items()},
        "aliases": made.attribute_map,
    }
json.dump(answer, sys.stdout, default=str)
