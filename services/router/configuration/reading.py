"""What a file wants, or every mistake in it with its line."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from services.router.configuration.document import Document, read
from services.router.configuration.errors import ConfigurationError
from services.router.configuration.forms import Wanted
from services.router.configuration.mistakes import mistakes


def load(text: str, file: str, variables: Mapping[str, str], channels: Collection[str]) -> Wanted:
    """What the file wants. `${NAME}` in it stands for a variable, `channels` are the names that exist.

    Raises ConfigurationError with every mistake as "file:line: what is wrong, what to do".
    """
    document = read(text, variables)
    sections = {name: section for name, section in document.values.items() if section is not None}
    wanted = _validated(document, sections)
    if not document.problems or wanted != Wanted():
        handles = {name: set(section) for name, section in sections.items() if isinstance(section, dict)}
        for path, what in mistakes(wanted, handles, channels):
            document.blame(path, what)
    if document.problems:
        raise ConfigurationError([f"{file}:{line}: {what}" for line, what in sorted(document.problems)])
    return wanted


def _validated(document: Document, sections: Mapping[str, Any]) -> Wanted:
    """All entries that are well formed; the others are blamed."""
    try:
        return Wanted.model_validate(sections)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    for one in found:
        document.blame(one["loc"], _sentence(one))
    broken = {one["loc"][:2] for one in found} | {one["loc"][:1] for one in found if len(one["loc"]) == 1}
    return Wanted.model_validate(
        {
            name: {handle: entry for handle, entry in section.items() if (name, handle) not in broken}
            for name, section in sections.items()
            if (name,) not in broken
        }
    )


def _sentence(error: Any) -> str:
    """A mistake of form in words; pydantic's own where they are clear. Never the value, it may be a secret."""
    where = ".".join(str(part) for part in error["loc"][2:] if part != "[key]") or str(error["loc"][-1])
    if error["type"] == "extra_forbidden":
        return f"`{where}` is not known here; remove it or mend its name"
    if error["type"] == "missing":
        return f"`{where}` is missing; add it"
    if error["type"] == "value_error":
        what = str(error["ctx"]["error"])
        return (
            f"`{error['loc'][1]}`: {what}" if error["loc"][-1] in ("[key]", error["loc"][1]) else f"`{where}`: {what}"
        )
    return f"`{where}`: {error['msg'][0].lower()}{error['msg'][1:]}"
