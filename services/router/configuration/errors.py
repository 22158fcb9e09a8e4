"""Why a configuration is not applied."""

from collections.abc import Sequence

from shared.errors import DragomanError


class ConfigurationError(DragomanError):
    """The configuration cannot be applied."""

    code = "bad_configuration"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)
