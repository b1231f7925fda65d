"""Writes an archive of any size, resampled from the sample archive of this repository, and the truth about it.

    python bench/make_archive.py --claims 100000 --notes-per-claim 0.2 --seed 1 --out DIR

    DIR/archive/x12      837 files of version 5010 and 4010, professional and institutional: claims of the guides' own examples
    DIR/archive/fhir     Claim, ExplanationOfBenefit and DocumentReference as NDJSON: the sample archive's Medicare claims, and its notes
    DIR/archive/parquet  claims in the schema of `RawClaim`, notes as a user's own table
    DIR/truth.parquet    every record: file, number of the record in it (from 0), kind, id

Nothing is invented but the ids: a claim is a sample claim with a fresh id, a note is a sample note with a fresh id. The sample archive
has no FHIR claims, so those carry the values of its Medicare claims in the elements that FHIR R4 has for them. The same arguments give
the same bytes. What is held is one file at a time.
"""

from __future__ import annotations

import gzip
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

SHARES = {"x12": 6, "fhir": 2, "parquet": 2}  # of the claims, where all are asked for
_TRUTH = pa.schema([("file", pa.string()), ("record", pa.int64()), ("kind", pa.string()), ("id", pa.string())])
_ID = "@@ID@@"
_SYSTEMS = {
    "ICD-10-CM": "http://hl7.org/fhir/sid/icd-10-cm", "ICD-9-CM": "http://hl7.org/fhir/sid/icd-9-cm",
    "HCPCS": "https://bluebutton.cms.gov/resources/codesystem/hcpcs", "REVENUE": "https://www.nubc.org/CodeSystem/RevenueCodes",
    "NDC": "http://hl7.org/fhir/sid/ndc",
}  # fmt: skip


@dataclass(frozen=True)
class Guide:
    """The sample claims of one implementation guide.

    Attributes:
        head, tail: segments before the first loop; SE, GE and IEA, with a place for the number of segments.
        claims: provider, subscriber, patient and claim of each, with places for the numbers of the loops and for the id; and the number
            of segments and of loops.
    """

    name: str
    head: bytes
    num_head: int
    tail: bytes
    claims: tuple[tuple[bytes, int, int], ...]


def _sample(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data


def _bytes(segments: Sequence[list[str]]) -> bytes:
    return "".join("*".join(segment) + "~\n" for segment in segments).encode()


def _template(loops: Sequence[list[list[str]]], claim: list[list[str]]) -> tuple[bytes, int, int]:
    """One claim with the loops it stands in; `%d` for numbers, `%b` for the id. Numbers go: own number, then parent's."""
    segments: list[list[str]] = []
    for depth, loop in enumerate(loops):
        _, *rest = loop
        segments.append(["HL", "%d", "%d" if depth else "", loop[0][3], "1" if depth < len(loops) - 1 else "0"])
        segments += [[element.replace("%", "%%") for element in segment] for segment in rest]
    segments.append(["CLM", "%b", *(element.replace("%", "%%") for element in claim[0][2:])])
    segments += [[element.replace("%", "%%") for element in segment] for segment in claim[1:]]
    return _bytes(segments), len(segments), len(loops)


def guides(samples: Path) -> list[Guide]:
    """The 837 files of the sample archive, taken apart into claims."""
    found = []
    for folder in sorted(samples.glob("x12/837_*")):
        claims: list[tuple[bytes, int, int]] = []
        head: list[list[str]] = []
        tail: list[list[str]] = []
        for path in sorted(folder.iterdir()):
            segments = [text.strip().split("*") for text in _sample(path).decode().split("~") if text.strip()]
            first = next(number for number, segment in enumerate(segments) if segment[0] == "HL")
            end = next(number for number, segment in enumerate(segments) if segment[0] == "SE")
            if not head:
                head, tail = segments[:first], [["SE", "%d", segments[end][2]], *segments[end + 1 :]]
            loops: list[list[list[str]]] = []
            claim: list[list[str]] = []
            for segment in [*segments[first:end], ["HL", "", "", "end"]]:
                if segment[0] in ("HL", "CLM") and claim:
                    claims.append(_template(loops, claim))
                    claim = []
                if segment[0] == "HL":
                    loops = [loop for loop in loops if loop[0][3] < segment[3]] + [[segment]]
                elif segment[0] == "CLM" or claim:
                    claim.append(segment)
                else:
                    loops[-1].append(segment)
        number_of_head = next(number for number, segment in enumerate(head) if segment[0] == "ST")
        found.append(Guide(folder.name, _bytes(head), len(head) - number_of_head, _bytes(tail), tuple(claims)))
    return found


def x12_file(guide: Guide, rng: random.Random, ids: Sequence[str]) -> bytes:
    """An interchange with one transaction that holds a claim for each id."""
    pieces, loop, num_segments = [guide.head], 1, guide.num_head
    for name, (template, segments, loops) in zip(ids, rng.choices(guide.claims, k=len(ids)), strict=True):
        numbers = [loop, *(number for own in range(loop + 1, loop + loops) for number in (own, own - 1))]
        pieces.append(template % (*numbers, name.encode()))
        loop += loops
        num_segments += segments
    pieces.append(guide.tail % (num_segments + 1))
    return b"".join(pieces)


def medicare_claims(samples: Path) -> list[Any]:
    """The Medicare claims of the sample archive."""
    from nosology import readers, storage
    from nosology.records import RawClaim

    claims: list[Any] = []
    for path in sorted(samples.glob("medicare_rif/*.csv")):
        source = readers.SourceFile(str(path), path.name, storage.digest(str(path)), path.stat().st_size)
        with open(path, "rb") as stream:
            claims += [row for row in readers.read_file(source, stream) if isinstance(row, RawClaim)]
    return claims


def _coded(system: str | None, code: str) -> dict[str, Any]:
    return {"coding": [{"system": _SYSTEMS.get(system or "", system), "code": code}]}


def _money(value: float) -> dict[str, Any]:
    return {"value": value, "currency": "USD"}


def fhir_claim(claim: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Claim and ExplanationOfBenefit (FHIR R4) with the values of a claim."""
    day = (claim.service_to or claim.service_from).isoformat()
    category = "http://terminology.hl7.org/CodeSystem/adjudication"
    shared = {
        "id": _ID, "identifier": [{"system": "https://bluebutton.cms.gov/resources/variables/clm_id", "value": _ID}], "status": "active",
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/claim-type", "code": claim.form}]}, "use": "claim",
        "patient": {"reference": f"Patient/{claim.patient_id}"}, "created": day,
        "billablePeriod": {"start": (claim.service_from or claim.service_to).isoformat(), "end": day},
        "provider": {"identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": claim.provider_npi or "0"}},
        "diagnosis": [
            {"sequence": place, "diagnosisCodeableConcept": _coded(one.system, one.code),
             "type": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/ex-diagnosistype", "code": one.kind}]}]}
            for place, one in enumerate(claim.diagnoses, start=1)
        ],
        "insurance": [{"focal": True, "coverage": {"reference": f"Coverage/{claim.subscriber_id or claim.patient_id}"}}],
    }  # fmt: skip
    items = [
        {"sequence": place, "productOrService": _coded(line.system, line.code),
         **({"servicedDate": line.service_date.isoformat()} if line.service_date else {}),
         **({"quantity": {"value": line.quantity}} if line.quantity is not None else {}),
         **({"net": _money(line.charge)} if line.charge is not None else {})}
        for place, line in enumerate((line for line in claim.lines if line.code), start=1)
    ]  # fmt: skip
    judged = [
        {**item, "adjudication": [{"category": {"coding": [{"system": category, "code": "submitted"}]}, "amount": item["net"]}]}
        if "net" in item else item for item in items
    ]  # fmt: skip
    total = _money(claim.total_charge or 0.0)
    billed = {"resourceType": "Claim", **shared, "priority": {"coding": [{"code": "normal"}]},
              "insurance": [{"sequence": 1, **shared["insurance"][0]}], "total": total}  # fmt: skip
    answered = {"resourceType": "ExplanationOfBenefit", **shared, "insurer": {"display": claim.payer or claim.payer_type or "Medicare"},
                "claim": {"reference": f"Claim/{_ID}"}, "outcome": "complete",
                "total": [{"category": {"coding": [{"system": category, "code": "submitted"}]}, "amount": total}]}  # fmt: skip
    return {**billed, **({"item": items} if items else {})}, {**answered, **({"item": judged} if judged else {})}


def _parts(resource: dict[str, Any]) -> list[bytes]:
    """The line of a resource, cut where its id stands."""
    return (orjson.dumps(resource) + b"\n").split(_ID.encode())


def sample_notes(samples: Path) -> tuple[list[list[bytes]], list[dict[str, Any]]]:
    """DocumentReference lines, cut where their id stands, and the rows of the notes table."""
    lines = (samples / "fhir" / "DocumentReference.000.ndjson").read_bytes().splitlines()
    resources = [_parts({**orjson.loads(line), "id": _ID}) for line in lines]
    rows = [orjson.loads(line) for line in (samples / "aci_bench" / "notes.jsonl").read_bytes().splitlines()]
    return resources, rows


class Archive:
    """Writes the files of an archive and what is in them."""

    def __init__(self, out: Path, seed: int, records_per_file: int) -> None:
        self._out, self._rng, self._per_file = out / "archive", random.Random(seed), records_per_file
        self.num_records = self.num_bytes = 0
        self._truth = pq.ParquetWriter(out / "truth.parquet", _TRUTH)

    def close(self) -> None:
        self._truth.close()

    def _ids(self, prefix: str, count: int) -> Iterator[tuple[int, list[str]]]:
        """Number and ids of each file."""
        for number, start in enumerate(range(0, count, self._per_file)):
            yield number, [f"{prefix}{place:09d}" for place in range(start, min(start + self._per_file, count))]

    def _write(self, name: str, data: bytes, kind: str, ids: list[str]) -> None:
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.num_bytes += len(data)
        self.num_records += len(ids)
        columns = {"file": [name] * len(ids), "record": list(range(len(ids))), "kind": [kind] * len(ids), "id": ids}
        self._truth.write_table(pa.table(columns, schema=_TRUTH))

    def x12(self, sources: Sequence[Guide], count: int) -> None:
        weights = [len(guide.claims) for guide in sources]
        for number, ids in self._ids("X", count):
            (guide,) = self._rng.choices(sources, weights)
            self._write(f"x12/{guide.name}.{number:05d}.837", x12_file(guide, self._rng, ids), "claim", ids)

    def lines(self, name: str, kind: str, prefix: str, templates: Sequence[list[bytes]], count: int) -> None:
        for number, ids in self._ids(prefix, count):
            chosen = self._rng.choices(templates, k=len(ids))
            data = b"".join(one.encode().join(parts) for one, parts in zip(ids, chosen, strict=True))
            self._write(f"fhir/{name}.{number:05d}.ndjson", data, kind, ids)

    def table(self, name: str, kind: str, column: str, prefix: str, rows: pa.Table, count: int) -> None:
        for number, ids in self._ids(prefix, count):
            chosen = rows.take(pa.array(self._rng.choices(range(rows.num_rows), k=len(ids))))
            place = chosen.schema.get_field_index(column)
            sink = pa.BufferOutputStream()
            pq.write_table(chosen.set_column(place, chosen.schema.field(column), pa.array(ids)), sink, compression="zstd")
            self._write(f"parquet/{name}.{number:05d}.parquet", sink.getvalue().to_pybytes(), kind, ids)


def make(
    out: Path, claims: int, notes_per_claim: float, seed: int, formats: Sequence[str] = tuple(SHARES), records_per_file: int = 5000,
    samples: Path = machine.SAMPLES,
) -> dict[str, Any]:  # fmt: skip
    """Writes an archive; what it has: `claims, notes, records, files, bytes, seconds`.

    Args:
        claims: in all formats together; a FHIR claim also has an ExplanationOfBenefit, a record of its own.
        notes_per_claim: notes, as a share of the claims; half as DocumentReference, half in the notes table.
        formats: which of x12, fhir and parquet.
        records_per_file: at most.
    """
    from nosology.records import RawClaim, Sourced, to_table

    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    shares = list(itertools.accumulate(SHARES[name] for name in formats))
    ends = [claims * share // shares[-1] for share in shares]
    counts = dict(zip(formats, (end - begin for begin, end in zip([0, *ends], ends, strict=False)), strict=True))
    notes = round(claims * notes_per_claim)
    as_resource = notes if "parquet" not in formats else notes // 2 if "fhir" in formats else 0
    archive = Archive(out, seed, records_per_file)
    resources, rows = sample_notes(samples)
    medicare = medicare_claims(samples) if {"fhir", "parquet"} & set(formats) else []
    if counts.get("x12"):
        archive.x12(guides(samples), counts["x12"])
    if counts.get("fhir"):
        pairs = [fhir_claim(claim) for claim in medicare if claim.service_from or claim.service_to]
        archive.lines("Claim", "claim", "F", [_parts(billed) for billed, _ in pairs], counts["fhir"])
        archive.lines("ExplanationOfBenefit", "remittance", "F", [_parts(answered) for _, answered in pairs], counts["fhir"])
    if counts.get("parquet"):
        whole = to_table(RawClaim, medicare)
        keys = set(Sourced.__dataclass_fields__)
        archive.table("claims", "claim", "claim_id", "P", whole.select([c for c in whole.column_names if c not in keys]), counts["parquet"])
    archive.lines("DocumentReference", "note", "D", resources, as_resource)
    archive.table("notes", "note", "id", "N", pa.Table.from_pylist(rows), notes - as_resource)
    archive.close()
    files = sum(1 for path in (out / "archive").rglob("*") if path.is_file())
    return {"claims": claims, "notes": notes, "records": archive.num_records, "files": files, "bytes": archive.num_bytes,
            "seconds": round(time.monotonic() - started, 2)}  # fmt: skip


def main() -> None:
    machine.prepare()
    arguments = machine.parser(__doc__)
    arguments.add_argument("--claims", type=int, required=True)
    arguments.add_argument("--notes-per-claim", type=float, default=0.0)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--formats", default=",".join(SHARES), help="some of x12,fhir,parquet")
    arguments.add_argument("--records-per-file", type=int, default=5000)
    given = arguments.parse_args()
    made = make(given.out, given.claims, given.notes_per_claim, given.seed, given.formats.split(","), given.records_per_file)
    machine.finish(made, given.json)


if __name__ == "__main__":
    main()
