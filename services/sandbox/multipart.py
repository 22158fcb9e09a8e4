"""Reads multipart/form-data with each part's own content type, which frameworks drop where a part has no file name."""

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header


@dataclass(slots=True)
class FormPart:
    """One part as it came; header names are in lower case."""

    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def name(self) -> str:
        return self._option("name")

    @property
    def filename(self) -> str:
        return self._option("filename")

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def _option(self, name: str) -> str:
        _, options = parse_options_header(self.headers.get("content-disposition"))
        return options.get(name.encode(), b"").decode("utf-8", "replace")


class Reader:
    """Collects parts from the parser's callbacks."""

    def __init__(self) -> None:
        self.parts: list[FormPart] = []
        self.is_whole = False
        self._name = self._value = b""

    def on_part_begin(self) -> None:
        self.parts.append(FormPart())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self.parts[-1].headers[self._name.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._name = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def on_end(self) -> None:
        self.is_whole = True


def parts(content_type: str, body: bytes) -> list[FormPart] | None:
    """The parts in their order; None where the body is not a whole multipart/form-data."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        return None
    reader = Reader()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": reader.on_part_begin,
            "on_header_field": reader.on_header_field,
            "on_header_value": reader.on_header_value,
            "on_header_end": reader.on_header_end,
            "on_part_data": reader.on_part_data,
            "on_end": reader.on_end,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError:
        return None
    return reader.parts if reader.is_whole else None
