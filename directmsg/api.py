"""The partner API: views over the same verbs that Direct mail uses."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from allauth.idp.oidc.models import Token
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from healthvault.audit import trail
from healthvault.store.lookup import lookup_hash
from healthvault.store.models import HolderKey
from records.intake import IncomingMessage, store_parts
from trust.models import Organization

from . import amend, parcels
from .api_parsers import Form, Json
from .api_problems import MEDIA_TYPE, Problem
from .models import MailEvent, Parcel, PartnerRequest
from .newuser import mask_email
from .serializers import ParcelChange, ParcelForm, ParcelIn, ParcelOut, ProblemOut

KEY = "Idempotency-Key"
LONGEST_KEY = 255
IDEMPOTENCY = OpenApiParameter(
    KEY,
    {"type": "string", "maxLength": LONGEST_KEY},
    OpenApiParameter.HEADER,
    description="The same key with the same body gives the first answer again, and makes nothing twice. "
    "With another body it is refused: 422 `idempotency_key_reused`.",
)
A_DAY_S = 86_400


def answers(success: int, *problems: int) -> dict[Any, Any]:
    """The answers of an operation for the schema: a parcel, or a problem."""
    codes = sorted({400, 401, 403, 404, 406, 415, 500, 503, *problems})
    return {(success, "application/json"): ParcelOut, **{(code, MEDIA_TYPE): ProblemOut for code in codes}}


class NewestFirst(CursorPagination):
    """Pages by cursor, newest first."""

    ordering = "-created"

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor = super().decode_cursor(request)
        # The position goes into the query as it came; what is no time would fail there.
        if cursor is not None and cursor.position is not None and not _is_time(str(cursor.position)):
            raise Problem(404, "not_found", "The cursor is not one of ours.")
        return cursor


def caller(request: Request) -> Organization:
    """The organisation that `PartnerAuthentication` found."""
    return cast(Organization, request.user)


def _is_time(text: str) -> bool:
    try:
        found = parse_datetime(text)
    except ValueError:
        return False
    return found is not None and found.tzinfo is not None


class OwnParcels(GenericAPIView[Parcel]):
    """Views over the parcels that the calling organisation left here."""

    scopes = {"*": "parcels.write"}
    serializer_class = ParcelOut
    pagination_class = NewestFirst
    parser_classes = [Json]
    metadata_class = None

    def get_queryset(self) -> QuerySet[Parcel]:
        if getattr(self, "swagger_fake_view", False):
            return Parcel.objects.none()
        own = Parcel.objects.filter(organization=caller(self.request), source=Parcel.Source.REST)
        return own.select_related("holder", "inbound").prefetch_related("events")

    def get_parcel(self, parcel_id: UUID) -> Parcel:
        """Raises Http404 for an unknown parcel and for one of others alike."""
        return get_object_or_404(self.get_queryset(), pk=parcel_id)

    def told(self, parcel: Parcel, code: int = status.HTTP_200_OK) -> Response:
        """The parcel as it stands in the database now."""
        return Response(ParcelOut(self.get_parcel(parcel.pk)).data, status=code)

    def note(self, action: str, parcel: Parcel) -> None:
        """A line in the audit trail: the client is who acted."""
        client = cast(Token, self.request.auth).client_id
        trail.record(action, actor=client, subject=parcel.pk, request=self.request)


class Parcels(OwnParcels):
    """Hold something for a person known only by an e-mail address; list what was held."""

    parser_classes = [Json, Form]

    @extend_schema(
        operation_id="parcels_list",
        responses=answers(200) | {(200, "application/json"): ParcelOut(many=True)},
    )
    def get(self, request: Request) -> Response:
        """What this organisation left here, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(ParcelOut(page, many=True).data)

    @extend_schema(
        operation_id="parcels_create",
        request={"application/json": ParcelIn, "multipart/form-data": ParcelForm},
        responses=answers(201, 413, 422, 429),
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request) -> Response:
        """Hold a message with its attachments and mail a link to the person."""
        as_form = request.content_type.partition(";")[0].strip().lower() == Form.media_type
        wanted = (ParcelForm if as_form else ParcelIn)(data=request.data)
        wanted.is_valid(raise_exception=True)
        values = wanted.validated_data
        once = Once.of(request, _body_of(values))
        made = once.earlier()
        if made is not None:
            return self._made(made, values)
        try:
            made = self._hold(values, once)
        except parcels.TooManyParcels as error:
            raise _too_many(error) from error
        except IntegrityError:
            # The same key came twice at once; the other request made the parcel.
            made = once.earlier()
            if made is None:
                raise
        return self._made(made, values)

    def _made(self, parcel: Parcel, values: dict[str, Any]) -> Response:
        """The answer to the request that made `parcel`, the same whatever became of it since."""
        first = MailEvent.objects.filter(parcel=parcel)[:1]
        shown = ParcelOut(parcel).data | {
            "state": Parcel.State.WAITING,
            "contact_email": mask_email(values["contact_email"]),
            "has_question": values["question"] is not None,
            "events": ParcelOut().fields["events"].to_representation(first),
        }
        where = self.request.build_absolute_uri(reverse("api:parcel", args=[parcel.pk]))
        return Response(shown, status=status.HTTP_201_CREATED, headers={"Location": where})

    def _hold(self, values: dict[str, Any], once: Once) -> Parcel:
        organization = caller(self.request)
        offer = parcels.Offer(
            contact_email=values["contact_email"],
            question=values["question"],
            answer=values["answer"],
            organization=organization,
            organization_name=organization.shown_name,
            source=Parcel.Source.REST,
        )
        files = [(part["filename"], part["content_type"], part["content"]) for part in values["attachments"]]

        def build(holder: HolderKey) -> IncomingMessage:
            return IncomingMessage(
                from_address="",
                organization_name=offer.organization_name,
                subject=values["subject"],
                text=values["text"],
                source=Parcel.Source.REST,
                parts=store_parts(holder, files),
            )

        def close(parcel: Parcel) -> None:
            once.remember(parcel)
            self.note("api.parcel_held", parcel)

        return parcels.hold(offer, build, close=close)


class ParcelDetail(OwnParcels):
    """One parcel: its state and story, and what may still change."""

    @extend_schema(operation_id="parcels_retrieve", responses=answers(200))
    def get(self, request: Request, parcel_id: UUID) -> Response:
        """State and events."""
        return Response(ParcelOut(self.get_parcel(parcel_id)).data)

    @extend_schema(operation_id="parcels_update", request=ParcelChange, responses=answers(200, 409, 413, 429))
    def patch(self, request: Request, parcel_id: UUID) -> Response:
        """Correct the contact address (older links die), or ask another question."""
        parcel = self.get_parcel(parcel_id)
        change = ParcelChange(data=request.data)
        change.is_valid(raise_exception=True)
        values = change.validated_data
        with refusals():
            question = None
            if values["question"]:
                current = values.get("current_answer")
                question = amend.prepare_question(
                    parcel, values["question"], values["answer"], current, request=request
                )
            amend.change(parcel, values.get("contact_email"), question)
        self.note("api.parcel_changed", parcel)
        return self.told(parcel)


class ParcelVerb(OwnParcels):
    """Something that is done to a parcel by a POST without a body."""

    action = ""

    @abstractmethod
    def carry_out(self, parcel: Parcel) -> None:
        """Do it; the transaction is the caller's."""

    def do(self, request: Request, parcel_id: UUID) -> Response:
        """Carry out the verb, once for each Idempotency-Key."""
        parcel = self.get_parcel(parcel_id)
        once = Once.of(request, "")
        if once.earlier() is None:
            try:
                with refusals(), transaction.atomic():
                    self.carry_out(parcel)
                    once.remember(parcel)
                    self.note(self.action, parcel)
            except IntegrityError:
                # The same key came twice at once; the other request did it.
                if once.earlier() is None:
                    raise
        return self.told(parcel)


class Withdraw(ParcelVerb):
    """Take a parcel back."""

    action = "api.parcel_withdrawn"

    @extend_schema(
        operation_id="parcels_withdraw",
        request=None,
        responses=answers(200, 409, 422),
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, parcel_id: UUID) -> Response:
        """Take it back: the content is shredded and the link dies."""
        return self.do(request, parcel_id)

    def carry_out(self, parcel: Parcel) -> None:
        amend.withdraw(parcel)


class Resend(ParcelVerb):
    """Mail a new link."""

    action = "api.parcel_resent"

    @extend_schema(
        operation_id="parcels_resend",
        request=None,
        responses=answers(200, 409, 422, 429),
        parameters=[IDEMPOTENCY],
    )
    def post(self, request: Request, parcel_id: UUID) -> Response:
        """Mail a new link (older ones die); a locked parcel gets new tries, once."""
        return self.do(request, parcel_id)

    def carry_out(self, parcel: Parcel) -> None:
        amend.send_again(parcel)


@extend_schema(exclude=True)
class NotHere(APIView):
    """Every other address under the API: a 404 that machines can read."""

    authentication_classes = []
    permission_classes = [AllowAny]
    metadata_class = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise Http404


# --- the same request twice -----------------------------------------------------------------------------


class Once:
    """A request with an Idempotency-Key: what it made before, or will be remembered to have made."""

    def __init__(self, organization: Organization, key: str, fingerprint: str) -> None:
        self.organization, self.key, self.fingerprint = organization, key, fingerprint

    @classmethod
    def of(cls, request: Request, body: str) -> Once:
        """Raises Problem when the key is no good."""
        key = request.headers.get(KEY, "")
        if len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
            raise Problem(
                400, "bad_idempotency_key", f"An {KEY} is at most {LONGEST_KEY} characters of ASCII."
            )
        # Keyed, since a plain digest of the body would let a thief of the database test guesses of it.
        whole = f"{request.method} {request.path}\n{body}"
        return cls(caller(request), key, lookup_hash("idempotency", whole) if key else "")

    def earlier(self) -> Parcel | None:
        """The parcel of the first request with this key. Raises Problem 422 when its body was another."""
        if not self.key:
            return None
        rows = PartnerRequest.objects.select_related("parcel")
        row = rows.filter(organization=self.organization, key=self.key).first()
        if row is None:
            return None
        if row.fingerprint != self.fingerprint:
            raise Problem(422, "idempotency_key_reused", f"This {KEY} was used for another request.")
        return row.parcel

    def remember(self, parcel: Parcel) -> None:
        """In the transaction of what was done: raises IntegrityError when the key was used meanwhile."""
        if self.key:
            PartnerRequest.objects.create(
                organization=self.organization, key=self.key, fingerprint=self.fingerprint, parcel=parcel
            )


def _body_of(values: dict[str, Any]) -> str:
    """What a request for a parcel says, the same for JSON and forms."""
    files = [
        (part["filename"], part["content_type"], hashlib.sha256(part["content"]).hexdigest())
        for part in values["attachments"]
    ]
    names = ("contact_email", "question", "answer", "subject", "text")
    return json.dumps([[values[name] for name in names], files])


# --- refusals -------------------------------------------------------------------------------------------


@contextmanager
def refusals() -> Iterator[None]:
    """Tell what the verbs refuse as problems."""
    try:
        yield
    except parcels.TooManyParcels as error:
        raise _too_many(error) from error
    except amend.CannotAmend as error:
        wait_s = error.retry_after_s
        raise Problem(429 if wait_s else 409, error.code, str(error), retry_after_s=wait_s) from error


def _too_many(error: parcels.TooManyParcels) -> Problem:
    return Problem(429, error.code, "Too many parcels wait for this person.", retry_after_s=A_DAY_S)
