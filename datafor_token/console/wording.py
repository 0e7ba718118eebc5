"""What the domain says in English, in the reader's language: its sentences are found again by their form.

The domain knows no languages, and its words are those of the calls. Each template below is one of its
sentences, with a name in brackets where it puts something in; a test finds every sentence of the
code here. What is not found is shown as it is.
"""

import functools
import re

from datafor_token.console.language import code, gettext
from datafor_token.console.sentences import SENTENCES


def say(sentence: str) -> str:
    """The sentence in the reader's language."""
    if code() == "en":
        return sentence
    for template, pattern in _patterns():
        found = pattern.fullmatch(sentence)
        if found is not None:
            # What was put in may be a sentence of its own, such as what is wrong with a user name.
            return gettext(template) % {name: say(value) for name, value in found.groupdict().items()}
    return sentence


def predicate(field: str, sentence: str) -> str:
    """A sentence about a field without the field's name, to stand beside it: ``can not be empty``."""
    return say(sentence.removeprefix(f"{field} "))


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    # The longest fixed text first: a template that is nothing but a gap would fit everything.
    ordered = sorted(SENTENCES, key=lambda template: len(re.sub(r"%\(\w+\)s", "", template)), reverse=True)
    return [(template, _pattern(template)) for template in ordered]


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"%\((\w+)\)s", template)
    fixed = [re.escape(part.replace("%%", "%")) for part in parts[::2]]
    gaps = [f"(?P<{name}>.*)" for name in parts[1::2]]
    return re.compile("".join(part + gap for part, gap in zip(fixed, [*gaps, ""], strict=True)), re.DOTALL)
