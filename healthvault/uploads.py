"""How uploaded files are taken in: in memory, since what is written to a disk is sealed first."""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import MemoryFileUploadHandler


class InMemory(MemoryFileUploadHandler):
    """Keeps every file in memory; Django's own pair writes large ones to a temporary file in clear."""

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        """Refuse a request that is too large before any of it is read. Raises RequestDataTooBig."""
        if content_length > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestDataTooBig("The files are too large.")
        self.activated = True
