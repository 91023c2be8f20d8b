"""The small text files of a checkpoint: in a folder, in the hub's cache, or on the hub.

The cache comes first, and the hub is asked for what is not there, once and for a
few seconds: a server that starts without a network has to start all the same.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

#: Seconds that the hub has to answer a question, and for all that is asked of it.
ANSWER_TIMEOUT = 3.0
TOTAL_TIMEOUT = 6.0


class CheckpointUnreachable(Exception):
    """The checkpoint's files cannot be read from here; the message says why."""


class CheckpointFiles:
    """Reads files of one checkpoint: a folder, or a name on the hub.

    ``from_cache`` tells, after reading, that the hub gave no answer and the
    files are those of an earlier download.
    """

    def __init__(
        self, checkpoint: str, revision: str | None = None, token: str | bool | None = None
    ) -> None:
        self.from_cache = False
        self.checkpoint = checkpoint
        self._revision = revision
        self._token = token
        self._seconds_left = TOTAL_TIMEOUT
        self._unreachable: CheckpointUnreachable | None = None
        self._has_downloaded = False

    def read(self, name: str) -> str | None:
        """The text of a file, None if the checkpoint lacks it.

        Raises CheckpointUnreachable with a sentence where it cannot be known.
        """
        try:
            path = self._path(name)
            return None if path is None else Path(path).read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            raise CheckpointUnreachable(f"{name} is not UTF-8 text") from error
        except OSError as error:
            raise CheckpointUnreachable(f"{name}: {error.strerror or error}") from error

    def _path(self, name: str) -> str | None:
        if os.path.isdir(self.checkpoint):
            return os.path.join(self.checkpoint, name)
        if os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true"):
            raise CheckpointUnreachable("VLLM_USE_MODELSCOPE is set")
        cached = self._cached(name)
        if isinstance(cached, str):
            return cached
        if cached is not None:  # The hub said before that it has no such file.
            return None
        try:
            return self._download(name)
        except CheckpointUnreachable:
            # Of a checkpoint that was downloaded before, what is not there does not exist; of one
            # that is being downloaded, it may.
            if self._has_downloaded or not isinstance(self._cached("tokenizer_config.json"), str):
                raise
            self.from_cache = True
            return None

    def _cached(self, name: str) -> object:
        try:
            from huggingface_hub import constants, try_to_load_from_cache
            from huggingface_hub.errors import HFValidationError
        except Exception as error:  # It reads its variables then, and fails of one that is wrong.
            raise CheckpointUnreachable(
                f"the hub's client cannot be used: {_said(error)}; are HF_ENDPOINT and the other "
                "variables of its right?"
            ) from error
        try:
            return try_to_load_from_cache(
                self.checkpoint, name, cache_dir=constants.HF_HUB_CACHE, revision=self._revision
            )
        except HFValidationError as error:
            raise CheckpointUnreachable(
                f"{self.checkpoint} is no folder here, and no name the hub could have"
            ) from error

    def _download(self, name: str) -> str | None:
        """A file of the hub's, in a thread, since looking up a host's name knows no time limit."""
        if self._unreachable is not None:
            raise self._unreachable
        answer: list[str | None | CheckpointUnreachable] = []
        thread = threading.Thread(target=lambda: answer.append(self._ask(name)), daemon=True)
        started = time.monotonic()
        thread.start()
        thread.join(self._seconds_left)
        self._seconds_left = max(0.0, self._seconds_left - (time.monotonic() - started))
        path = answer[0] if answer else CheckpointUnreachable(_silent())
        if isinstance(path, CheckpointUnreachable):
            self._unreachable = path
            raise path
        self._has_downloaded |= path is not None
        return path

    def _ask(self, name: str) -> str | None | CheckpointUnreachable:
        from huggingface_hub import hf_hub_download, hf_hub_url
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            get_session,
            hf_raise_for_status,
        )

        model = self.checkpoint
        try:
            # Asked by hand: what the hub's client asks, it asks again for a minute if it gets no
            # answer (its release 0.36 the metadata of a file, too), and says so each time.
            answer = get_session().head(
                hf_hub_url(model, name, revision=self._revision),
                headers=build_hf_headers(token=self._token),
                timeout=ANSWER_TIMEOUT,
            )
            hf_raise_for_status(answer)
            return hf_hub_download(
                model,
                name,
                revision=self._revision,
                token=self._token,
                etag_timeout=ANSWER_TIMEOUT,
            )
        except GatedRepoError:
            reason = (
                f"{model} is gated: accept its terms on its page, and give a token of that "
                "account in HF_TOKEN"
            )
        except RepositoryNotFoundError:
            reason = (
                f"the hub has no {model}, or it is private: check the name, or give a token "
                "in HF_TOKEN"
            )
        except RevisionNotFoundError:
            reason = f"the hub has no revision {self._revision} of {model}"
        except LocalEntryNotFoundError as error:  # An EntryNotFoundError, but of our cache.
            reason = f"{_silent()} that its client could use: {_said(error.__cause__ or error)}"
        except EntryNotFoundError:
            return None
        except OfflineModeIsEnabled:
            reason = f"{model} is not in the hub's cache, and HF_HUB_OFFLINE is set"
        except Exception as error:
            # The hub's client lets its HTTP library's out: requests, httpx or httpx2, by release.
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status is not None:
                reason = f"the hub at {_hub()} answers {status} where it is asked for {name}"
            elif isinstance(error, OSError) and error.filename:
                reason = f"the hub's cache cannot be used: {error.filename}: {error.strerror}"
            else:
                reason = f"{_silent()}: {_said(error)}"
        return CheckpointUnreachable(reason)


def _said(error: BaseException) -> str:
    """An error's kind, and the first line of what it says."""
    said = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}{f', {said}' if said else ''}"


def _silent() -> str:
    return f"no answer from the hub at {_hub()}"


def _hub() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)
