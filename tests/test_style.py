"""Style of the texts: plain English, without the private words of earlier versions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

# Phrases that have a standard word, which CONTRIBUTING.md lists.
PHRASES = [
    r"can not", r"whoever", r"ever so", r"dearer", r"of use", r"goes? on",
    r"counts? (no longer|still|again|everywhere|at)",
    r"goes before", r"comes furthest", r"not lately", r"anew", r"be there", r"(is|are) not there",
    r"(is|are|was|were) there (already|still|again)", r"what became of", r"stands? (before|under|beside|in)(?! for)",
    r"judged?", r"told", r"as ever", r"the seed", r"(is|are|was|were) made", r"broken off",
    r"is no (text|token|key|error|fault)", r"is none(?! of)", r"by itself", r"what is wrong", r"called as", r"vouch\w*",
    r"have (it|them) (choose|read)", r"answer(s|ed)?",
]  # fmt: skip
# Documents outside the repository, which its readers do not have.
OUTSIDE = [r"contract(?:'s)? section", r"\.\./shared", r"security\.md W\d", r"issue \d+"]
FOLDERS = ("datafor_token", "tests", "docs", "config")
SUFFIXES = {".py", ".md", ".html", ".js", ".toml", ".conf", ".yml", ".service"}
PHRASE = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)
OUTSIDE_REFERENCE = re.compile("|".join(OUTSIDE), re.IGNORECASE)
# Words that are fixed outside this file: messages that clients depend on, names of libraries, code.
ALLOWED = [
    # Documented messages.
    r"can not be empty", r"name does not exist",
    # pytest and Python.
    r"\bis None\b", r"--seed\b", r"randomly_seed", r"random\.seed", r"derandomize",
]  # fmt: skip
EXEMPT = re.compile("|".join(ALLOWED))
DOCSTRING = re.compile(r"(What|Whoever|Whether|Who|Where|Whose)\b")
# This list of phrases itself.
NOT_CHECKED = {"tests/test_style.py"}


def texts() -> Iterator[Path]:
    """Yield the files that are written for readers."""
    yield from sorted(ROOT.glob("*.md"))
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            hidden = {"node_modules", "__pycache__", "vendor"} & set(path.parts)
            if path.suffix in SUFFIXES and not hidden and str(path.relative_to(ROOT)) not in NOT_CHECKED:
                yield path


FILES = [str(path.relative_to(ROOT)) for path in texts()]


def test_phrases() -> None:
    """No text has one of the old phrases, or refers to a document outside the repository."""
    found = []
    for name in FILES:
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
            plain = EXEMPT.sub("", line)
            found += [f"{name}:{number}: {match[0]}" for match in PHRASE.finditer(plain)]
            found += [f"{name}:{number}: {match[0]}" for match in OUTSIDE_REFERENCE.finditer(line)]
    assert found == []


def test_docstrings() -> None:
    """A docstring starts with a noun phrase or a verb, and not with a relative or question word."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = []
    for name in FILES:
        tree = ast.parse((ROOT / name).read_text() if name.endswith(".py") else "")
        docstrings = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
        found += [f"{name}: {docstring}" for docstring in docstrings if DOCSTRING.match(docstring)]
    assert found == []
