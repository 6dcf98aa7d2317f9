# SPDX-License-Identifier: Apache-2.0
"""The one HTTP client of every outgoing transfer (requirements R18).

It adds to aiohttp what our promises need: each URL, redirects included, passes the egress guard and
is connected to at a judged address with Host and SNI kept; credentials go to the origin they were
given for and nowhere else; waiting for a connection and for headers has a deadline; and errors come
out as sentences that name the host. Retrying is not its business.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.certificates import describe_refusal
from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.errors import BadUrlError, SourceFailedError
from ssvm_agent.ingest.limits import TransferLimits
from ssvm_agent.ingest.proxy import Proxy, bypasses_proxy
from ssvm_agent.ingest.resolver import GuardedResolver, PlainResolver
from ssvm_agent.ingest.trust import TrustStore
from ssvm_agent.ingest.urls import HTTP_SCHEMES, SourceUrl
from ssvm_agent.masking import Secret

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# aiohttp holds up to twice this per connection before it stops reading from the socket.
_READ_BUFFER_BYTES: Final = 128 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Basic authentication, sent without being asked for (storage-commands.md 4.1)."""

    user: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """What a command says about reaching its source.

    Attributes:
        credentials: For the origin of the first URL only.
        proxy: Overrides the configured one.
        follow_redirects: Whether redirects may be followed, each hop judged again.
    """

    credentials: Credentials | None = None
    proxy: Proxy | None = None
    follow_redirects: bool = False

    def without_credentials(self) -> HttpOptions:
        """The same for another origin."""
        return replace(self, credentials=None)


class HttpClient:
    """Makes requests; use as an async context manager, one for the process.

    Args:
        guard: Judges every host.
        limits: Time-outs and the longest chain of redirects.
        trust: Certificates for https.
        pool: For name resolution and reading certificates.
        user_agent: Sent with every request.
        proxy: Configured proxy, if any.
        no_proxy: Hosts, domains and CIDRs reached without it.
    """

    def __init__(
        self,
        *,
        guard: EgressGuard,
        limits: TransferLimits,
        trust: TrustStore,
        pool: WorkPool,
        user_agent: str,
        proxy: Proxy | None = None,
        no_proxy: tuple[str, ...] = (),
    ) -> None:
        self.guard = guard
        self.limits = limits
        self._trust = trust
        self._pool = pool
        self._user_agent = user_agent
        self._proxy = proxy
        self._no_proxy = no_proxy
        self._direct: aiohttp.ClientSession | None = None
        self._proxied: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in (self._direct, self._proxied):
            if session is not None:
                await session.close()
        self._direct = self._proxied = None

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: SourceUrl,
        options: HttpOptions,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request with its redirects; the response's status is the caller's to judge.

        Raises:
            SourceFailedError: No response, or a redirect nobody asked us to follow.
            BlockedAddressError: A host on the way is blocked.
            BadUrlError: A redirect leads to something we cannot read.
        """
        response = await self._follow(method, url, options, headers or {})
        try:
            yield response
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _dropped(url, error) from error
        except TimeoutError as error:
            raise SourceFailedError(f"{url.host} stopped sending", retryable=True) from error
        finally:
            response.close()

    async def _follow(
        self, method: str, url: SourceUrl, options: HttpOptions, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        current = url
        for _ in range(self.limits.max_redirects + 1):
            credentials = options.credentials if current.origin == url.origin else None
            response = await self._send(method, current, options, credentials, headers)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return response
            response.close()
            if not options.follow_redirects:
                raise SourceFailedError(
                    f"Failed to download {url} due to redirection, response code: {response.status}"
                )
            current = current.join(location)
        raise SourceFailedError(f"{url} redirects more than {self.limits.max_redirects} times")

    async def _send(
        self,
        method: str,
        url: SourceUrl,
        options: HttpOptions,
        credentials: Credentials | None,
        headers: Mapping[str, str],
    ) -> aiohttp.ClientResponse:
        proxy = options.proxy or self._proxy
        if proxy is not None and bypasses_proxy(url, self._no_proxy):
            proxy = None
        await self._check(url, via_proxy=proxy is not None)
        session = self._session(proxied=proxy is not None)
        context = await self._pool.call(self._trust.context) if url.scheme == "https" else None
        sent = dict(headers)
        if credentials is not None:
            sent["Authorization"] = _basic(credentials.user, credentials.password)
        for_proxy: dict[str, str] = {}
        if proxy is not None and proxy.user:
            for_proxy["Proxy-Authorization"] = _basic(proxy.user, proxy.password)
        if url.scheme == "http":
            # The proxy reads the request itself; with https it reads the CONNECT before it.
            sent |= for_proxy
        waiting_s = self.limits.connect_timeout_s + self.limits.header_timeout_s
        try:
            async with asyncio.timeout(waiting_s):
                return await session.request(
                    method,
                    _as_yarl(url),
                    allow_redirects=False,
                    headers=sent,
                    proxy=proxy.url if proxy else None,
                    proxy_headers=for_proxy if url.scheme == "https" else None,
                    ssl=context if context is not None else True,
                )
        except aiohttp.ClientConnectorCertificateError as error:
            raise await self._certificate_refused(url, error, proxied=proxy is not None) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreached(url, proxy, error) from error

    async def _check(self, url: SourceUrl, *, via_proxy: bool) -> None:
        """Judge the host before anything is sent; names are judged again where they are used."""
        if url.scheme not in HTTP_SCHEMES:
            raise BadUrlError(f"Unsupported scheme for url: {url}")
        if url.address is not None:
            self.guard.check(url.host, [url.address])
        elif via_proxy:
            # The proxy resolves the name. If we can too, a blocked answer still counts.
            await GuardedResolver(self.guard, self._pool, self.limits).judge_if_known(url.host)

    def _session(self, *, proxied: bool) -> aiohttp.ClientSession:
        """The session for direct requests, or the one whose resolver only ever sees proxies."""
        session = self._proxied if proxied else self._direct
        if session is None:
            resolver = (
                PlainResolver(self._pool, self.limits)
                if proxied
                else GuardedResolver(self.guard, self._pool, self.limits)
            )
            session = self._open_session(resolver)
            if proxied:
                self._proxied = session
            else:
                self._direct = session
        return session

    def _open_session(self, resolver: PlainResolver) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # Fresh connections and no DNS cache: every request is judged anew.
            connector=aiohttp.TCPConnector(
                resolver=resolver, use_dns_cache=False, force_close=True, limit=0
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=self.limits.connect_timeout_s,
                sock_read=max(self.limits.idle_timeout_s, self.limits.header_timeout_s),
            ),
            headers={
                "User-Agent": self._user_agent,
                "Accept": "*/*",
                "Accept-Encoding": "identity",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_READ_BUFFER_BYTES,
        )

    async def _certificate_refused(
        self, url: SourceUrl, error: aiohttp.ClientConnectorCertificateError, *, proxied: bool
    ) -> SourceFailedError:
        reason = getattr(error.certificate_error, "verify_message", "") or str(error)
        issuer = ""
        if not proxied:
            peer = await GuardedResolver(self.guard, self._pool, self.limits).resolve(
                url.host, url.port
            )
            issuer = await describe_refusal(url.host, peer[0]["host"], url.port, self.limits)
        return SourceFailedError(
            f"The certificate of {url.host}{issuer} is not trusted: {reason}",
            detail="put the certificate of its authority into the CA directory of the agent",
        )


def _as_yarl(url: SourceUrl) -> URL:
    """The URL without re-quoting, provided that both parsers see the same host and port."""
    parsed = URL(url.text, encoded=True)
    if (parsed.raw_host or "").lower() != url.host or parsed.port != url.port or parsed.user:
        raise BadUrlError("Illegal host specified in URL.", detail=str(url))
    return parsed


def _basic(user: str, password: Secret | None) -> str:
    """The value of an (Proxy-)Authorization header."""
    text = f"{user}:{password.reveal() if password else ''}"
    return "Basic " + base64.b64encode(text.encode()).decode()


def _unreached(url: SourceUrl, proxy: Proxy | None, error: Exception) -> SourceFailedError:
    """A sentence for "there was no response"."""
    where = f"the proxy {proxy.host}:{proxy.port}" if proxy else f"{url.host}:{url.port}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return SourceFailedError(
            f"The proxy refused the connection with status {error.status}",
            retryable=error.status in {502, 503, 504},
        )
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return SourceFailedError(f"TLS with {where} failed", detail=str(error))
    if isinstance(error, TimeoutError | aiohttp.ServerTimeoutError):
        return SourceFailedError(f"{where} does not answer in time", retryable=True)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return SourceFailedError(f"{where} closed the connection", retryable=True)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.InvalidURL):
        return SourceFailedError(f"{where} does not speak HTTP properly", detail=str(error))
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return SourceFailedError(f"Unable to connect to {where}", detail=reason, retryable=True)


def _dropped(url: SourceUrl, error: Exception) -> SourceFailedError:
    """A sentence for "the response broke off"."""
    return SourceFailedError(
        f"{url.host} closed the connection before the end", detail=str(error), retryable=True
    )
