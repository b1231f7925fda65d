"""FHIR R4, STU3 and R5 in JSON: NDJSON (a resource, a Bundle or an array a line), or one Bundle, array or resource that fills the file.

Fields are picked tolerantly: what is absent is None; what is there and cannot be right (an impossible date, text that is no text) makes the
resource a dead letter. References are cut to the id behind them ("Patient/123", "urn:uuid:…"); conditional ones ("Patient?identifier=…")
and contained ones have none. The releases differ in names and in how many (https://hl7.org/fhir/R4/diff.html and the STU3 and R5 pages of
each resource); each builder names its differences.

| module      | resources                                                                              |
|-------------|----------------------------------------------------------------------------------------|
| clinical    | Patient, Encounter, Condition, Procedure                                               |
| claims      | Claim (not preauthorizations and estimates: skipped), ExplanationOfBenefit             |
| documents   | DocumentReference, DiagnosticReport (without a narrative: skipped), Composition        |
| attachments | where a note's text is: in the resource, in a Binary, in a file beside                 |
| stream      | lines, Bundles, arrays                                                                 |
| resources   | the names of all resource types: the others are skipped, any other word is `wrong_type` |

What `entered-in-error` says of itself is skipped: the element is a modifier, so nobody may read such a resource as if it were true.

A note in a file beside: `url` is relative to the folder of the resource's own file and stays below it. A file that lies in the input is
a source record of its own all the same, whoever refers to it, so that every file is accounted for: the attachment's document then has
`file_digest` = `source_digest` of the file's. To have it once, keep attachments in a folder whose name begins with a dot: it is no input.
"""

from __future__ import annotations

from nosology.readers.fhir.stream import Fhir

__all__ = ["Fhir"]
