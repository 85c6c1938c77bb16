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
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scalequest.errors import ScaleQuestError
from scalequest.files import write_text
from scalequest.hashing import canonical_json, digest

log = logging.getLogger(__name__)
Message = Mapping[str, str]
# The longest wait that the openai package grants a server (Retry-After); one that wants more is not asked again.
_LONGEST_PAUSE = 120.0
_REFUSED = "request refused"
_JUNK = "server junk"


@dataclass(frozen=True)
class Answer:
    """A server's answer, or the reason why there is none: `failure` is empty exactly when `text` is what it said."""

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
    """`model`: the server's name for it. `settings`: the config's operation.server. `cache`: a folder.

    Nothing is connected to, and no key is needed, while every answer is in the cache.
    """

    def __init__(self, model: str, settings: Mapping[str, Any], cache: str | Path):
        if not model or not settings["base_url"]:
            raise ScaleQuestError(
                f"server_model is {model!r} and server.base_url {settings['base_url']!r}: name the OpenAI-compatible "
                "server and its model."
            )
        if urlsplit(settings["base_url"]).scheme not in ("http", "https"):
            raise ScaleQuestError("server.base_url must begin with http:// or https:// (and mostly ends in /v1).")
        self.model, self.settings, self.cache = model, settings, Path(cache)
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
        asking: Callable[[int], AbstractContextManager[Callable[[], None]]] = lambda count: nullcontext(lambda: None),
    ) -> list[Answer]:
        """One Answer for each request, in order; equal requests are sent once.

        A request that the server fails after all retries is an Answer with a `failure`, and is not cached.
        Raises ScaleQuestError where going on is pointless: the key, the address or the model is refused, or
        the server has stopped answering. What was answered until then is kept. `asking` is entered with the number of
        requests that the cache does not answer, if there are any; what it gives is called before each and may raise.
        """
        sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        bodies = [self._body(request, sampling) for request in requests]
        keys = [digest("chat", body) for body in bodies]
        found = {key: answer for key in set(keys) if (answer := self._cached(key))}
        waiting = {key: body for key, body in zip(keys, bodies, strict=True) if key not in found}
        if waiting:
            log.info("%d answers are in the cache, %d are asked of %s", len(found), len(waiting), self._address)
            with asking(len(waiting)) as check:
                made = asyncio.run(self._ask_all(waiting, progress, check))
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
                progress(len(made), len(waiting))

        try:
            async with (
                AsyncOpenAI(
                    base_url=self.settings["base_url"],
                    api_key=self._key(),
                    timeout=self.settings["timeout_seconds"],
                    max_retries=self.settings["retries"],
                ) as client,
                asyncio.TaskGroup() as group,
            ):
                for _ in range(min(self.settings["concurrency"], len(waiting))):
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
        longest = (self.settings["timeout_seconds"] + _LONGEST_PAUSE) * (self.settings["retries"] + 1)
        try:
            async with asyncio.timeout(longest):
                answer = _read(await client.chat.completions.create(**body))
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise self._refused(error.status_code) from None
        except (TimeoutError, openai.APITimeoutError):
            return self._failed(f"server timeout: no answer in {self.settings['timeout_seconds']} s")
        except openai.APIConnectionError:
            return self._failed("server unreachable: the connection failed")
        except openai.APIStatusError as error:
            if error.status_code in (408, 409, 429) or error.status_code >= 500:
                return self._failed(f"server error: HTTP {error.status_code}")
            return Answer("", 0, "", f"{_REFUSED}: HTTP {error.status_code}, {self._scrub(error.message)[:300]}")
        except (openai.OpenAIError, ValueError):
            answer = Answer("", 0, "", f"{_JUNK}: the answer is not a chat completion")
        self._failed_in_a_row = 0
        return answer

    def _failed(self, failure: str) -> Answer:
        self._failed_in_a_row += 1
        if self._failed_in_a_row > 2 * self.settings["concurrency"]:
            raise self._gave_up(f"{self._failed_in_a_row} requests failed one after another", failure)
        return Answer("", 0, "", f"{failure}, {self.settings['retries'] + 1} tries")

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
        name = self.settings["api_key_env"]
        state = "is set, but its key is not accepted" if os.environ.get(name) else "is not set"
        return ScaleQuestError(
            f"{self._address} answers {status}: the environment variable {name} (server.api_key_env) {state}."
        )

    def _key(self) -> str:
        name = self.settings["api_key_env"]
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # Not shown: it may be the key itself, put in the wrong place.
            raise ScaleQuestError("server.api_key_env must be the name of an environment variable, not a key.")
        key = os.environ.get(name, "").strip()
        if not re.fullmatch(r"[!-~]*", key):
            raise ScaleQuestError(f"the key in the environment variable {name} has characters that no key has.")
        # Servers without keys still get the header that the protocol asks for.
        return key or "EMPTY"

    def _scrub(self, text: str) -> str:
        key = os.environ.get(self.settings["api_key_env"], "").strip()
        return text.replace(key, "[key]") if key else text

    @property
    def _address(self) -> str:
        """The server's address without the user, password or query that it may hold."""
        parts = urlsplit(self.settings["base_url"])
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def _path(self, key: str) -> Path:
        return self.cache / key[:2] / f"{key}.json"

    def _keep(self, key: str, answer: Answer) -> None:
        content = asdict(answer)
        write_text(self._path(key), canonical_json({"answer": content, "digest": digest(content)}))

    def _cached(self, key: str) -> Answer | None:
        """The stored answer; None where there is none, or where it does not match its own digest."""
        path = self._path(key)
        try:
            entry = json.loads(path.read_bytes())
            if digest(entry["answer"]) == entry["digest"]:
                return Answer(**entry["answer"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            pass
        log.warning("the cached answer %s is damaged and is asked for again", path)
        return None


def _read(response: Any) -> Answer:
    try:
        choice = response.choices[0]
        text, reason = choice.message.content, choice.finish_reason
    except (AttributeError, IndexError, KeyError, TypeError):
        return Answer("", 0, "", f"{_JUNK}: the answer is not a chat completion")
    if not isinstance(text, str):
        return Answer("", 0, "", f"{_JUNK}: no text in the answer (finish_reason {str(reason)[:40]})")
    tokens = getattr(response.usage, "completion_tokens", 0)
    # Half a surrogate pair is legal in JSON, and in no file.
    return Answer(text.encode("utf-8", "replace").decode(), tokens if isinstance(tokens, int) else 0, str(reason)[:40])
