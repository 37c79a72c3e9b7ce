"""Pages for what comes into a record: what came in, review, undo, whose document it is, uploads."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from healthvault.audit import trail

from . import filing as filings
from . import quota, review, undo, uploading
from .access import Access, open_access, signed_in
from .comparing import Row, compare
from .facts import Fact
from .forms import SenderForm
from .item_forms import UploadForm
from .kinds import kind_name, place_of
from .models import Document, Entry, EntrySource, Import, Message, Right
from .preferences import BadSender, set_sender_preference
from .unpacked import contents_of

#: So many items stand on a page at once.
AT_ONCE = 100
#: So many items of one fate an undo page names; the others it counts.
NAMED = 60


# --- what came in ---------------------------------------------------------------------------------------


@require_safe
@login_required
def imports(request: HttpRequest, record_id: str) -> HttpResponse:
    """Every document that came in, with its source and what became of it, newest first."""
    access = open_access(request, record_id)
    documents = access.documents.select_related(
        "record__holder", "attachment__message__record__holder", "filing"
    )
    page = Paginator(documents.order_by("-created"), 50).get_page(request.GET.get("page"))
    trail.record("record.viewed", record=access.record, request=request)
    return render(request, "records/imports.html", {"record": access.record, "access": access, "page": page})


@dataclass(frozen=True, slots=True)
class Brought:
    """One thing a document said, and what it is in the record now; `link` when there is an item to open."""

    fact: Fact
    kind: str
    fate: str
    tone: str
    link: bool


@require_safe
@login_required
def one_import(request: HttpRequest, record_id: str, import_id: str) -> HttpResponse:
    """What one document brought, and where that stands."""
    access = open_access(request, record_id)
    filing = _import(access, import_id)
    sources = EntrySource.objects.filter(filing=filing).select_related(
        "entry__record__holder", "filing__record__holder"
    )
    page = Paginator(sources.order_by("pk"), AT_ONCE).get_page(request.GET.get("page"))
    shown = set(access.entries.filter(sources__filing=filing).values_list("pk", flat=True))
    trail.record("import.viewed", record=access.record, subject=filing.pk, request=request)
    context = {
        "record": access.record,
        "access": access,
        "filing": filing,
        "document": filing.document,
        "message": filing.document.attachment.message if filing.document.attachment else None,
        "page": page,
        "brought": [_brought(source, filing, source.entry_id in shown) for source in page],
        "waiting": sources.filter(state=EntrySource.State.PROPOSED).count(),
    }
    return render(request, "records/import.html", context)


def _brought(source: EntrySource, filing: Import, link: bool) -> Brought:
    content = source.content or {}
    kind = content.get("kind", source.entry.kind)
    fate, tone = _fate(source, source.entry, filing)
    # What was removed for good says nothing any more.
    name = content if content else {"name": "Removed for good"}
    return Brought(Fact(str(source.entry_id), kind, name), kind_name(kind), fate, tone, link)


def _fate(source: EntrySource, entry: Entry, filing: Import) -> tuple[str, str]:
    if source.state == EntrySource.State.PROPOSED:
        return "To review", "info"
    if source.state == EntrySource.State.IGNORED:
        return "Ignored", ""
    if source.state == EntrySource.State.WITHDRAWN:
        if entry.state == Entry.State.UNDONE:
            return "Left the record", ""
        return ("Stays in your words" if entry.own else "Stays: another document says it"), ""
    if entry.state != Entry.State.ACTIVE:
        return str(entry.get_state_display()), "warn"
    if entry.own:
        return "In the record, in your words", "good"
    if entry.filing_id != filing.pk:
        return "In the record, as another document has it", "good"
    return "In the record", "good"


# --- review ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """A proposal as the review page asks about it."""

    id: UUID
    standing: str
    fact: Fact
    kind: str
    rows: list[Row]
    own: bool
    instead: list[tuple[str, str]]


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def review_import(request: HttpRequest, record_id: str, import_id: str) -> HttpResponse:
    """Ask about each thing a document would add, or take all of them."""
    access = open_access(request, record_id, Right.MODIFY)
    filing = _import(access, import_id)
    if request.method == "POST":
        return _reviewed(request, access, filing)
    if filing.state != Import.State.PROPOSED:
        messages.info(request, "There is nothing to review in this document any more.")
        return redirect("records:import", record_id=access.record.pk, import_id=filing.pk)
    waiting = review.proposals(filing)
    page = Paginator(waiting, AT_ONCE).get_page(request.GET.get("page"))
    trail.record("import.viewed", record=access.record, subject=filing.pk, request=request)
    tally: Counter[str] = Counter()
    for one in waiting:
        tally[one.standing] += 1
    context = {
        "record": access.record,
        "filing": filing,
        "document": filing.document,
        "page": page,
        "questions": _questions(access, list(page)),
        "tally": dict(tally),
        "total": len(waiting),
    }
    return render(request, "records/review.html", context)


def _questions(access: Access, waiting: list[review.Proposal]) -> list[Question]:
    news = {one.kind for one in waiting if one.standing == "new"}
    present: dict[str, list[tuple[str, str]]] = defaultdict(list)
    rows = access.entries.filter(state=Entry.State.ACTIVE, kind__in=news).select_related("record__holder")
    for entry in rows:
        present[entry.kind].append((str(entry.pk), _label(Fact(str(entry.pk), entry.kind, entry.content))))
    about = access.entries.filter(pk__in=[one.entry for one in waiting], own=True)
    own = set(about.values_list("pk", flat=True))
    asked = [
        _question(one, one.entry in own, sorted(present[one.kind], key=lambda each: each[1]))
        for one in waiting
    ]
    return sorted(asked, key=lambda one: place_of(one.fact.kind))


def _question(one: review.Proposal, own: bool, instead: list[tuple[str, str]]) -> Question:
    rows = compare(one.kind, one.present, one.content) if one.standing == "differs" else []
    fact = Fact(str(one.entry), one.kind, one.content)
    offered = instead if one.standing == "new" else []
    return Question(one.id, one.standing, fact, kind_name(one.kind), rows, own, offered)


def _label(fact: Fact) -> str:
    words = ", ".join(filter(None, (fact.name, fact.value, fact.when)))
    return words if len(words) <= 90 else f"{words[:89]}…"


def _reviewed(request: HttpRequest, access: Access, filing: Import) -> HttpResponse:
    account = signed_in(request)
    try:
        if "all" in request.POST:
            number = review.take_all(filing, account)
            messages.success(request, f"Taken: all {number} items of the document.")
        else:
            choices = _choices(request, access)
            review.decide(filing, account, choices)
            messages.success(request, _decided_words(choices))
    except review.NotWaiting:
        messages.warning(request, "Some of this was decided meanwhile, so nothing was changed. Look again.")
    except (review.NoSuchItem, ValueError):
        messages.error(request, "An item that was to be replaced is no longer here. Nothing was changed.")
    filing.refresh_from_db(fields=["state"])
    page = "review" if filing.state == Import.State.PROPOSED else "import"
    return redirect(f"records:{page}", record_id=access.record.pk, import_id=filing.pk)


def _choices(request: HttpRequest, access: Access) -> dict[UUID, review.Choice]:
    """The answers of the form: `answer-<proposal>`, and `instead-<proposal>` for what a new one replaces."""
    chosen = {}
    for name, answer in request.POST.items():
        if not name.startswith("answer-") or answer not in ("add", "replace", "ignore"):
            continue
        key = name.removeprefix("answer-")
        target = str(request.POST.get(f"instead-{key}", "")) if answer == "replace" else ""
        if answer == "replace" and f"instead-{key}" in request.POST and not target:
            # Replace what? Nothing was chosen: it goes on waiting.
            continue
        chosen[UUID(key)] = review.Choice(answer, UUID(target) if target else None)  # type: ignore[arg-type]
    targets = {choice.target for choice in chosen.values() if choice.target}
    if access.entries.filter(pk__in=targets).count() != len(targets):
        raise review.NoSuchItem("this item is not in the record")
    return chosen


def _decided_words(choices: dict[UUID, review.Choice]) -> str:
    counted: Counter[str] = Counter()
    for choice in choices.values():
        counted[choice.answer] += 1
    words = {"add": "taken", "replace": "replaced", "ignore": "ignored"}
    said = [f"{counted[answer]} {word}" for answer, word in words.items() if counted[answer]]
    return f"Saved: {', '.join(said)}." if said else "Nothing was chosen, so nothing was changed."


# --- undo -----------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def undo_import(request: HttpRequest, record_id: str, import_id: str) -> HttpResponse:
    """Show what taking an import back would change, and do it."""
    access = open_access(request, record_id, Right.MODIFY)
    filing = _import(access, import_id)
    try:
        if request.method == "POST":
            done = undo.undo_import(filing, signed_in(request))
            messages.success(request, _undone_words(done))
            return redirect("records:import", record_id=access.record.pk, import_id=filing.pk)
        changes = undo.foresee_undo(filing)
    except undo.NotUndoable:
        messages.info(request, "This was taken back already.")
        return redirect("records:import", record_id=access.record.pk, import_id=filing.pk)
    context = {
        "record": access.record,
        "filing": filing,
        "document": filing.document,
        "fates": _fates(access, changes),
        "nothing": not any(one.what in ("goes", "changes", "comes") for one in changes),
    }
    return render(request, "records/undo.html", context)


@dataclass(frozen=True, slots=True)
class Fate:
    """The items that an undo treats alike."""

    what: str
    facts: list[tuple[Fact, list[Row]]]
    more: int

    @property
    def number(self) -> int:
        return len(self.facts) + self.more


def _fates(access: Access, changes: list[undo.Change]) -> list[Fate]:
    made = []
    if not access.custodian:
        personal = access.record.entries.filter(personal=True, pk__in=[one.entry for one in changes])
        hidden = set(personal.values_list("pk", flat=True))
        changes = [one for one in changes if one.entry not in hidden]
    for what in ("goes", "changes", "comes", "own", "stays"):
        alike = [one for one in changes if one.what == what]
        if alike:
            named = [(Fact(str(c.entry), c.kind, c.content), _rows(c)) for c in alike[:NAMED]]
            made.append(Fate(what, named, len(alike) - len(named)))
    return made


def _rows(change: undo.Change) -> list[Row]:
    if change.what != "changes":
        return []
    return [row for row in compare(change.kind, change.content, change.after) if row.differs]


def _undone_words(done: undo.Undone) -> str:
    words = [f"{done.taken} {'item' if done.taken == 1 else 'items'} left the record"]
    if done.stayed:
        words.append(
            f"{done.stayed} {'stays' if done.stayed == 1 else 'stay'}, because other documents say so"
        )
    if done.own:
        words.append(f"{done.own} {'stays' if done.own == 1 else 'stay'} in your own words")
    return f"Taken back: {'; '.join(words)}."


@require_POST
@login_required
def redo_import(request: HttpRequest, record_id: str, import_id: str) -> HttpResponse:
    """Apply an import again that was taken back."""
    access = open_access(request, record_id, Right.MODIFY)
    filing = _import(access, import_id)
    try:
        undo.redo_import(filing, signed_in(request))
        messages.success(request, "It is in the record again.")
    except undo.NotUndone:
        messages.info(request, "This was not taken back, so there is nothing to add again.")
    return redirect("records:import", record_id=access.record.pk, import_id=filing.pk)


# --- whose document it is ---------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def whose(request: HttpRequest, record_id: str, document_id: str) -> HttpResponse:
    """Ask whether a document that names somebody else belongs into this record."""
    access = open_access(request, record_id, Right.MODIFY)
    document = _document(access, document_id)
    if request.method == "POST":
        return _answered(request, access, document)
    facts = document.facts or {}
    patient = facts.get("patient") or {}
    own = filings.record_patient(access.record)
    context = {
        "record": access.record,
        "document": document,
        "rows": [
            Row("Name", own.name, patient.get("name", "")),
            Row("Born", own.birth_date, patient.get("birth_date", "")),
            Row("Sex", own.gender, patient.get("gender", "")),
        ],
        "several": facts.get("patients", 0) > 1,
        "asked": document.state in (Document.State.HELD, Document.State.REFUSED),
    }
    trail.record("document.viewed", record=access.record, subject=document.pk, request=request)
    return render(request, "records/whose.html", context)


def _answered(request: HttpRequest, access: Access, document: Document) -> HttpResponse:
    if "mine" in request.POST:
        filings.confirm_patient(document)
        trail.record("document.confirmed", record=access.record, subject=document.pk, request=request)
        messages.success(request, "It is being read now. What it says will stand in the record in a moment.")
    elif "not_mine" in request.POST:
        filings.refuse_document(document)
        trail.record("document.refused", record=access.record, subject=document.pk, request=request)
        messages.success(
            request, "Nothing was taken from the document. It is kept, in case you need to show it."
        )
    return redirect("records:imports", record_id=access.record.pk)


# --- uploads --------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def upload(request: HttpRequest, record_id: str) -> HttpResponse:
    """Take a file from the person's own disk."""
    access = open_access(request, record_id, Right.MODIFY)
    if not access.whole:
        # Who sees some kinds of items only could not open again what they put here.
        raise Http404
    sent = (request.POST, request.FILES) if request.method == "POST" else ()
    form = UploadForm(*sent, most=settings.MAX_MESSAGE_SIZE)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            done = uploading.take_upload(access.record, signed_in(request), file.name or "", file.read())
        except quota.RecordFull as full:
            form.add_error("file", f"{full}.")
        else:
            return _after_upload(request, access, done)
    return render(request, "records/upload.html", {"record": access.record, "form": form})


_TAKEN = (
    "The file was taken in and is being read. What comes of it appears in the record, as far as it is for you"
    " to see."
)


def _after_upload(request: HttpRequest, access: Access, done: uploading.Upload) -> HttpResponse:
    if not done.new:
        messages.info(request, "This very file is in the record already. Nothing was added twice.")
    elif not access.messages.filter(pk=done.message.pk).exists():
        # Until it is read nobody knows whether it says something that is kept from this person.
        messages.success(request, _TAKEN)
        return redirect("records:overview", record_id=access.record.pk)
    return redirect("records:upload_result", record_id=access.record.pk, message_id=done.message.pk)


@require_safe
@login_required
def upload_result(request: HttpRequest, record_id: str, message_id: str) -> HttpResponse:
    """What became of an upload; asks by itself until everything is read."""
    access = open_access(request, record_id)
    related = access.messages.select_related("record__holder")
    message = related.filter(pk=message_id, direction=Message.Direction.OWN).first()
    if message is None:
        raise Http404
    contents = contents_of(message)
    asking = bool(request.htmx)  # type: ignore[attr-defined]
    if asking and contents.worth_asking and request.GET.get("unread") == str(contents.unread):
        return HttpResponse(status=204)
    context = {
        "message": message,
        "record": access.record,
        "contents": contents,
        "may_change": access.may_change,
        "here": reverse("records:upload_result", args=[access.record.pk, message.pk]),
    }
    if not asking:
        trail.record("message.viewed", record=access.record, subject=message.pk, request=request)
        return render(request, "records/upload_result.html", context)
    # 286 ends the asking of a page that has asked for long enough.
    return render(request, "directmsg/_documents.html", context, status=200 if contents.worth_asking else 286)


# --- exceptions for senders -----------------------------------------------------------------------------


@require_POST
@login_required
def sender_preference(request: HttpRequest, record_id: str) -> HttpResponse:
    """Treat what one sender's documents say otherwise than the record's preference, or no longer."""
    record = open_access(request, record_id, Right.CUSTODIAN).record
    form = SenderForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Fill in the sender, and choose what happens to their documents.")
    else:
        try:
            set_sender_preference(
                record, form.cleaned_data["sender"], form.cleaned_data["preference"] or None
            )
        except BadSender as refused:
            messages.error(request, str(refused))
        else:
            trail.record("record.settings_changed", record=record, request=request)
            messages.success(request, "Your settings are saved.")
    return redirect(f"{reverse('records:settings', args=[record.pk])}#senders")


# --- rows -----------------------------------------------------------------------------------------------


def _import(access: Access, import_id: str) -> Import:
    found = (
        Import.objects.filter(record=access.record, document__in=access.documents, pk=import_id)
        .select_related(
            "record__holder", "document__record__holder", "document__attachment__message__record__holder"
        )
        .first()
    )
    if found is None:
        raise Http404
    return found


def _document(access: Access, document_id: str) -> Document:
    related = access.documents.select_related("record__holder", "attachment__message__record__holder")
    found = related.filter(pk=document_id).first()
    if found is None:
        raise Http404
    return found
