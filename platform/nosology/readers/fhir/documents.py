"""DocumentReference, DiagnosticReport and Composition: notes."""

from __future__ import annotations

import datetime
from functools import partial

from nosology.errors import RecordError
from nosology.readers.document import HTML
from nosology.readers.fhir.attachments import Note, note
from nosology.readers.fhir.elements import (
    Resource,
    Scope,
    codings,
    day,
    displays,
    encounter,
    identity,
    objects,
    one_object,
    one_or_more,
    period,
    reference,
    string,
)
from nosology.readers.markup import html_text
from nosology.readers.prose import Prose
from nosology.readers.source import Draft, Skipped
from nosology.records import RawDocument


def _kind(resource: Resource, element: str) -> str | None:
    """The document's type: its first code, else the words for it."""
    found = codings(resource.get(element), element)
    return found[0].code if found else string(one_object(resource.get(element), element).get("text"), f"{element}.text")


def _draft(resource: Resource, kind: str | None, found: Note, date: datetime.date | None, visit: str | None, claim: str | None) -> Draft:
    author = "author" if "author" in resource else "performer"
    people = [one_object(one["actor"], author) if "actor" in one else one for one in one_or_more(resource.get(author), author)]
    return partial(
        RawDocument, document_id=identity(resource), patient_id=reference(resource.get("subject"), "subject"), encounter_id=visit,
        claim_id=claim, kind=kind, text=found.prose.text, date=date, authors=displays(people, author),
        media_type=found.prose.media_type, file=found.file, file_digest=found.digest, origin=found.prose.origin,
    )  # fmt: skip


def document(resource: Resource, scope: Scope) -> list[Draft]:
    """DocumentReference. R4: `context` has `encounter` (in STU3 one), `period` and `related` (in STU3 with `ref`); R5: `context` is a
    list of references, `period` stands beside it. The time of the reference is `date`, in STU3 `indexed`; that of the document `created`."""
    context = resource.get("context")
    claims: list[Resource] = []
    if isinstance(context, list):
        visit, told = reference(context, "context"), resource.get("period")
    else:
        element = one_object(context, "context")
        visit, told = reference(element.get("encounter"), "context.encounter"), element.get("period")
        related = objects(element.get("related"), "context.related")
        claims = [one_object(one["ref"], "context.related") if "ref" in one else one for one in related]
    billed = [one for one in claims if "Claim/" in (string(one.get("reference"), "context.related") or "")]
    start, _ = period(told, "context.period")
    date = start or day(resource.get("created"), "created") or day(resource.get("date", resource.get("indexed")), "date")
    attachments = [one_object(one.get("attachment"), "content.attachment") for one in objects(resource.get("content"), "content")]
    found = note(attachments, scope, "content.attachment") if attachments else note([], scope, "content")
    claim = next((reference(one, "context.related") for one in billed), None)
    return [_draft(resource, _kind(resource, "type"), found, date, visit, claim)]


def report(resource: Resource, scope: Scope) -> list[Draft] | Skipped:
    """DiagnosticReport: its presented form and, where that lacks it, its conclusion. One of results alone is no note: skipped."""
    conclusion = string(resource.get("conclusion"), "conclusion")
    forms = objects(resource.get("presentedForm"), "presentedForm")
    if not forms and conclusion is None:
        return Skipped("DiagnosticReport without a narrative")
    if forms:
        try:
            found = note(forms, scope, "presentedForm")
        except RecordError:
            if conclusion is None:
                raise
            forms = []
    if not forms:
        found = Note(Prose(conclusion or "", "text/plain"))
    elif conclusion and " ".join(conclusion.split()) not in " ".join(found.prose.text.split()):
        both = f"{found.prose.text}\n\nConclusion\n{conclusion}"  # behind the form, so that its places stay
        found = Note(Prose(both, found.prose.media_type, found.prose.origin), found.file, found.digest)
    start, _ = period(resource.get("effectivePeriod"), "effectivePeriod")
    date = day(resource.get("effectiveDateTime"), "effectiveDateTime") or start or day(resource.get("issued"), "issued")
    return [_draft(resource, _kind(resource, "code"), found, date, encounter(resource), None)]


def composition(resource: Resource, scope: Scope) -> list[Draft]:
    """Composition: the narratives of its sections, each below its title, in order; without sections, that of the resource itself."""
    parts = [title] if (title := string(resource.get("title"), "title")) else []
    told = _sections(resource)
    if not told and (own := _narrative(resource)):
        told = [own]
    if not any(text for text in told):
        raise RecordError("empty_note", "section.text", "a section with a narrative")
    text = "\n\n".join(part for part in [*parts, *told] if part)
    return [
        _draft(resource, _kind(resource, "type"), Note(Prose(text, HTML)), day(resource.get("date"), "date"), encounter(resource), None)
    ]


def _sections(resource: Resource) -> list[str]:
    """The sections in a resource or a section, and in those. (JSON that orjson reads is 1,024 values deep at most.)"""
    found: list[str] = []
    for section in objects(resource.get("section"), "section"):
        text = _narrative(section)
        below = _sections(section)
        title = string(section.get("title"), "section.title")
        if text or below:
            found.append("\n".join(part for part in (title, text) if part))
            found += below
    return found


def _narrative(resource: Resource) -> str:
    """The text of a Narrative: XHTML in `text.div`."""
    page = string(one_object(resource.get("text"), "text").get("div"), "text.div")
    return html_text(page).text if page else ""
