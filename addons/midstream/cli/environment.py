"""What a program's environment must say for its HTTP stack to come through the proxy and trust its CA. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

PROXY_VARIABLES = (
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "WSS_PROXY",  # aiohttp looks for a WebSocket's proxy under its own scheme; websockets prefers it to SOCKS_PROXY
    "WS_PROXY",
)
"""Set in both cases: curl reads http_proxy in lower case alone. Not ALL_PROXY: programs take it for ssh, ftp and SMTP too."""

BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL, Go, httpx and with it most SDKs, uv, Ruby, rustls-native-certs
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
    "AWS_CA_BUNDLE",  # boto3, the aws command
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CODEX_CA_CERTIFICATE",
    "NIX_SSL_CERT_FILE",
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
)
"""Each *replaces* its program's roots, so the bundle has them all."""

EXTRA_VARIABLES = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
"""Each *adds* to its program's roots."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

JAVA_PASSWORD = "changeit"  # noqa: S105 - Java's customary one; the file holds public certificates


@dataclass(frozen=True, slots=True)
class Route:
    """The way through the proxy: its port, the files to trust, and (for Java) a trust store."""

    host: str
    port: int
    bundle: str
    extra: str
    java_trust_store: str = ""
    proxy_localhost: bool = False


def child_environment(base: Mapping[str, str], route: Route) -> dict[str, str]:
    """The user's environment with ours laid over it."""
    url = f"http://{route.host}:{route.port}"
    result = dict(base)
    for name in PROXY_VARIABLES:
        result[name] = result[name.lower()] = url
    result["NO_PROXY"] = result["no_proxy"] = no_proxy(base, route.proxy_localhost)
    result.update(dict.fromkeys(BUNDLE_VARIABLES, route.bundle))
    result.update(dict.fromkeys(EXTRA_VARIABLES, route.extra))
    result["NODE_USE_ENV_PROXY"] = "1"
    if route.java_trust_store:
        options = [base.get("JAVA_TOOL_OPTIONS", ""), *_java_options(route, result["NO_PROXY"])]
        result["JAVA_TOOL_OPTIONS"] = " ".join(filter(None, options))
    return result


def variable(environment: Mapping[str, str], name: str) -> str:
    """A proxy variable in either case; as in curl, the lower case wins."""
    return environment.get(name.lower()) or environment.get(name.upper()) or ""


def no_proxy(base: Mapping[str, str], proxy_localhost: bool) -> str:
    """The user's exceptions, and the machine itself unless its model servers are to be measured too."""
    names = [name.strip() for name in variable(base, "no_proxy").split(",") if name.strip()]
    if proxy_localhost:
        return ",".join(name for name in names if not is_local(name))
    return ",".join([*names, *(name for name in LOCAL_NAMES if name not in names)])


def is_local(name: str) -> bool:
    """Whether a host, or an entry of NO_PROXY (with a port, a leading dot or a network), is this machine."""
    name = name.lower().removeprefix(".").partition("/")[0]
    with_port = name.startswith("[") or name.count(":") <= 1
    host = re.split(r"]|:(?=\d*$)", name.lstrip("["))[0] if with_port else name
    return host in ("localhost", "::1", "*.localhost") or host.startswith("127.")


def hides(entry: str, host: str) -> bool:
    """Whether an entry of NO_PROXY keeps a host's requests from the proxy."""
    entry = entry.strip().lower().partition(":")[0]
    name = entry.removeprefix("*").removeprefix(".")
    return entry == "*" or (bool(name) and (host == name or host.endswith(f".{name}")))


def _java_options(route: Route, exceptions: str) -> list[str]:
    hosts = "|".join(_java_host(name) for name in exceptions.split(",") if name)
    proxies = [
        f"-D{scheme}.proxy{key}" for scheme in ("https", "http") for key in (f"Host={route.host}", f"Port={route.port}")
    ]
    return [
        *proxies,
        f"-Dhttp.nonProxyHosts={hosts}",  # empty is none; left out, Java would except localhost by itself
        f"-Djavax.net.ssl.trustStore={_java_quoted(route.java_trust_store)}",
        "-Djavax.net.ssl.trustStoreType=PKCS12",
        f"-Djavax.net.ssl.trustStorePassword={JAVA_PASSWORD}",
    ]


def _java_host(name: str) -> str:
    """`.example.com` is `*.example.com` to Java, `::1` is `[::1]`."""
    if name.startswith("."):
        return f"*{name}"
    return f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name


def _java_quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


@dataclass(frozen=True, slots=True)
class Upstream:
    """The proxy this machine goes out through already. credentials: user:password, or ""."""

    scheme: str
    host: str
    port: int
    credentials: str = ""

    @property
    def mode(self) -> str:
        """For mitmdump's --mode."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"upstream:{self.scheme}://{host}:{self.port}"


def upstream_of(environment: Mapping[str, str]) -> Upstream | None:
    """The HTTP proxy named in HTTPS_PROXY or ALL_PROXY. None: there is none, or it is one that mitmproxy cannot go through."""
    url = variable(environment, "https_proxy") or variable(environment, "all_proxy")
    if not url:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return Upstream(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), credentials)
