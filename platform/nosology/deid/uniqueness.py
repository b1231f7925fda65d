"""How many persons of the clean tables can be told apart by what is no identifier: k of the quasi-identifiers.

k is the size of the smallest group of persons who are alike in all of them (Sweeney, "k-anonymity", International Journal of
Uncertainty, Fuzziness and Knowledge-Based Systems 10(5), 2002). What is not known of a person is a value like any other. Groups of
fewer than 11 are counted too, for CMS publishes no cell below 11.

A row a person is held, in Arrow's memory; of each table only the columns of `COLUMNS` are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# of each table: whose row it is, then what tells of the person; the first table that knows something of a person is believed
COLUMNS: dict[str, tuple[str, ...]] = {
    "patients": ("patient_id", "birth_date", "sex", "state", "postal_code"),
    "claims": ("patient_id", "claim_id", "service_from", "sex", "state", "postal_code"),
    "documents": ("patient_id", "document_id", "date", "sex", "age"),
    "encounters": ("patient_id", "encounter_id", "start_date"),
    "procedures": ("patient_id", "procedure_id", "start_date"),
}
FEW = 11
_PENDING_ROWS = 1 << 20


class People:
    """What the tables of a run tell of each person. Add parts of tables in the order of `COLUMNS`, then ask for `groups`."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self._rows = 0

    def add(self, table: str, rows: pa.Table) -> None:
        """Rows of one part, with the columns of `COLUMNS[table]`. A row without a patient is a person of its own."""
        import pyarrow as pa
        import pyarrow.compute as pc

        names = COLUMNS[table]
        own = [name for name in names if name.endswith("_id")]
        date = next((name for name in ("service_from", "date", "start_date") if name in names), None)
        year = pc.cast(pc.year(rows[date]), pa.int64()) if date else pa.nulls(rows.num_rows, pa.int64())
        if "birth_date" in names:
            born = pc.cast(pc.year(rows["birth_date"]), pa.int64())
        elif "age" in names:
            born = pc.subtract(year, pc.cast(pc.floor(rows["age"]), pa.int64()))
        else:
            born = pa.nulls(rows.num_rows, pa.int64())
        text = {
            name: rows[name].cast(pa.string()) if name in names else pa.nulls(rows.num_rows, pa.string())
            for name in ("sex", "state", "postal_code")
        }
        person = pc.coalesce(*(rows[name] for name in own))
        self._tables.append(pa.table({"person": person, **text, "birth_year": born, "first_service_year": year}))
        self._rows += rows.num_rows
        if self._rows > _PENDING_ROWS:
            held = self._joined()
            self._tables, self._rows = [held], 0

    def groups(self, columns: Sequence[str]) -> dict[str, Any] | None:
        """Sizes of the groups of persons who are alike; None where the tables tell nothing of anybody.

        Args:
            columns: quasi-identifiers, see `config.ProofConfig`.

        Returns:
            columns, persons, known {column: share of persons of whom it is known}, k, unique, unique_share, below_11_share.
        """
        import pyarrow.compute as pc

        if not columns or not self._tables or not (people := self._joined()).num_rows:
            return None
        known = {name: round(1 - people[name].null_count / people.num_rows, 4) for name in columns}
        if not any(known.values()):
            return None
        sizes = people.group_by(list(columns)).aggregate([([], "count_all")])["count_all"]
        unique = pc.sum(pc.equal(sizes, 1)).as_py()
        few = pc.sum(sizes.filter(pc.less(sizes, FEW))).as_py() or 0
        return {
            "columns": list(columns), "persons": people.num_rows, "known": known, "k": pc.min(sizes).as_py(), "unique": unique,
            "unique_share": round(unique / people.num_rows, 4), "below_11_share": round(few / people.num_rows, 4),
        }  # fmt: skip

    def _joined(self) -> pa.Table:
        import pyarrow as pa

        asked = [(name, "first") for name in ("sex", "state", "postal_code", "birth_year")] + [("first_service_year", "min")]
        grouped = pa.concat_tables(self._tables).group_by("person", use_threads=False).aggregate(asked)
        return grouped.rename_columns([name.removesuffix("_first").removesuffix("_min") for name in grouped.schema.names])
