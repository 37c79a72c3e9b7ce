"""Errors of the partner API: problem+json (RFC 9457) with a stable `code`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from healthvault.vault.errors import VaultError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_KEPT = ("WWW-Authenticate", "Retry-After", "Allow")


class Problem(exceptions.APIException):
    """An error with a code of ours. `detail` names the thing and the remedy, never health data."""

    def __init__(self, http_status: int, code: str, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail, code)
        self.status_code = http_status
        self.problem_code = code
        self.retry_after_s = retry_after_s


class MissingScope(Problem):
    """The token is good and lacks the scope this needs (RFC 6750 section 3.1)."""

    def __init__(self, scope: str) -> None:
        super().__init__(403, "missing_scope", f"The access token lacks the scope {scope}.")
        self.challenge = f'Bearer realm="partners", error="insufficient_scope", scope="{scope}"'


def problem_response(error: Exception, context: dict[str, Any]) -> HttpResponseBase:
    """DRF's exception handler: every refusal, and every failure, as problem+json."""
    known = _known(error)
    response = exception_handler(known, context)
    assert response is not None
    headers = {name: response[name] for name in _KEPT if name in response}
    if isinstance(known, Problem) and known.retry_after_s is not None:
        headers["Retry-After"] = str(known.retry_after_s)
    if isinstance(known, MissingScope):
        headers["WWW-Authenticate"] = known.challenge
    body = problem_body(response.status_code, _code(known), _detail(known))
    if isinstance(known, exceptions.ValidationError):
        body["errors"] = known.get_full_details()
    answer = Response(body, status=response.status_code, headers=headers)
    answer.content_type = MEDIA_TYPE
    return answer


def problem_body(status: int, code: str, detail: str) -> dict[str, Any]:
    """The members of a problem (RFC 9457 section 3.1) and our `code`."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }


def _known(error: Exception) -> exceptions.APIException:
    """`error` as one that DRF can answer; what nobody foresaw is logged and told as such."""
    match error:
        case exceptions.APIException():
            return error
        case Http404():
            return Problem(404, "not_found", "There is no such thing, or it is not yours.")
        case RequestDataTooBig():
            return Problem(413, "too_large", "The request is too large.")
        case SuspiciousOperation() | BadRequest():
            return Problem(400, "parse_error", "The request cannot be read.")
        case VaultError(temporary=True) | OperationalError():
            log.warning("partner request put off", exc_info=error, extra={"code": "unavailable"})
            return Problem(503, "unavailable", "This cannot be done now; try again.", retry_after_s=5)
    log.error("partner request failed", exc_info=error, extra={"code": "internal"})
    return Problem(500, "internal", "Something broke on our side.")


def _code(error: exceptions.APIException) -> str:
    if isinstance(error, Problem):
        return error.problem_code
    return str(error.default_code)


def _detail(error: exceptions.APIException) -> str:
    if isinstance(error, exceptions.ValidationError):
        return "The request has fields that cannot be used; `errors` names them."
    return str(error.detail)
