"""Claim and ExplanationOfBenefit: what was billed, what the payer answered, and the texts that support it.

STU3 names: `service` for `productOrService`, `diagnosisLinkId` for `diagnosisSequence`, `totalCost` and `totalBenefit` for `total`, one
`insurance` where R4 has several, `outcome` as a concept, `information` for `supportingInfo`. CMS's own STU3 data (Blue Button 1) name amounts by the variables of its files.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import partial
from typing import Any

from nosology.errors import RecordError
from nosology.readers import values
from nosology.readers.document import PLAIN
from nosology.readers.fhir.attachments import note
from nosology.readers.fhir.elements import (
    Resource,
    Scope,
    array,
    codings,
    day,
    displays,
    identity,
    money,
    objects,
    one_object,
    one_or_more,
    period,
    reference,
    status,
    string,
    strings,
)
from nosology.readers.prose import Prose
from nosology.readers.source import Draft, Skipped
from nosology.records import Adjustment, Attachment, ClaimLine, Coding, Diagnosis, RawClaim, RawDocument, RawRemittance, RemittanceLine

_FORMS = {
    "professional": "professional", "institutional": "institutional", "oral": "dental", "pharmacy": "pharmacy",
    "carrier": "professional", "inpatient": "institutional", "outpatient": "institutional", "snf": "institutional", "hha": "institutional",
    "hospice": "institutional", "dme": "professional", "pde": "pharmacy",
}  # fmt: skip
_KINDS = {"principal": "principal", "admitting": "admitting", "patientreasonforvisit": "reason", "externalcauseofinjury": "external_cause",
          "external-cause": "external_cause", "external_cause": "external_cause"}  # fmt: skip
_NO_CLAIMS = ("preauthorization", "predetermination", "proposed", "exploratory")  # Claim.use of R4 and R5, then of STU3
_AMOUNTS = {  # code of an adjudication's category, or the variable that ends its URL, to the column of a line
    "submitted": "charge", "line_sbmtd_chrg_amt": "charge", "rev_cntr_tot_chrg_amt": "charge",
    "benefit": "paid", "paidtoprovider": "paid", "line_nch_pmt_amt": "paid", "rev_cntr_pmt_amt_amt": "paid",
    "eligible": "allowed", "line_alowd_chrg_amt": "allowed",
}  # fmt: skip
_REASONS, _GROUPS = "claim-adjustment-reason-codes", "claim-adjustment-group-codes"  # ends of X12's systems in FHIR
_ATTACHED = "supportingInfo.valueAttachment"

Amounts = dict[str, float | None]


def claim(resource: Resource, scope: Scope) -> list[Draft] | Skipped:
    """A claim as billed. A request for a preauthorization, or for an estimate, asks for no money: it is skipped."""
    if resource.get("use") in _NO_CLAIMS:
        return Skipped("Claim that is a request")
    claim_id = identity(resource)
    notes, attachments = supporting(resource, scope, claim_id)
    return [_claim(resource, scope, None, attachments), *notes]


def benefit(resource: Resource, scope: Scope) -> list[Draft] | Skipped:
    """The payer's answer; it stands for the claim too when it names none (as CMS's own data do)."""
    if resource.get("use") in _NO_CLAIMS:
        return Skipped("ExplanationOfBenefit of a request")
    items = objects(resource.get("item"), "item")
    answers = [_answer(item) for item in items]
    claim_id = reference(resource.get("claim"), "claim")
    totals = resource.get("total")
    amounts = {} if totals is None else _totals(totals)
    paid = money(one_object(resource.get("payment"), "payment").get("amount"), "payment.amount")
    if paid is None:
        paid = amounts.get("benefit", amounts.get("paidtoprovider"))
    charge = amounts.get("submitted")
    answer = partial(
        RawRemittance, claim_id=claim_id or identity(resource), payer_claim_id=identity(resource),
        status=status(resource.get("outcome"), "outcome"),
        charge=money(resource.get("totalCost"), "totalCost") if charge is None else charge,
        paid=money(resource.get("totalBenefit"), "totalBenefit") if paid is None else paid,
        patient_responsibility=amounts.get("patientresponsibility") or amounts.get("memberliability"),
        lines=tuple(line for _, line in answers), service_from=period(resource.get("billablePeriod"), "billablePeriod")[0],
    )  # fmt: skip
    notes, attachments = supporting(resource, scope, claim_id or identity(resource))
    return [answer, *notes] if claim_id else [_claim(resource, scope, [held for held, _ in answers], attachments), answer, *notes]


def supporting(resource: Resource, scope: Scope, claim_id: str) -> tuple[list[Draft], tuple[Attachment, ...]]:
    """The texts in `supportingInfo` as notes of the claim, and its attachments, each with the id of its note.

    A `valueString` of one word is a number or a code of the payer's and no note. An attachment that is no text, or that a URL stands for,
    has none: the claim stands. Any other fault of one is the resource's.
    """
    notes: list[Draft] = []
    attachments: list[Attachment] = []
    for at, entry in enumerate(objects(resource.get("supportingInfo", resource.get("information")), "supportingInfo"), start=1):
        if not ("valueAttachment" in entry or "valueString" in entry):
            continue
        attached = one_object(entry.get("valueAttachment"), _ATTACHED)
        told = string(entry.get("valueString"), "supportingInfo.valueString") or ""
        prose = Prose(told, PLAIN) if len(told.split()) > 1 else None
        if "data" in attached:
            try:
                prose = note([attached], scope, _ATTACHED).prose
            except RecordError as error:
                if error.reason.code != "unsupported_content":
                    raise
        kind = next((code.code for code in codings(entry.get("category"), "supportingInfo.category")), None)
        own = f"{identity(resource)}/supportingInfo-{values.count(entry.get('sequence'), 'supportingInfo.sequence') or at}"
        has_text = prose is not None and bool(prose.text.strip())
        if attached:
            attachments.append(Attachment(kind=kind, control_number=own if has_text else None))
        if prose is not None and has_text:
            timed = day(entry.get("timingDate"), "supportingInfo.timingDate")
            timed = timed or period(entry.get("timingPeriod"), "supportingInfo.timingPeriod")[0]
            notes.append(
                partial(
                    RawDocument, document_id=own, patient_id=reference(resource.get("patient"), "patient"), claim_id=claim_id,
                    kind=kind or "supportingInfo", text=prose.text, media_type=prose.media_type, origin=prose.origin,
                    date=timed or period(resource.get("billablePeriod"), "billablePeriod")[0],
                )
            )  # fmt: skip
    return notes, tuple(attachments)


def _claim(resource: Resource, scope: Scope, answers: list[Amounts] | None, attachments: tuple[Attachment, ...]) -> Draft:
    """The claim in a Claim, or in an ExplanationOfBenefit, whose lines have the amounts that its adjudications tell."""
    start, end = period(resource.get("billablePeriod"), "billablePeriod")
    kinds = [code.code.lower() for code in codings(resource.get("type"), "type")]
    items = objects(resource.get("item"), "item")
    insurances = one_or_more(resource.get("insurance"), "insurance")
    encounters = (found for item in items if (found := reference(item.get("encounter"), "item.encounter")))
    procedures = [
        code for one in objects(resource.get("procedure"), "procedure")
        for code in codings(one.get("procedureCodeableConcept"), "procedure")[:1]
    ]  # fmt: skip
    total = resource.get("total", resource.get("totalCost"))  # an amount in a Claim, a list by category in an ExplanationOfBenefit
    provider = one_object(resource.get("provider"), "provider")
    payers = displays([one_object(one.get("coverage"), "insurance.coverage") for one in insurances], "insurance.coverage")
    insurer = string(one_object(resource.get("insurer"), "insurer").get("display"), "insurer")
    npi = one_object(provider.get("identifier"), "provider.identifier")
    return partial(
        RawClaim, claim_id=identity(resource), patient_id=reference(resource.get("patient"), "patient"),
        encounter_id=next(encounters, None), form=next((_FORMS[kind] for kind in kinds if kind in _FORMS), "unknown"),
        status=string(resource.get("status"), "status"), service_from=start, service_to=end,
        diagnoses=_diagnoses(resource, scope.conditions), procedures=tuple(procedures),
        lines=tuple(_line(item, at, answers[at - 1] if answers else {}) for at, item in enumerate(items, start=1)),
        total_charge=money(total, "total") if type(total) is dict else _totals(total).get("submitted"),
        authorizations=tuple(number for one in insurances for number in strings(one.get("preAuthRef"), "insurance.preAuthRef")),
        payer=insurer or next(iter(payers), None), provider_name=string(provider.get("display"), "provider"),
        provider_npi=string(npi.get("value"), "provider.identifier") if "npi" in str(npi.get("system")) else None,
        attachments=attachments,
    )  # fmt: skip


def _totals(totals: Any) -> dict[str, float | None]:
    """Amounts of an ExplanationOfBenefit by category; the first of each."""
    found: dict[str, float | None] = {}
    for one in objects(totals, "total"):
        amount = money(one.get("amount"), "total.amount")
        for code in codings(one.get("category"), "total.category"):
            found.setdefault(code.code, amount)
    return found


def _diagnoses(resource: Resource, conditions: Mapping[str, list[Coding]]) -> tuple[Diagnosis, ...]:
    """Diagnoses by sequence. One that only refers to a Condition has the code of that Condition when it lies in the same Bundle."""
    found = []
    entries = objects(resource.get("diagnosis"), "diagnosis")
    for entry in sorted(entries, key=lambda one: values.count(one.get("sequence"), "diagnosis.sequence") or 0):
        codes = codings(entry.get("diagnosisCodeableConcept"), "diagnosis")
        if not codes:
            codes = conditions.get(reference(entry.get("diagnosisReference"), "diagnosis.diagnosisReference") or "", [])
        if not codes:
            continue
        chosen = codes[0] if len(codes) == 1 else min(codes, key=lambda code: code.system not in (values.ICD10CM, values.ICD9CM))
        kinds = [
            _KINDS.get(code.code.lower(), "other")
            for one in array(entry.get("type"), "diagnosis.type")
            for code in codings(one, "diagnosis.type")
        ]
        present = codings(entry.get("onAdmission"), "diagnosis.onAdmission")
        found.append(
            Diagnosis(
                system=chosen.system, code=chosen.code, kind=min(kinds, key=lambda kind: kind == "other", default="other"),
                present_on_admission=present[0].code.upper() if present else None,
            )
        )  # fmt: skip
    return tuple(found)


def _product(item: Resource) -> Coding | None:
    """What was done: a HCPCS code before others."""
    codes = codings(item.get("productOrService", item.get("service")), "item.productOrService")
    return codes[0] if len(codes) == 1 else min(codes, key=lambda code: code.system != values.HCPCS, default=None)


def _modifiers(item: Resource) -> tuple[str, ...]:
    written = item.get("modifier")
    return tuple(code.code for one in array(written, "item.modifier") for code in codings(one, "item.modifier")[:1]) if written else ()


def _served(item: Resource) -> datetime.date | None:
    return day(item.get("servicedDate"), "item.servicedDate") or period(item.get("servicedPeriod"), "item.servicedPeriod")[0]


def _line(item: Resource, at: int, amounts: Amounts) -> ClaimLine:
    chosen, revenue = _product(item), codings(item.get("revenue"), "item.revenue")
    charge = money(item.get("net"), "item.net")
    pointers = array(item.get("diagnosisSequence", item.get("diagnosisLinkId")), "item.diagnosisSequence")
    return ClaimLine(
        number=values.count(item.get("sequence"), "item.sequence") or at, system=chosen.system if chosen else None,
        code=chosen.code if chosen else None, modifiers=_modifiers(item), revenue_code=revenue[0].code if revenue else None,
        quantity=money(item.get("quantity"), "item.quantity"), charge=amounts.get("charge") if charge is None else charge,
        service_date=_served(item), diagnosis_pointers=tuple(values.count(one, "item.diagnosisSequence") or 0 for one in pointers),
    )  # fmt: skip


def _answer(item: Resource) -> tuple[Amounts, RemittanceLine]:
    """Amounts of a line by column, and the line of the remittance."""
    amounts: Amounts = {}
    adjustments = []
    for one in objects(item.get("adjudication"), "item.adjudication"):
        category = codings(one.get("category"), "item.adjudication.category")
        amount = money(one.get("amount", one.get("value") if type(one.get("value")) is dict else None), "item.adjudication.amount")
        if amount is not None:
            for code in category:
                if (column := _AMOUNTS.get(code.code.rpartition("/")[2])) and column not in amounts:
                    amounts[column] = amount
        if "reason" in one:
            group = next((code.code for code in category if (code.system or "").endswith(_GROUPS)), "unknown")
            for code in codings(one["reason"], "item.adjudication.reason"):
                if (code.system or "").endswith(_REASONS):
                    adjustments.append(Adjustment(group=group, reason=code.code, amount=amount))
    chosen, revenue = _product(item), codings(item.get("revenue"), "item.revenue")
    line = RemittanceLine(
        system=chosen.system if chosen else None, code=chosen.code if chosen else None, modifiers=_modifiers(item),
        revenue_code=revenue[0].code if revenue else None, charge=amounts.get("charge"), paid=amounts.get("paid"),
        allowed=amounts.get("allowed"), quantity=money(item.get("quantity"), "item.quantity"), service_date=_served(item),
        adjustments=tuple(adjustments),
    )  # fmt: skip
    return amounts, line
