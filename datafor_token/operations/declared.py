"""Applications as files, to be kept in git: read them, say what applying them would change, apply them.

A file is TOML or JSON with a list ``application``, each with the fields of ``token/update``. A secret or
initial password that is left out is kept; ``secret_file`` and ``secret_env`` say where one lies.
"""

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datafor_token.applications import rules
from datafor_token.applications.record import MASK, SECRETS, Application
from datafor_token.applications.registry import Registry
from datafor_token.crypto.keys import is_shared
from datafor_token.errors import Conflict, DataforTokenError, InvalidInput, NotFound, RuleError, about
from datafor_token.requests.forms import Body
from datafor_token.requests.schemas import UpdateSchema
from datafor_token.validation import strict_json, utf8
from datafor_token.validation.names import application_name, fold

_SCHEMA = UpdateSchema()
_BOOKKEEPING = ("createdDate", "lastModifiedDate", "creatorId", "previous")


@dataclasses.dataclass(frozen=True)
class Step:
    """What applying does to one application: ``action`` is ``create``, ``change``, ``delete`` or ``same``.

    ``changes`` has, by field, the old and the new value as they may be shown: secrets as stars. ``warnings`` are
    those of storing it.
    """

    action: str
    name: str
    changes: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    wanted: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    warnings: Sequence[str] = ()


def read(path: Path, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The applications that a file, or the files of a folder, declare; ``InvalidInput`` names every fault there is."""
    faults: dict[str, list[str]] = {}
    found: list[dict[str, Any]] = []
    origins: dict[str, str] = {}
    files = sorted(one for one in path.iterdir() if one.suffix in (".toml", ".json")) if path.is_dir() else [path]
    if not files:
        raise InvalidInput({str(path): [f"{path}: there is no .toml or .json file"]})
    for file in files:
        for number, declared in enumerate(_entries(file, faults), start=1):
            where = f"{file.name}, {_known_name(declared) or f'application {number}'}"
            try:
                wanted = _checked(declared, file.parent, environ)
            except InvalidInput as error:
                faults[where] = [f"{where}: {sentence}" for one in error.errors.values() for sentence in one]
                continue
            except DataforTokenError as error:
                faults[where] = [f"{where}: {error.message}"]
                continue
            key = fold(wanted["name"])
            if key in origins:
                faults[where] = [f"{where}: the same application stands in {origins[key]} too"]
            origins[key] = file.name
            found.append(wanted)
    if faults:
        raise InvalidInput(faults)
    return found


def plan(registry: Registry, declared: Sequence[Mapping[str, Any]], *, prune: bool) -> list[Step]:
    """What applying would do, changing nothing; ``InvalidInput`` names every fault that only the store can tell."""
    steps, faults = [], {}
    for one in declared:
        try:
            steps.append(_step(registry, dict(one)))
        except InvalidInput as error:
            name = one["name"]
            faults[name] = [f"{name}: {sentence}" for sentences in error.errors.values() for sentence in sentences]
        except Conflict as error:
            faults[one["name"]] = [f"{one['name']}: {error.message}"]
    if faults:
        raise InvalidInput(faults)
    if prune:
        kept = {fold(one["name"]) for one in declared}
        steps += [Step("delete", one.name) for one in registry.index().entries if fold(one.name) not in kept]
    return steps


def apply(registry: Registry, steps: Sequence[Step], creator: str) -> None:
    """Do what was planned."""
    for step in steps:
        if step.action in ("create", "change"):
            try:
                registry.save(step.wanted, creator)
            except Conflict as error:
                # Somebody rotated or renamed it since it was planned.
                raise Conflict("%(name)s: %(message)s", name=step.name, message=error.message) from None
        elif step.action == "delete":
            registry.delete(step.name)


def declaration(application: Application, now: float, *, with_secrets: bool) -> dict[str, Any]:
    """An application as a file declares it; public keys always, secrets only when asked for."""
    answer = {name: value for name, value in application.to_response(now).items() if name not in _BOOKKEEPING}
    for field in SECRETS:
        shown = with_secrets or (field == "secret" and not is_shared(application.algorithm))
        if shown and getattr(application, field):
            answer[field] = getattr(application, field)
        else:
            del answer[field]
    return answer


def _entries(file: Path, faults: dict[str, list[str]]) -> list[dict[str, Any]]:
    try:
        text = utf8.decode(file.read_bytes())
        content = strict_json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        faults[str(file)] = [f"{file} cannot be read: {error.strerror}"]
        return []
    except RuleError as error:
        faults[str(file)] = [about(str(file), error.message)]
        return []
    except (ValueError, RecursionError):
        # Without the parser's words, which can repeat a secret.
        faults[str(file)] = [f"{file} is not valid {'JSON' if file.suffix == '.json' else 'TOML'}"]
        return []
    entries = content.get("application") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        faults[str(file)] = [f"{file}: a list 'application' of applications is missing"]
        return []
    if isinstance(content, dict) and content.keys() != {"application"}:
        faults[str(file)] = [f"{file} has something else beside the list 'application'"]
    return entries


def _known_name(declared: Mapping[str, Any]) -> str | None:
    """Return the name that a file gives an application, if it is one: whatever else stands there is not repeated."""
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
    if "initpwd" not in values:
        # Unlike in a call, left out means kept: an export without secrets must not remove them.
        wanted["initpwd"] = None
    return wanted


def _from_file(field: str, path: Path) -> str:
    try:
        # Not a pipe, which would wait for ever.
        if not path.is_file():
            raise OSError
        return utf8.without_line_end(utf8.decode(path.read_bytes()))
    except OSError:
        raise InvalidInput.of(f"{field}_file", "names a file that cannot be read") from None
    except RuleError as error:
        raise InvalidInput.of(f"{field}_file", "names a file that %(detail)s", detail=error.message) from None


def _from_environment(field: str, text: str) -> str:
    try:
        # Python marks bytes that are not UTF-8 with half surrogates, which no key can have.
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
    after, warnings = registry.preview(wanted)
    if stored is None:
        return Step("create", after.name, wanted=wanted, warnings=warnings)
    old, new = declaration(stored, 0, with_secrets=True), declaration(after, 0, with_secrets=True)
    changes = {
        name: (MASK, MASK) if name in SECRETS else (old.get(name), new.get(name))
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    }
    return Step("change" if changes else "same", after.name, changes, wanted, warnings)


def as_json(applications: Sequence[Mapping[str, Any]]) -> str:
    """A JSON file that declares the applications."""
    return json.dumps({"application": applications}, indent=2, ensure_ascii=False) + "\n"
