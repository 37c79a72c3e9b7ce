"""Errors of the partner API: problem+json (RFC 9457) with a stable `code`."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from django.http.response import HttpResponseBase
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler


class Problem(exceptions.APIException):
    """An error with a code of ours. `detail` names the thing and the remedy, never health data."""

    def __init__(self, http_status: int, code: str, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail, code)
        self.status_code = http_status
        self.problem_code = code
        self.retry_after_s = retry_after_s


def problem_response(error: Exception, context: dict[str, Any]) -> HttpResponseBase | None:
    """DRF's exception handler: every refusal as problem+json."""
    response = exception_handler(error, context)
    if response is None:
        return None
    body: dict[str, Any] = {"status": response.status_code, "code": _code(error), "detail": _detail(error)}
    if isinstance(error, exceptions.ValidationError):
        body["errors"] = error.get_full_details()
    headers = {name: response[name] for name in ("WWW-Authenticate", "Retry-After", "Allow") if name in response}
    if isinstance(error, Problem) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    answer = Response(body, status=response.status_code, headers=headers)
    answer.content_type = "application/problem+json"
    return answer


def _code(error: Exception) -> str:
    match error:
        case Problem():
            return error.problem_code
        case exceptions.ValidationError():
            return "invalid"
        case Http404():
            return "not_found"
        case exceptions.APIException():
            return str(error.default_code)
    return "error"


def _detail(error: Exception) -> str:
    if isinstance(error, exceptions.ValidationError):
        return "The request has fields that cannot be used; `errors` names them."
    if isinstance(error, Http404):
        return "There is no such thing, or it is not yours."
    return str(getattr(error, "detail", "")) or status_words(error)


def status_words(error: Exception) -> str:
    """Words for an error that brought none."""
    code = getattr(error, "status_code", status.HTTP_500_INTERNAL_SERVER_ERROR)
    return f"The request was refused with status {code}."
