"What several test files need"
import os
import pytest
import torch
from genesis_course.support import CourseError


def message_of(function, *fragments):
    "What a function says of bad input: one sentence or two that hold these fragments"
    with pytest.raises(CourseError) as caught: function()
    message = str(caught.value)
    for fragment in fragments: assert fragment in message, message
    assert "\n" not in message
    return message


def normal(*shape, seed=0, dtype=torch.float64): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def trials(
    count,    # examples in a thorough run, such as `make shuffle`; a third of them elsewhere
    **more,   # for hypothesis.settings
):
    "How many examples hypothesis makes of a test"
    from hypothesis import settings          # not on every machine that runs chapters
    return settings(max_examples=count if os.environ.get("GENESIS_THOROUGH") else count//3, deadline=None, **more)
