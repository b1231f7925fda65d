"""Small files of every format, written by hand; names and numbers are made up."""

from __future__ import annotations

import base64
import io
import json
from typing import Any


def isa(element: str = "*", component: str = ":", terminator: str = "~", version: str = "00501") -> str:
    parts = ["ISA", "00", " " * 10, "00", " " * 10, "ZZ", "SENDER".ljust(15), "ZZ", "RECEIVER".ljust(15), "240101", "1200", "^", version]
    return element.join([*parts, "000000001", "0", "T", component]) + terminator


CLAIM = """NM1*IL*1*QUIMBY*ADA*B***MI*W0001~N3*1 ELM ST~N4*SPRINGFIELD*MA*01101~DMG*D8*19800229*F~NM1*PR*2*ACME HEALTH*****PI*99~
CLM*C-1*150.5***11:B:1*Y*A*Y*Y~HI*ABK:E1165*ABF:I10~NTE*ADD*SEEN FOR FOLLOW UP~LX*1~SV1*HC:99213:25*100.5*UN*1***1:2~DTP*472*D8*20240229~
LX*2~SV1*HC:36415*50*UN*2***1~DTP*472*RD8*20240301-20240302~"""
HEAD = "HL*1**20*1~NM1*85*2*CLINIC ONE*****XX*1234567893~HL*2*1*22*0~SBR*P*18*******CI~"


def x12(
    body: str = HEAD + CLAIM, version: str = "005010X222A1", kind: str = "837", end: str = "SE*9*0001~GE*1*1~IEA*1*000000001~"
) -> bytes:
    return (isa() + f"GS*HC*A*B*20240101*1200*1*X*{version}~ST*{kind}*0001*{version}~BHT*0019*00*1*20240101*1200*CH~" + body + end).encode()


REMITTANCE = """CLP*C-1*1*150.5*100*20.25*12*P77~CAS*CO*45*30.25**253*1~NM1*QC*1*QUIMBY*ADA****MI*W0001~DTM*232*20240229~
SVC*HC:99213*100.5*80~DTM*472*20240301~CAS*PR*1*20~"""

INSTITUTIONAL = """NM1*IL*1*QUIMBY*ADA****MI*W0001~DMG*D8*19800229*F~CLM*I-1*900***13:A:1*Y*A*Y*Y~DTP*434*RD8*20150929-20151003~
HI*ABK:S72001A:::::::Y~HI*ABJ:R52~HI*APR:R109~HI*ABN:W19XXXA~HI*BBR:0SRD0J9:D8:20150930~HI*BE:A2:::15.31~LX*1~SV2*0360*HC:27447*900*UN*1~DTP*472*D8*20150930~"""


def lines(*resources: dict[str, Any]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in resources).encode()


PATIENT = {
    "resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1980-02-29", "deceasedDateTime": "2024-05-01T03:00:00Z",
    "name": [{"family": "Quimby", "given": ["Ada", "B"]}], "identifier": [{"value": "MRN-7"}],
    "telecom": [{"system": "phone", "value": "555-0100"}, {"system": "email", "value": "a@example.org"}],
    "address": [{"line": ["1 Elm St"], "city": "Springfield", "state": "MA", "postalCode": "01101"}],
    "contact": [{"name": {"family": "Hall", "given": ["Ida"]}, "telecom": [{"system": "phone", "value": "555-0101"}]}],
}  # fmt: skip
ENCOUNTER = {
    "resourceType": "Encounter", "id": "e1", "class": {"code": "AMB"}, "subject": {"reference": "Patient/p1"},
    "period": {"start": "2024-02-29T23:30:00-05:00", "end": "2024-03-01T00:10:00-05:00"},
    "reasonCode": [{"coding": [{"system": "http://snomed.info/sct", "code": "44054006"}]}],
    "participant": [{"individual": {"reference": "Practitioner?identifier=x|1", "display": "Dr. Who"}}],
    "serviceProvider": {"display": "CLINIC ONE"},
}  # fmt: skip
CONDITION = {
    "resourceType": "Condition", "id": "c1", "subject": {"reference": "https://h.example.org/fhir/Patient/p1/_history/2"},
    "encounter": {"reference": "urn:uuid:e1"}, "onsetDateTime": "2020-05", "clinicalStatus": {"coding": [{"code": "active"}]},
    "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E1165", "display": "x"}]},
}  # fmt: skip
NOTE_TEXT = "Visit\n\nAssessment: type 2 diabetes – naïve, 50 % better."


def document(text: str = NOTE_TEXT, kind: str = "text/plain; charset=utf-8", **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference", "id": "d1", "subject": {"reference": "Patient/p1"}, "date": "2024-03-02T00:00:00Z",
        "type": {"coding": [{"system": "http://loinc.org", "code": "34117-2"}]}, "author": [{"display": "Dr. Who"}],
        "context": {
            "encounter": [{"reference": "Encounter/e1"}], "period": {"start": "2024-02-29"}, "related": [{"reference": "Claim/k1"}],
        },
        "content": [{"attachment": {"contentType": kind, "data": base64.b64encode(text.encode()).decode()}}], **changes,
    }  # fmt: skip


FHIR_CLAIM = {
    "resourceType": "Claim", "id": "k1", "status": "active", "type": {"coding": [{"code": "professional"}]},
    "patient": {"reference": "Patient/p1"}, "billablePeriod": {"start": "2024-02-29", "end": "2024-02-29"},
    "provider": {"display": "CLINIC ONE", "identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}},
    "insurance": [{"coverage": {"display": "ACME HEALTH"}}], "total": {"value": 150.5},
    "diagnosis": [
        {"sequence": 2, "diagnosisReference": {"reference": "urn:uuid:c1"}},
        {"sequence": 1, "diagnosisCodeableConcept": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "I10"}]},
         "type": [{"coding": [{"code": "principal"}]}]},
    ],
    "item": [{"sequence": 1, "productOrService": {"coding": [{"system": "http://www.ama-assn.org/go/cpt", "code": "99213"}]},
              "encounter": [{"reference": "Encounter/e1"}], "diagnosisSequence": [1, 2], "net": {"value": 150.5}}],
}  # fmt: skip
BENEFIT = {
    **FHIR_CLAIM, "resourceType": "ExplanationOfBenefit", "id": "b1", "outcome": "complete", "claim": {"reference": "Claim/k1"},
    "total": [{"category": {"coding": [{"code": "submitted"}]}, "amount": {"value": 150.5}},
              {"category": {"coding": [{"code": "benefit"}]}, "amount": {"value": 120}}],
    "payment": {"amount": {"value": 119.5}},
}  # fmt: skip


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in resources],
    }


CARRIER_HEADER = (
    "DML_IND|BENE_ID|CLM_ID|FINAL_ACTION|CLM_FROM_DT|CLM_THRU_DT|NCH_CARR_CLM_SBMTD_CHRG_AMT|PRNCPAL_DGNS_CD|PRNCPAL_DGNS_VRSN_CD|"
    "ICD_DGNS_CD1|ICD_DGNS_VRSN_CD1|ICD_DGNS_CD2|ICD_DGNS_VRSN_CD2|ICD_DGNS_CD3|ICD_DGNS_VRSN_CD3|LINE_NUM|HCPCS_CD|HCPCS_1ST_MDFR_CD|"
    "LINE_SRVC_CNT|LINE_SBMTD_CHRG_AMT|LINE_1ST_EXPNS_DT|LINE_ICD_DGNS_CD"
)


def carrier(*rows: str) -> bytes:
    """Rows as `claim|line|date`, or a whole row."""
    out = [CARRIER_HEADER]
    for row in rows:
        if row.count("|") == 2:
            claim, line, date = row.split("|")
            row = f"INSERT|-9|{claim}|F|{date}|30-May-2015|204.20|O039|0|O039|0|E8120|9|25000||{line}|99213|25|9|102.1|20150530|O039"
        out.append(row)
    return ("\ufeff" + "\n".join(out) + "\n").encode()


BENEFICIARY = (
    b"DML_IND|BENE_ID|STATE_CODE|BENE_ZIP_CD|BENE_BIRTH_DT|BENE_SEX_IDENT_CD|BENE_SRNM_NAME|BENE_GVN_NAME|MBI_NUM|DEATH_DT\n"
    b"INSERT|-9|22|1730|17-Jan-1942|2|Quimby|Ada|1S00E00AA00|\n"
)
PDE = b"DML_IND|PDE_ID|FINAL_ACTION|BENE_ID|SRVC_DT|PROD_SRVC_ID|QTY_DSPNSD_NUM|TOT_RX_CST_AMT\n"
PDE += b"INSERT|-8|F|-9|01-Mar-2015|50090443201|90|35.74\n"

ORU = (
    b"MSH|^~\\&|LAB|X|EHR|Y|20240301||ORU^R01|M1|P|2.5\r"
    b"PID|1||MRN-7^^^H~SSN-1^^^S||Quimby^Ada^B||19800229|F|||1 Elm St^^Springfield^MA^01101||555-0100\r"
    b"PV1|1|O|W^1^2^CLINIC ONE||||99^Who^Doctor||||||||||||V-1|||||||||||||||||||||||||20240229|20240301\r"
    b"DG1|1||E1165^Diabetes^I10C||20240229|F\rDG1|2||29857009^Chest pain^SCT|||W\r"
    b"OBR|1|P1|F1|11502-2^Lab report^LN|||20240229\rOBX|1|NM|1^Sodium||140\rOBX|2|TX|11502-2^Report^LN||First line \\T\\ more\r"
    b"OBX|3|FT|11502-2^Report^LN||A\\.br\\B \\F\\ C~D\rOBX|4|TX|x|||\r"
)

# DE-SynPUF: the headers are the codebook's, the rows are made up
SYNPUF_INPATIENT_HEADER = ",".join([
    "DESYNPUF_ID", "CLM_ID", "SEGMENT", "CLM_FROM_DT", "CLM_THRU_DT", "PRVDR_NUM", "CLM_PMT_AMT", "NCH_PRMRY_PYR_CLM_PD_AMT", "AT_PHYSN_NPI",
    "OP_PHYSN_NPI", "OT_PHYSN_NPI", "CLM_ADMSN_DT", "ADMTNG_ICD9_DGNS_CD", "CLM_PASS_THRU_PER_DIEM_AMT", "NCH_BENE_IP_DDCTBL_AMT",
    "NCH_BENE_PTA_COINSRNC_LBLTY_AM", "NCH_BENE_BLOOD_DDCTBL_LBLTY_AM", "CLM_UTLZTN_DAY_CNT", "NCH_BENE_DSCHRG_DT", "CLM_DRG_CD",
    *(f"ICD9_DGNS_CD_{n}" for n in range(1, 11)), *(f"ICD9_PRCDR_CD_{n}" for n in range(1, 7)), *(f"HCPCS_CD_{n}" for n in range(1, 46)),
])  # fmt: skip
SYNPUF_CARRIER_HEADER = ",".join([
    "DESYNPUF_ID", "CLM_ID", "CLM_FROM_DT", "CLM_THRU_DT", *(f"ICD9_DGNS_CD_{n}" for n in range(1, 9)),
    *(f"{name}_{n}" for name in ("PRF_PHYSN_NPI", "TAX_NUM", "HCPCS_CD", "LINE_NCH_PMT_AMT", "LINE_BENE_PTB_DDCTBL_AMT",
      "LINE_BENE_PRMRY_PYR_PD_AMT", "LINE_COINSRNC_AMT", "LINE_ALOWD_CHRG_AMT", "LINE_PRCSG_IND_CD", "LINE_ICD9_DGNS_CD") for n in range(1, 14)),
])  # fmt: skip
SYNPUF_BENEFICIARY = (
    b'"DESYNPUF_ID","BENE_BIRTH_DT","BENE_DEATH_DT","BENE_SEX_IDENT_CD","BENE_RACE_CD","BENE_ESRD_IND","SP_STATE_CODE","BENE_COUNTY_CD"\n'
    b'"00A1",19230501,,1,1,0,26,950\n'
)
SYNPUF_DRUG = (
    b"DESYNPUF_ID,PDE_ID,SRVC_DT,PROD_SRVC_ID,QTY_DSPNSD_NUM,DAYS_SUPLY_NUM,PTNT_PAY_AMT,TOT_RX_CST_AMT\n"
    b"00A1,231,20090725,00247181304,30.00,30,10.00,570.00\n"
)


def synpuf(header: str, *rows: dict[str, str]) -> bytes:
    """Rows by column; what is not named is empty."""
    names = header.split(",")
    return "".join(line + "\n" for line in (header, *(",".join(row.get(name, "") for name in names) for row in rows))).encode()


SYNPUF_STAY = {
    "DESYNPUF_ID": "00A1", "CLM_ID": "542", "SEGMENT": "1", "CLM_FROM_DT": "20080911", "CLM_THRU_DT": "20080913", "PRVDR_NUM": "2600GD",
    "CLM_PMT_AMT": "4000.00", "ADMTNG_ICD9_DGNS_CD": "4580", "ICD9_DGNS_CD_1": "25000", "ICD9_DGNS_CD_2": "V5866", "ICD9_DGNS_CD_3": "E8120",
    "ICD9_PRCDR_CD_1": "7769", "HCPCS_CD_1": "99221",
}  # fmt: skip
SYNPUF_VISIT = {
    "DESYNPUF_ID": "00A1", "CLM_ID": "887", "CLM_FROM_DT": "20100104", "CLM_THRU_DT": "20100104", "ICD9_DGNS_CD_1": "4019",
    "ICD9_DGNS_CD_2": "25000", "HCPCS_CD_1": "99213", "LINE_ICD9_DGNS_CD_1": "25000", "LINE_ALOWD_CHRG_AMT_1": "70.00",
}  # fmt: skip

PATIENTS_CSV = b"""\
Id,BIRTHDATE,DEATHDATE,SSN,DRIVERS,PASSPORT,PREFIX,FIRST,LAST,GENDER,ADDRESS,CITY,STATE,ZIP
p1,1980-02-29,,999,,,Mrs.,Ada,Quimby,F,1 Elm St,Springfield,MA,01101
"""
JSONL = lines({"id": 7, "text": NOTE_TEXT, "sex": "F", "age": 44, "date_of_service": "2024-02-29", "extra": [1]})
CSV = b'id;text;patient_id\n7;"Two lines,\nand a ""quote""";p1\n'


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


CDA_DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<?xml-stylesheet type="text/xsl" href="CDA.xsl"?>
<!-- made up -->
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:sdtc="urn:hl7-org:sdtc">
 <id root="2.16.840.1.113883.19" extension="D-1"/><code code="18842-5" codeSystem="2.16.840.1.113883.6.1"/><title>Discharge Summary</title>
 <effectiveTime value="20240301120000-0500"/>
 <recordTarget><patientRole><id extension="P-1" root="1.2.3"/><id extension="999"/><patient><name><given>Ada</given><family>Quimby</family></name>
  <administrativeGenderCode code="F"/><birthTime value="19800229"/></patient></patientRole></recordTarget>
 <author><time value="20240301"/><assignedAuthor><id extension="A-1"/><assignedPerson><name><prefix>Dr.</prefix> <given>Ann</given>
  <family>Who</family></name></assignedPerson></assignedAuthor></author>
 <componentOf><encompassingEncounter><id extension="V-1"/><effectiveTime><low value="20240229"/><high value="20240301"/></effectiveTime>
  </encompassingEncounter></componentOf>
 <component><structuredBody>
  <component><section><templateId root="1"/><title>Hospital  course</title>
   <text><paragraph>Seen for <content ID="c1">cough</content> &amp; fever.</paragraph><paragraph>Better after<br/>two days – naïve.</paragraph></text>
   <entry><observation><code code="E11.9" displayName="E11.9"/><text>E11.9</text></observation></entry></section></component>
  <component><section><title>Medications</title><text><table><thead><tr><th>Drug</th><th>Dose</th></tr></thead><tbody><tr><td>Metformin</td>
   <td>500 mg</td></tr></tbody></table></text>
   <component><section><title>Inner</title><text><list><item>one</item><item>two</item></list></text></section></component></section></component>
 </structuredBody></component>
</ClinicalDocument>
"""
