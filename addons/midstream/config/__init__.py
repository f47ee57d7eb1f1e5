"""midstream.toml as the rest of midstream sees it: whose a request is, whom to ask, by which route. Pure.

`values.py` has the types of its values, `tables.py` its tables; `file.py` reads it from disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from pydantic import Field, model_validator

from midstream.config.errors import ConfigError, MissingKey
from midstream.config.tables import (
    BUILT_IN,
    Gateway,
    Healing,
    Key,
    ProviderConfig,
    Retention,
    Route,
    Streams,
    Table,
    Target,
    built_in_fields,
)
from midstream.config.values import Listed, Name
from midstream.providers import provider_of, provider_of_model

__all__ = [
    "BUILT_IN",
    "Choice",
    "Config",
    "ConfigError",
    "Gateway",
    "Healing",
    "Key",
    "MissingKey",
    "ProviderConfig",
    "Retention",
    "Route",
    "Streams",
    "Target",
    "UnknownModel",
]

NAME_LENGTH = 200
"""Characters of a model's name that a complaint quotes."""

DEFAULT_ROUTE = Route()
"""For a request that no route matches: the provider asked for, alone (design section 6)."""


class UnknownModel(ConfigError):
    """The gateway was asked for a model, and nothing says which provider has it; the message says what to configure."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who answers a request on the gateway.

    model: without a `provider/` prefix. targets: whom to ask in turn, at least one, all of them with a dialect and a base_url.
    """

    provider: ProviderConfig
    model: str
    route: Route
    targets: tuple[Target, ...]


class Config(Table):
    """All of midstream.toml."""

    providers: dict[Name, ProviderConfig] = Field(default_factory=dict)
    """Providers that are added, or differ from what is built in."""
    routes: Listed[Route] = ()
    """What happens to requests; the first route whose globs match wins."""
    healing: Healing = Healing()
    """What all routes share: circuit breakers and retry budgets, one of each for a target."""
    streams: Streams = Streams()
    """How long a stream lives without a reader, and what is kept of it."""
    retention: Retention = Retention()
    """How long the database keeps a row for each stream."""
    gateway: Gateway = Gateway()
    """What midstream serves itself."""
    keys: dict[Name, Key] = Field(default_factory=dict)
    """Who may use the gateway."""

    @classmethod
    def default(cls) -> Self:
        """What holds without a file."""
        return cls()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        """Lay each provider's table over what is built in of it."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("providers"), Mapping):
            return raw
        tables = raw["providers"].items()
        completed = {k: {**built_in_fields(k), **t} if isinstance(t, Mapping) else t for k, t in tables}
        return {**raw, "providers": completed}

    def model_post_init(self, _: Any) -> None:
        for name, provider in self.providers.items():
            provider._name = name

    def provider(self, name: str) -> ProviderConfig | None:
        """A provider by name: as configured, else as built in, else None."""
        return self.providers.get(name) or BUILT_IN.get(name)

    def provider_of_host(self, host: str) -> ProviderConfig | None:
        """Whose an intercepted request is: configured hosts go first, in the file's order."""
        host = host.lower().rstrip(".")
        for provider in self.providers.values():
            if any(fnmatchcase(host, glob) for glob in provider.hosts):
                return provider
        known = provider_of(host)
        return None if known is None or known.name in self.providers else BUILT_IN[known.name]

    def route_for(self, provider: str, model: str) -> Route:
        """The first route that matches, else the default: 2 attempts at the provider asked for."""
        return next((route for route in self.routes if route.matches(provider, model)), DEFAULT_ROUTE)

    def provider_for_model(self, model: str) -> Choice:
        """Who answers a request on the gateway that names nothing but a model. Raises UnknownModel.

        `provider/model` says it; else the first route with targets whose model glob matches; else the model's own name does
        (`claude-…`). A route for one provider, whatever the model, counts only where that is the model's own.
        """
        prefix, _, rest = model.partition("/")
        named = self.provider(prefix) if rest else None
        if named is not None:
            return self._choice(named, rest, self.route_for(prefix, rest))
        own = provider_of_model(model)
        for route in self.routes:
            if route.targets and _meant_for(route, own, model):
                first = self.provider(route.targets[0].partition("/")[0])
                return self._choice(first, model, route)
        return self._choice(self.provider(own), model, self.route_for(own, model))

    def _choice(self, provider: ProviderConfig | None, model: str, route: Route) -> Choice:
        if provider is None:
            raise UnknownModel(_ask_for(model))
        targets = route.targets_for(provider.name, model)
        reachable = tuple(target for target in targets if self._reaches(target.provider))
        if not reachable:
            raise UnknownModel(
                f"no chat can be sent to {provider.name}: give [providers.{provider.name}] a dialect and a base_url"
            )
        return Choice(provider, model, route, reachable)

    def _reaches(self, name: str) -> bool:
        provider = self.provider(name)
        return provider is not None and provider.dialect is not None and provider.base_url is not None


def _meant_for(route: Route, own: str, model: str) -> bool:
    if not fnmatchcase(model, route.model):
        return False
    return route.model != "*" or route.provider == "*" or (bool(own) and fnmatchcase(own, route.provider))


def _ask_for(model: str) -> str:
    if not model:
        return 'no model was named: ask for one, such as "openai/gpt-4o"'
    shown = json.dumps(model[:NAME_LENGTH])
    return (
        f"no provider is known for the model {shown}: ask for it as PROVIDER/MODEL, or add a route to midstream.toml: "
        f'[[routes]] model = {shown} targets = ["PROVIDER"]'
    )
