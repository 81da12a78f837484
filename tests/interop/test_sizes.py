"""The sizes that families list for projects: transformers counts as many parameters as they say."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from test_types import FAMILIES

SIZED = [name for name, family in FAMILIES.items() if "sizes" in family]


@pytest.mark.parametrize("name", SIZED)
def test_sizes_have_the_parameters_that_they_say(name):
    for size, fields in FAMILIES[name]["sizes"].items():
        # Ids that small vocabularies do not have.
        fields = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **fields}
        parameters = fields.pop("parameters")
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **fields))
        # Rows of positions that no token reads are not in native models.
        unread = FAMILIES[name]["reference"].get("first_position", 0) * model.config.hidden_size
        # What corrects the scores of experts, and Gemma 4's factor on a layer, are buffers there, and parameters here.
        kinds = ("e_score_correction_bias", "layer_scalar")
        corrections = sum(buffer.numel() for field, buffer in model.named_buffers() if field.endswith(kinds))
        assert sum(parameter.numel() for parameter in model.parameters()) + corrections - unread == parameters, size
