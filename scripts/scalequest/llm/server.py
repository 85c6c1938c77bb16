"""A client for any OpenAI-compatible chat server: many requests, few at once, each answer paid for once.

An answer is kept on disk under the hash of its request (model, messages, sampling, schema). The address is no part
of it: a server that comes back on another port, or another node of a cluster, is the same server.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scalequest.errors import ScaleQuestError
from scalequest.hashing import canonical_json, digest
from scalequest.runtime.files import write_text
from scalequest.runtime.lease import Lease
from scalequest.settings import Number

log = logging.getLogger(__name__)
Message = Mapping[str, str]
# The longest wait that the openai package grants a server (Retry-After); one that wants more is not asked again.
_LONGEST_PAUSE = 120.0
_REFUSED = "request refused"
_JUNK = "server junk"
_NO_COMPLETION = f"{_JUNK}: the answer is not a chat completion"
# A reply is read whole, and no chat completion is this long.
_LONGEST_REPLY = 16 << 20
_MOST_TOKENS = 2**31 - 1
# Why an answer ended, by the protocol; any other reason is UNKNOWN.
_FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls", "function_call")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ServerSettings:
    """The config's `operation.server`."""

    base_url: str | None
    api_key_env: str
    concurrency: int
    timeout_seconds: Number
    retries: int


@dataclass(frozen=True)
class Answer:
    """A server's answer, or the reason why there is none: `failure` is empty exactly when `text` is what it said.

    `tokens` is 0 where the server counts none.
    """

    text: str
    tokens: int
    finish_reason: str
    failure: str = ""


@dataclass(frozen=True)
class Request:
    """A conversation, and the JSON schema that its answer shall have (None: free text)."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None


class Server:
    """`model`: the server's name for it. `cache`: a folder.

    Nothing is connected to, and no key is needed, while every answer is in the cache.
    """

    def __init__(self, model: str, settings: ServerSettings, cache: str | Path):
        if not model or not settings.base_url:
            raise ScaleQuestError(
                f"server_model is {model!r} and server.base_url {settings.base_url!r}: name the OpenAI-compatible "
                "server and its model."
            )
        if urlsplit(settings.base_url).scheme not in ("http", "https"):
            raise ScaleQuestError("server.base_url must begin with http:// or https:// (and mostly ends in /v1).")
        self.model, self.url, self.settings, self.cache = model, settings.base_url, settings, Path(cache)
        self._structured = True
        self._failed_in_a_row = 0

    def answers(
        self,
        requests: Sequence[Request],
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
        lease: Lease | None = None,
    ) -> list[Answer]:
        """One Answer for each request, in order; equal requests are sent once.

        A request that the server fails after all retries, or answers with junk, is an Answer with a `failure`, and is
        not cached. Raises ScaleQuestError where going on is pointless: the key, the address or the model is refused, or
        the server has stopped answering. What was answered until then is kept. `lease` is held while there is something
        to ask, checked before each request, and counts the requests whose answer has been stored.
        """
        sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        bodies = [self._body(request, sampling) for request in requests]
        keys = [digest("chat", body) for body in bodies]
        found = {key: answer for key in set(keys) if (answer := self._cached(key))}
        waiting = {key: body for key, body in zip(keys, bodies, strict=True) if key not in found}
        if waiting:
            log.info("%d answers are in the cache, %d are asked of %s", len(found), len(waiting), self._address)
            rows = Counter(keys)

            def stored(key: str) -> None:
                if lease:
                    # A file written for each of many answers a second would hold up the rest.
                    lease.count(rows[key], at_once=False)

            with lease or nullcontext():
                check = lease.check if lease else lambda: None
                made = asyncio.run(self._ask_all(waiting, progress, check, stored))
            if not found and all(a.failure and not a.failure.startswith(_JUNK) for a in made.values()):
                raise self._gave_up("no request was answered", next(iter(made.values())).failure)
            found |= made
        return [found[key] for key in keys]

    def _body(self, request: Request, sampling: Mapping[str, Any]) -> dict[str, Any]:
        body = {"model": self.model, "messages": [dict(m) for m in request.messages], **sampling}
        if request.schema is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    async def _ask_all(
        self,
        waiting: Mapping[str, dict[str, Any]],
        progress: Callable[[int, int], None],
        check: Callable[[], None],
        stored: Callable[[str], None],
    ) -> dict[str, Answer]:
        from openai import AsyncOpenAI

        # One line for each request, from the HTTP library, would drown the log.
        for name in ("httpx", "httpx2", "openai"):
            logging.getLogger(name).setLevel(logging.WARNING)
        made: dict[str, Answer] = {}
        rest = iter(waiting.items())

        async def work(client: AsyncOpenAI) -> None:
            for key, body in rest:
                check()
                made[key] = answer = await self._ask(client, body)
                if not answer.failure:
                    self._keep(key, answer)
                    stored(key)
                progress(len(made), len(waiting))

        try:
            async with (
                AsyncOpenAI(
                    base_url=self.url,
                    api_key=self._key(),
                    timeout=self.settings.timeout_seconds,
                    max_retries=self.settings.retries,
                    # A compressed reply could be of any length.
                    default_headers={"Accept-Encoding": "identity"},
                    http_client=_bounded_client(),
                ) as client,
                asyncio.TaskGroup() as group,
            ):
                for _ in range(min(self.settings.concurrency, len(waiting))):
                    group.create_task(work(client))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return made

    async def _ask(self, client: Any, body: dict[str, Any]) -> Answer:
        """Ask with the schema if there is one, and in plain text of a server that will not have schemas."""
        plain = {name: value for name, value in body.items() if name != "response_format"}
        sent = body if self._structured else plain
        answer = await self._try(client, sent)
        # Another request may have found out meanwhile.
        if answer.failure.startswith(_REFUSED) and sent != plain:
            answer = await self._try(client, plain)
            if not answer.failure and self._structured:
                log.warning("%s refuses response_format json_schema: going on with labelled text", self._address)
                self._structured = False
        return answer

    async def _try(self, client: Any, body: dict[str, Any]) -> Answer:
        import openai

        # The timeout of the HTTP library is for each read: a server that trickles would hold a row for ever.
        longest = (self.settings.timeout_seconds + _LONGEST_PAUSE) * (self.settings.retries + 1)
        try:
            async with asyncio.timeout(longest):
                reply = await client.chat.completions.with_raw_response.create(**body)
                answer = _read(reply.http_response.content)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise self._refused(error.status_code) from None
        except (TimeoutError, openai.APITimeoutError):
            return self._failed(f"server timeout: no answer in {self.settings.timeout_seconds} s")
        except openai.APIConnectionError:
            return self._failed("server unreachable: the connection failed")
        except openai.APIStatusError as error:
            if error.status_code in (408, 409, 429) or error.status_code >= 500:
                return self._failed(f"server error: HTTP {error.status_code}")
            said = _unicode(self._scrub(error.message))[:300]
            return Answer("", 0, "", f"{_REFUSED}: HTTP {error.status_code}, {said}")
        except _JunkError as error:
            answer = Answer("", 0, "", f"{_JUNK}: {error}")
        except Exception as error:
            # Whatever the client trips over in a reply is the failure of its own row.
            log.warning("an answer of %s cannot be read: %s: %s", self._address, type(error).__name__, error)
            answer = Answer("", 0, "", _NO_COMPLETION)
        self._failed_in_a_row = 0
        return answer

    def _failed(self, failure: str) -> Answer:
        self._failed_in_a_row += 1
        if self._failed_in_a_row > 2 * self.settings.concurrency:
            raise self._gave_up(f"{self._failed_in_a_row} requests failed one after another", failure)
        return Answer("", 0, "", f"{failure}, {self.settings.retries + 1} tries")

    def _gave_up(self, what: str, failure: str) -> ScaleQuestError:
        return ScaleQuestError(
            f"{self._address}: {what}; the last: {failure}. Answers so far are kept in {self.cache}, and the next run "
            "asks only for the rest. See that the server is up, and check server.base_url, server.timeout_seconds, "
            "server.retries, server.concurrency and the account's quota."
        )

    def _refused(self, status: int) -> ScaleQuestError:
        if status == 404:
            return ScaleQuestError(
                f"{self._address} answers 404: there is no model '{self.model}' (server_model), or no chat "
                "endpoint at this address (server.base_url, which mostly ends in /v1)."
            )
        name = self.settings.api_key_env
        state = "is set, but its key is not accepted" if os.environ.get(name) else "is not set"
        return ScaleQuestError(
            f"{self._address} answers {status}: the environment variable {name} (server.api_key_env) {state}."
        )

    def _key(self) -> str:
        name = self.settings.api_key_env
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # Not shown: it may be the key itself, put in the wrong place.
            raise ScaleQuestError("server.api_key_env must be the name of an environment variable, not a key.")
        key = os.environ.get(name, "").strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise ScaleQuestError(f"the key in the environment variable {name} has characters that no key has.")
        # Servers without keys still get the header that the protocol asks for.
        return key or "EMPTY"

    def _scrub(self, text: str) -> str:
        key = os.environ.get(self.settings.api_key_env, "").strip()
        return text.replace(key, "[key]") if key else text

    @property
    def _address(self) -> str:
        """The server's address without the user, password or query that it may hold."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def _path(self, key: str) -> Path:
        return self.cache / key[:2] / f"{key}.json"

    def _keep(self, key: str, answer: Answer) -> None:
        content = asdict(answer)
        write_text(self._path(key), canonical_json({"answer": content, "digest": digest(content)}))

    def _cached(self, key: str) -> Answer | None:
        """The stored answer; None where there is none, or where it is not one that would be stored now."""
        path = self._path(key)
        try:
            entry = json.loads(path.read_bytes())
            said = entry["answer"]
            answer = _answer(said["text"], said["tokens"], said["finish_reason"])
            if digest(said) == entry["digest"] and (answer.text, answer.tokens) == (said["text"], said["tokens"]):
                return answer
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        log.warning("the cached answer %s is damaged and is asked for again", path)
        return None


class _JunkError(Exception):
    """What is wrong with a reply, as a row's failure says it."""


def _read(reply: bytes) -> Answer:
    """The answer that the body of a reply holds, or what is wrong with it."""
    try:
        value = json.loads(reply)
        choice = value["choices"][0]
        text, reason = choice["message"]["content"], choice.get("finish_reason")
        usage = value.get("usage")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return Answer("", 0, "", _NO_COMPLETION)
    return _answer(text, usage.get("completion_tokens") if isinstance(usage, dict) else None, reason)


def _answer(text: object, tokens: object, reason: object) -> Answer:
    """An Answer of what a server or a cache says, which may be of any type: put right, or a failure."""
    known = next((name for name in _FINISH_REASONS if name == reason), UNKNOWN)
    if not isinstance(text, str):
        return Answer("", 0, "", f"{_JUNK}: no text in the answer (finish_reason {known})")
    # `True` is an int, too.
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens <= _MOST_TOKENS:
        tokens = 0
    return Answer(_unicode(text), tokens, known)


def _unicode(text: str) -> str:
    """The text without halves of surrogate pairs, which are legal in JSON, and in no file."""
    return text.encode("utf-8", "replace").decode()


def _bounded_client() -> Any:
    """An HTTP client that reads no reply, error or not, beyond _LONGEST_REPLY."""
    import httpx2
    from openai import DefaultAsyncHttpxClient

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream):
            self.stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in self.stream:
                size += len(part)
                if size > _LONGEST_REPLY:
                    raise _JunkError(f"the answer is longer than {_LONGEST_REPLY >> 20} MiB")
                yield part

        async def aclose(self) -> None:
            await self.stream.aclose()

    async def bound(response: Any) -> None:
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise _JunkError("the answer is compressed, which was not asked for")
        response.stream = Bounded(response.stream)

    return DefaultAsyncHttpxClient(event_hooks={"response": [bound]})
