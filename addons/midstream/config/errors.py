"""What is wrong with a configuration, or with what it counts on."""

from __future__ import annotations


class ConfigError(ValueError):
    """The configuration is at fault; `problems` are its complaints, one a line of str()."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class MissingKey(ConfigError):
    """A provider's API key is to come from an environment variable that is not set, or cannot be sent in a header. The file may
    be well as it is.

    ahead: the same said before anybody has asked the provider. mend: what is to be done.
    """

    def __init__(self, provider: str, variable: str, problem: str, mend: str) -> None:
        super().__init__(f"provider {provider}: the environment variable {variable}, its api_key, {problem}")
        self.ahead = (
            f"[providers.{provider}] api_key: the environment variable {variable} {problem}: "
            f"requests to {provider} will fail until it is"
        )
        self.mend = mend
