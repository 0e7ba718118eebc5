"""Declared applications: files for git. Read them, plan the changes that they lead to, and apply these.

A file is TOML or JSON and has a list ``application``, whose entries have the fields of ``token/update``. A secret or
initial password that is left out keeps its stored value, and so does a field of the trust policy. ``secret_file`` and
``secret_env`` name a file or an environment variable with the secret; so do ``initpwd_file`` and ``initpwd_env``.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datafor_token.applications import rules
from datafor_token.applications.record import FIELDS, MASK, POLICY, SECRETS, Application
from datafor_token.applications.registry import Registry
from datafor_token.crypto.algorithms import is_shared
from datafor_token.errors import Conflict, DataforTokenError, InvalidInput, NotFound, RuleError, about
from datafor_token.requests.forms import Body
from datafor_token.requests.schemas import ApplicationSchema
from datafor_token.validation import files, strict_json, toml, utf8
from datafor_token.validation.names import application_name, fold

_SCHEMA = ApplicationSchema()
_LARGEST = 64 * 1024 * 1024  # bytes; tens of thousands of applications


@dataclasses.dataclass(frozen=True)
class Step:
    """Change of one application: ``action`` is ``create``, ``change``, ``delete`` or ``same``.

    ``changes`` has the old and the new value of each changed field, with secrets masked. ``wanted`` is what
    ``Registry.save`` takes, and ``warnings`` are those that it returns. ``undeclared`` has the fields of the trust
    policy that are stored and not declared, and stay. ``application`` is as it would be stored, None for a deleted one.
    """

    action: str
    name: str
    changes: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    wanted: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    warnings: Sequence[str] = ()
    undeclared: Sequence[str] = ()
    application: Application | None = dataclasses.field(default=None, repr=False)


def read(path: Path, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the applications that a file, or the files of a folder, declare.

    Raises ``InvalidInput`` with all errors of all files.
    """
    errors: dict[str, list[str]] = {}
    applications: list[dict[str, Any]] = []
    file_names: dict[str, str] = {}
    is_folder = path.is_dir()
    found = sorted(one for one in path.iterdir() if one.suffix in (".toml", ".json")) if is_folder else [path]
    if not found:
        raise InvalidInput({str(path): [f"{path} has no .toml or .json file"]})
    for file in found:
        for number, declared in enumerate(_entries(file, errors, waits=not is_folder), start=1):
            where = f"{file.name}, {_known_name(declared) or f'application {number}'}"
            try:
                wanted = _checked(declared, file.parent, environ)
            except InvalidInput as error:
                errors[where] = [f"{where}: {sentence}" for one in error.errors.values() for sentence in one]
                continue
            except DataforTokenError as error:
                errors[where] = [f"{where}: {error.message}"]
                continue
            key = fold(wanted["name"])
            if key in file_names:
                errors[where] = [f"{where}: the same application is also in {file_names[key]}"]
            file_names[key] = file.name
            applications.append(wanted)
    if errors:
        raise InvalidInput(errors)
    return applications


def plan(registry: Registry, declared: Sequence[Mapping[str, Any]], *, prune: bool) -> list[Step]:
    """Return the changes that applying would make; store nothing. ``prune`` deletes applications not declared.

    Raises ``InvalidInput`` with all errors that depend on the stored applications.
    """
    steps, errors = [], {}
    for wanted in declared:
        name = wanted["name"]
        try:
            steps.append(_step(registry, dict(wanted)))
        except InvalidInput as error:
            errors[name] = [f"{name}: {sentence}" for sentences in error.errors.values() for sentence in sentences]
        except Conflict as error:
            errors[name] = [f"{name}: {error.message}"]
    if errors:
        raise InvalidInput(errors)
    if prune:
        names = {fold(wanted["name"]) for wanted in declared}
        steps += [Step("delete", one.name) for one in registry.index().entries if fold(one.name) not in names]
    return steps


def apply(registry: Registry, steps: Sequence[Step], creator: str) -> None:
    """Make the planned changes; ``creator`` is recorded for new applications."""
    for step in steps:
        if step.action in ("create", "change"):
            try:
                registry.save(step.wanted, creator)
            except Conflict as error:
                # It was rotated or renamed since the plan.
                raise Conflict("%(name)s: %(message)s", name=step.name, message=error.message) from None
        elif step.action == "delete":
            registry.delete(step.name)


def declaration(application: Application, *, with_secrets: bool) -> dict[str, Any]:
    """Return the entry that declares an application; a public key is in it also without secrets."""
    entry = {name: value for name, value in application.to_response(now=0).items() if name in FIELDS}
    for field in SECRETS:
        is_included = with_secrets or (field == "secret" and not is_shared(application.algorithm))
        if is_included and getattr(application, field):
            entry[field] = getattr(application, field)
        else:
            del entry[field]
    return entry


def _entries(file: Path, errors: dict[str, list[str]], *, waits: bool) -> list[dict[str, Any]]:
    try:
        text = utf8.decode(files.read(file, _LARGEST, waits=waits))
        content = strict_json.loads(text) if file.suffix == ".json" else toml.loads(text)
    except OSError as error:
        errors[str(file)] = [f"{file} cannot be read: {error.strerror}"]
        return []
    except RuleError as error:
        errors[str(file)] = [about(str(file), error.message)]
        return []
    entries = content.get("application") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        errors[str(file)] = [f"{file}: the list 'application' is missing: begin each application with [[application]]"]
        return []
    if isinstance(content, dict) and content.keys() != {"application"}:
        errors[str(file)] = [
            f"{file} can only have the list 'application': name a table in it [application.require], for example"
        ]
    return entries


def _known_name(declared: Mapping[str, Any]) -> str | None:
    """Return the declared name if it is valid: an error repeats no other text of a file."""
    try:
        return application_name(rules.text(declared.get("name")))
    except RuleError:
        return None


def _checked(declared: Mapping[str, Any], folder: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    values = dict(declared)
    for field in SECRETS:
        file, variable = values.pop(f"{field}_file", None), values.pop(f"{field}_env", None)
        if sum(one is not None for one in (values.get(field), file, variable)) > 1:
            raise InvalidInput.of(
                field, "is given more than once: use one of %(field)s, %(field)s_file, %(field)s_env", field=field
            )
        if file is not None:
            values[field] = _from_file(field, folder / str(file))
        if variable is not None:
            if str(variable) not in environ:
                raise InvalidInput.of(f"{field}_env", "names an environment variable that is not set")
            values[field] = _from_environment(field, environ[str(variable)])
    wanted = _SCHEMA.read(Body(values, is_form=False))
    if values.get("initpwd") is None:
        # Unlike in a call, a password that is left out is kept: an export without secrets must not remove it.
        wanted["initpwd"] = None
    return wanted


def _from_file(field: str, path: Path) -> str:
    try:
        return utf8.without_line_end(utf8.decode(files.read(path)))
    except OSError:
        raise InvalidInput.of(f"{field}_file", "names a file that cannot be read") from None
    except RuleError as error:
        raise InvalidInput.of(f"{field}_file", "names a file that %(predicate)s", predicate=error.message) from None


def _from_environment(field: str, text: str) -> str:
    try:
        # Python decodes bytes that are not UTF-8 as lone surrogates, which no key can have.
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput.of(f"{field}_env", "names an environment variable that is not UTF-8 text") from None
    return text


def _step(registry: Registry, wanted: dict[str, Any]) -> Step:
    try:
        stored: Application | None = registry.get(wanted["name"])
    except NotFound:
        stored = None
    if wanted["initpwd"] is None:
        wanted["initpwd"] = MASK if stored and stored.initpwd else ""
    preview = registry.preview(wanted)
    after = preview.application
    if preview.stored is None:
        return Step("create", after.name, wanted=wanted, warnings=preview.warnings, application=after)
    # ``jwks_uri`` stays like a secret that is left out.
    undeclared = [name for name in POLICY if name not in {*wanted, "jwks_uri"} and getattr(after, name)]
    action = "change" if preview.changes else "same"
    return Step(action, after.name, preview.changes, wanted, preview.warnings, undeclared, after)


def as_json(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a JSON file with these entries."""
    return json.dumps({"application": entries}, indent=2, ensure_ascii=False) + "\n"
