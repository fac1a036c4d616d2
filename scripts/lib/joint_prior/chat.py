"""Requests to an OpenAI-compatible chat endpoint, repeated after errors that may pass."""

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from utils.errors import UserError

TRANSIENT_STATUS = (408, 409, 425, 429, 500, 502, 503, 504, 529)
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds


@dataclass(frozen=True)
class ChatEndpoint:
    """An endpoint and the options of its requests. url: up to and without /chat/completions; key: bearer token or None.

    options: further fields of the request, such as temperature and max_tokens. timeout: seconds.
    """

    url: str
    model: str
    key: str | None
    options: dict
    timeout: float = 120.0
    max_attempts: int = 5

    def ask(self, system: str, prompt: str, response_format: dict | None = None) -> str:
        """The text of the answer. response_format: a field of the request that restricts the answer to a schema.

        Repeats the request after temporary errors, with a wait that doubles each time. UserError if the endpoint
        refuses the request, or after `max_attempts`.
        """
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        fields = {"model": self.model, "messages": messages, **self.options}
        if response_format:
            fields["response_format"] = response_format
        for attempt in range(self.max_attempts):
            if attempt:
                time.sleep(min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT))
            try:
                return self._ask_once(json.dumps(fields).encode())
            except urllib.error.HTTPError as error:
                problem = f"HTTP {error.code} {error.reason}: {error.read(300).decode(errors='replace')}"
                if error.code not in TRANSIENT_STATUS:
                    break
            except (OSError, http.client.HTTPException) as error:  # refused, reset, timed out, cut off
                problem = f"{type(error).__name__}: {error}"
            except (ValueError, LookupError, TypeError) as error:
                problem = f"not a chat completion ({type(error).__name__}: {error})"
        raise UserError(
            f"endpoint {self.url}, model {self.model}: {' '.join(problem.split())} (attempt {attempt + 1}); "
            "check --endpoint, --model and the key, then run the same command again: answers so far are kept"
        )

    def _ask_once(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as response:
            content = json.loads(response.read())["choices"][0]["message"]["content"]
        if not isinstance(content, str):
            raise TypeError("the answer holds no text")
        return content
