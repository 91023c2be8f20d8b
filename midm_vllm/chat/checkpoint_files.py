"""The small text files of a checkpoint: in a folder, in the hub's local cache, or on the hub.

No weights and no tokenizer are read, and nothing waits long: where the hub does
not answer within :data:`HUB_SECONDS`, what the cache has counts as all there is.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

#: For the hub's one answer (which files a repository has), and for each file of it.
HUB_SECONDS = 4.0


class CheckpointUnreachable(Exception):
    """The checkpoint's files cannot be read from here; the message says why."""


class CheckpointFiles:
    """The files of ``checkpoint``, a folder or a name on the hub, at a revision of it."""

    def __init__(
        self, checkpoint: str, revision: str | None = None, token: str | bool | None = None
    ) -> None:
        self._checkpoint = checkpoint
        self._revision = revision
        self._token = token
        self._some_are_cached = False
        #: What had to be assumed, as a sentence, or "".
        self.assumption = ""

    def read(self, name: str) -> str | None:
        """The text of the file, None if the checkpoint lacks it; raises CheckpointUnreachable."""
        try:
            path = self._find(name)
            return None if path is None else Path(path).read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointUnreachable(f"{name}: {_first_line(error)}") from error

    def _find(self, name: str) -> str | None:
        if os.path.isdir(self._checkpoint):
            return os.path.join(self._checkpoint, name)
        if os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true"):
            raise CheckpointUnreachable("VLLM_USE_MODELSCOPE is set")
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(
                self._checkpoint, name, cache_dir=_cache(), revision=self._revision
            )
        except HFValidationError as error:
            raise CheckpointUnreachable(_first_line(error)) from error
        if isinstance(cached, str):
            self._some_are_cached = True
            return cached
        if cached is not None or name not in self._names_on_the_hub:
            return None
        try:
            return str(hf_hub_download(
                self._checkpoint, name, revision=self._revision, token=self._token,
                cache_dir=_cache(), etag_timeout=HUB_SECONDS,
            ))
        except Exception as error:  # Which kind it is depends on the hub client's release.
            raise CheckpointUnreachable(self._reason(error)) from error

    @cached_property
    def _names_on_the_hub(self) -> frozenset[str]:
        """The files that the hub says there are: one question, asked once."""
        from huggingface_hub import HfApi

        try:
            # Unlike a download, this is not tried again and again.
            info = HfApi(token=self._token).model_info(
                self._checkpoint, revision=self._revision, timeout=HUB_SECONDS
            )
        except Exception as error:  # Which kind it is depends on the hub client's release.
            if not self._some_are_cached:
                raise CheckpointUnreachable(self._reason(error)) from error
            self.assumption = "assuming that the local cache has all its files"
            return frozenset()
        return frozenset(file.rfilename for file in info.siblings or [])

    def _reason(self, error: Exception) -> str:
        from huggingface_hub.errors import (
            GatedRepoError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        if isinstance(error, GatedRepoError):
            return (
                f"{self._checkpoint} is gated: ask for access on its page on the hub, then run "
                "`hf auth login` or set HF_TOKEN"
            )
        if isinstance(error, RepositoryNotFoundError):
            return (
                f"the hub has no {self._checkpoint}, or it is private: check the name, or run "
                "`hf auth login` or set HF_TOKEN"
            )
        if isinstance(error, RevisionNotFoundError):
            return f"{self._checkpoint} has no revision {self._revision}"
        return (
            f"the hub does not answer, and the local cache has no {self._checkpoint}: "
            f"{_first_line(error)}"
        )


def _cache() -> Any:
    # Asked for each time: the default argument of the hub's functions is bound at import.
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
