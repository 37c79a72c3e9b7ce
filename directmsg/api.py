"""The partner API: views over the same verbs that Direct mail uses."""

from __future__ import annotations

import json
from typing import Any

from django.db import IntegrityError
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from healthvault.audit import trail
from healthvault.store.lookup import lookup_hash
from healthvault.store.models import HolderKey
from records.intake import IncomingMessage, store_parts
from trust.models import Organization

from . import parcels
from .api_problems import Problem
from .models import Parcel, PartnerRequest
from .newuser import NO_SUBJECT
from .serializers import ParcelIn, ParcelOut

IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="The same key with the same body gives the first answer again, and makes nothing twice.",
)


class NewestFirst(CursorPagination):
    """Pages by cursor, newest first."""

    ordering = "-created"


class Parcels(APIView):
    """Hold something for a person known only by an e-mail address; list what was held."""

    scopes = {"*": "parcels.write"}

    @extend_schema(responses=ParcelOut(many=True), operation_id="parcels_list")
    def get(self, request: Request) -> Response:
        pages = NewestFirst()
        page = pages.paginate_queryset(_own(request).prefetch_related("events"), request, view=self)
        return pages.get_paginated_response(ParcelOut(page, many=True).data)

    @extend_schema(request=ParcelIn, responses={201: ParcelOut}, parameters=[IDEMPOTENCY])
    def post(self, request: Request) -> Response:
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > 255:
            raise Problem(400, "bad_idempotency_key", "An Idempotency-Key has at most 255 characters.")
        print_of_body = _fingerprint(request)
        earlier = _earlier(request.user, key, print_of_body)
        if earlier is not None:
            return Response(ParcelOut(earlier).data, status=status.HTTP_201_CREATED)
        wanted = ParcelIn(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            parcel = _hold(request.user, wanted.validated_data, key, print_of_body)
        except parcels.TooManyParcels as error:
            raise Problem(429, error.code, "Too many parcels wait for this person.", retry_after_s=86_400) from error
        except IntegrityError:
            # The same key came twice at once; the other request made the parcel.
            earlier = _earlier(request.user, key, print_of_body)
            if earlier is None:
                raise
            return Response(ParcelOut(earlier).data, status=status.HTTP_201_CREATED)
        return Response(ParcelOut(parcel).data, status=status.HTTP_201_CREATED)


class ParcelDetail(APIView):
    """State and story of one parcel."""

    scopes = {"*": "parcels.write"}

    @extend_schema(responses=ParcelOut)
    def get(self, request: Request, parcel_id: str) -> Response:
        return Response(ParcelOut(get_object_or_404(_own(request), pk=parcel_id)).data)


def _own(request: Request) -> Any:
    return Parcel.objects.filter(organization=request.user, source=Parcel.Source.REST)


def _fingerprint(request: Request) -> str:
    # Keyed, since a plain digest of the body would let a thief of the database test guesses of it.
    return lookup_hash("idempotency", json.dumps(request.data, sort_keys=True, default=str))


def _earlier(organization: Organization, key: str, fingerprint: str) -> Parcel | None:
    """The parcel that a request with this key made before. Raises 422 when its body was another."""
    if not key:
        return None
    row = PartnerRequest.objects.select_related("parcel").filter(organization=organization, key=key).first()
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise Problem(422, "idempotency_key_reused", "This Idempotency-Key was used with another body.")
    return row.parcel


def _hold(organization: Organization, wanted: dict[str, Any], key: str, fingerprint: str) -> Parcel:
    offer = parcels.Offer(
        contact_email=wanted["contact_email"],
        question=wanted["question"],
        answer=wanted["answer"],
        organization=organization,
        organization_name=organization.shown_name,
        source=Parcel.Source.REST,
    )
    files = [(part["filename"], part["content_type"], part["content"]) for part in wanted["attachments"]]

    def build(holder: HolderKey) -> IncomingMessage:
        return IncomingMessage(
            from_address="",
            organization_name=offer.organization_name,
            subject=wanted["subject"].strip() or NO_SUBJECT,
            text=wanted["text"],
            source=Parcel.Source.REST,
            parts=store_parts(holder, files),
        )

    def close(parcel: Parcel) -> None:
        if key:
            PartnerRequest.objects.create(
                organization=organization, key=key, fingerprint=fingerprint, parcel=parcel
            )
        trail.record("api.parcel_held", subject=parcel.pk)

    return parcels.hold(offer, build, close=close)
