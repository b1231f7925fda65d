"""The folder of known values: nothing in clear, bound to its key and place, memory that does not grow, what it says of whom."""

import json
import os
import pickle

import pytest
from nosology import storage
from nosology.deid import dossier
from nosology.deid.dossier import COMPLETE, MOST_OWNERS, Dossier, Gathering, is_complete, owner_of, remove, whose
from nosology.deid.known import Value
from nosology.deid.secret import Secret
from nosology.errors import InputError

SECRET = Secret(b"k" * 32)
CANARY = "Zebulon Quackenbush"


def filled(folder, rows, secret=SECRET, num_patients=1000):
    gathering = Gathering(str(folder), secret, num_patients)
    for row, *names in rows:
        gathering.take(row, [Value("name", name) for name in names])
    gathering.finish()
    return Dossier(str(folder), secret)


def names(held, **row):
    return sorted(value.text for value in held.of(held.owners(row)))


@pytest.fixture
def held(tmp_path):
    rows = [
        ({"patient_id": "p1"}, CANARY, CANARY),
        ({"patient_id": "p1", "claim_id": "c1", "encounter_id": "e1"}, "Zeb Quackenbush"),
        ({"claim_id": "c1"}, "QUACKENBUSH Z"),  # a remittance
        ({"claim_id": "c2", "encounter_id": "e2"}, "Someone Else"),
        *(({"patient_id": f"q{n}"}, f"Person {n}") for n in range(200)),
    ]
    return filled(tmp_path / "held", rows)


def test_whose_values_a_row_gets(held):
    assert names(held, patient_id="p1") == ["Zeb Quackenbush", CANARY]
    assert names(held, patient_id="p1", claim_id="c1") == ["QUACKENBUSH Z", "Zeb Quackenbush", CANARY]
    assert names(held, claim_id="c1") == ["QUACKENBUSH Z", "Zeb Quackenbush", CANARY]
    assert names(held, encounter_id="e1") == ["Zeb Quackenbush", CANARY]
    assert names(held, encounter_id="e2") == ["Someone Else"]  # a claim without a patient
    assert names(held, patient_id="p2") == names(held, patient_id="c1") == names(held) == []
    assert all(names(held, patient_id=f"q{n}") == [f"Person {n}"] for n in range(200))


def one(held, *rows):
    """Whose the rows are, where it is one and the same."""
    return set(held.whose([dict(row) for row in rows]))


def test_a_row_without_a_patient_is_the_patients_whose_claim_or_encounter_it_is_of(held, tmp_path):
    """Whatever row says so, however many there are between."""
    patient = whose({"patient_id": "p1"}, SECRET)
    assert one(held, {"patient_id": "p1"}, {"claim_id": "c1"}, {"encounter_id": "e1"}, {"claim_id": "c1", "encounter_id": "e9"}) == {
        patient
    }
    assert held.whose([{"claim_id": "c1", "document_id": "d"}, {"patient_id": "p2"}]) == [patient, whose({"patient_id": "p2"}, SECRET)]
    # a claim that names its encounter, an encounter that names its patient
    far = filled(tmp_path / "far", [({"claim_id": "c1", "encounter_id": "e1"},), ({"encounter_id": "e1", "patient_id": "p1"},)])
    assert one(far, {"claim_id": "c1"}, {"encounter_id": "e1"}, {"claim_id": "c1", "encounter_id": "e1"}) == {patient}
    assert names(filled(tmp_path / "far2", [({"patient_id": "p1"}, CANARY), ({"claim_id": "c1", "encounter_id": "e1"},),
                                            ({"encounter_id": "e1", "patient_id": "p1"},)]), claim_id="c1") == [CANARY]  # fmt: skip


def test_without_a_patient_one_event_stands_for_all_that_belong_together(held):
    """A claim, its remittance and its notes; a claim and its encounter."""
    alone = whose({"claim_id": "c7"}, SECRET)
    assert one(held, {"claim_id": "c7"}, {"claim_id": "c7", "document_id": "d1"}, {"claim_id": "c7", "source_row": 3}) == {alone}
    assert len(one(held, {"claim_id": "c2"}, {"encounter_id": "e2"}, {"claim_id": "c2", "encounter_id": "e2"})) == 1
    assert (
        len(one(held, {"claim_id": "c2"}, {"claim_id": "c1"}, {"claim_id": "c7"}, {"encounter_id": "c7"}, {"document_id": "c7"}, {})) == 6
    )
    rows = [
        {"document_id": "1"},
        {"condition_id": "1"},
        {"procedure_id": "1"},
        {"patient_id": "1"},
        {"source_digest": "d", "source_row": 1},
    ]
    assert len({whose(row, SECRET) for row in rows}) == 5, "an id of one kind is none of another"


def test_what_joins_two_patients_is_nobodys(tmp_path):
    """A claim number that two submitters gave stands for itself; the nearest patient counts where one is nearer."""
    rows = [({"claim_id": "c1", "patient_id": p, "encounter_id": f"e-{p}"},) for p in ("p1", "p2")] + [
        ({"claim_id": "c1", "encounter_id": "e3"},)
    ]
    held = filled(tmp_path, rows)
    itself = whose({"claim_id": "c1"}, SECRET)
    assert one(held, {"claim_id": "c1"}, {"claim_id": "c1", "document_id": "d"}) == {itself}
    assert one(held, {"encounter_id": "e-p1"}, {"patient_id": "p1"}) == {whose({"patient_id": "p1"}, SECRET)}


def test_an_event_of_more_patients_than_there_can_be_joins_nobody_and_costs_no_memory(tmp_path, monkeypatch):
    """A default in the column of encounters; whatever chunks the gathering made of it."""
    monkeypatch.setattr(dossier, "_HELD_BYTES", 20_000)
    gathering = Gathering(str(tmp_path / "held"), SECRET, 2000)
    most = 0
    for n in range(3000):
        gathering.take({"patient_id": f"p{n}", "encounter_id": "NONE", "claim_id": f"c{n // (MOST_OWNERS + 1)}"}, ())
        gathering.take({"patient_id": f"p{n % MOST_OWNERS}", "encounter_id": "FEW"}, ())
        most = max(most, gathering._held_bytes)
    gathering.finish()
    assert most < 60_000
    held = Dossier(str(tmp_path / "held"), SECRET)

    def of(**row):
        ((event, *_),) = [dossier.events_of(row, SECRET)]
        return held._entry(event)[1]

    assert of(encounter_id="NONE") == [] and len(of(encounter_id="FEW")) == MOST_OWNERS and of(claim_id="c3") == []
    assert one(held, {"encounter_id": "NONE"}) == {whose({"encounter_id": "NONE"}, SECRET)}


def test_each_part_is_read_once_for_a_batch(tmp_path, monkeypatch):
    rows = [({"claim_id": f"c{n}", "patient_id": f"p{n}"},) for n in range(3000)]
    held = filled(tmp_path / "held", rows, num_patients=20_000)
    monkeypatch.setattr(dossier, "_HELD_PART_BYTES", 0)
    read = []
    monkeypatch.setattr(dossier.storage, "read_bytes", lambda uri, real=storage.read_bytes: read.append(uri) or real(uri))
    found = held.whose([{"claim_id": f"c{n % 3000}"} for n in range(4000)])
    assert found[:3000] == [whose({"patient_id": f"p{n}"}, SECRET) for n in range(3000)]
    assert len(read) == len(set(read)) > 30


def test_a_number_is_the_same_patient_as_its_digits(tmp_path):
    assert names(filled(tmp_path, [({"patient_id": 7}, CANARY)]), patient_id="7") == [CANARY]


def test_nothing_stands_there_in_clear(held, tmp_path):
    whole = b"".join(storage.read_bytes(uri) for uri in storage.list_files(str(tmp_path / "held"), hidden=True))
    assert len(whole) > 10_000
    assert not any(value.encode() in whole for value in (CANARY, "Quackenbush", "Person", "name", "values"))
    assert not any(CANARY.split()[0] in name for name in os.listdir(tmp_path / "held"))
    sent = pickle.dumps(held)
    assert CANARY.encode() not in sent and names(pickle.loads(sent), patient_id="p1") == ["Zeb Quackenbush", CANARY]


def test_what_waits_in_the_temporary_file_is_closed_and_goes_there_in_time(tmp_path, monkeypatch):
    """Whatever is gathered, only `_HELD_BYTES` of it are in memory; the same values come back from many chunks of a part."""
    monkeypatch.setattr(dossier, "_HELD_BYTES", 20_000)
    gathering = Gathering(str(tmp_path / "held"), SECRET, 2000)
    most = 0
    for n in range(3000):
        gathering.add(owner_of({"patient_id": f"p{n % 700}"}, SECRET), [Value("name", f"{CANARY} {n}")])
        most = max(most, gathering._held_bytes)
    assert most < 21_000 and gathering._file.tell() > 300_000
    gathering._file.seek(0)
    assert b"Quackenbush" not in gathering._file.read()
    gathering._file.seek(0, os.SEEK_END)
    gathering.finish()
    assert names(Dossier(str(tmp_path / "held"), SECRET), patient_id="p5") == sorted(f"{CANARY} {n}" for n in range(5, 3000, 700))


def test_another_key_and_a_changed_or_cut_or_moved_entry_are_refused(held, tmp_path):
    folder = tmp_path / "held"
    with pytest.raises(InputError, match="missing|no such|not found") as caught:
        names(Dossier(str(tmp_path / "none"), SECRET), patient_id="p1")
    other = Dossier(str(folder), Secret(b"o" * 32))
    assert names(other, patient_id="p1") == []  # another key names its entries otherwise
    owner = owner_of({"patient_id": "p1"}, SECRET)
    parts = json.loads((folder / COMPLETE).read_text())["parts"]
    file = folder / f"patients-{int.from_bytes(owner[1][:8], 'big') % parts:04}"
    data = file.read_bytes()
    at = data.index(owner[1])
    for changed in (data[: at + 40] + bytes([data[at + 40] ^ 1]) + data[at + 41 :], data[: at + 30]):
        file.write_bytes(changed)
        with pytest.raises(InputError) as caught:
            names(Dossier(str(folder), SECRET), patient_id="p1")
        assert "Zebulon" not in str(caught.value) and str(file) in str(caught.value)
    stranger = next(
        data[n : n + 16] for n in [data.index(o) for k, o in [owner_of({"patient_id": f"q{n}"}, SECRET) for n in range(200)] if o in data]
    )
    file.write_bytes(data.replace(owner[1], b"x" * 16).replace(stranger, owner[1]))  # a stranger's values under this patient's name
    with pytest.raises(InputError, match="changed"):
        names(Dossier(str(folder), SECRET), patient_id="p1")


def test_a_folder_without_its_list_is_not_complete_and_is_made_again(held, tmp_path):
    folder = str(tmp_path / "held")
    assert is_complete(folder)
    storage.remove(storage.join(folder, COMPLETE))
    assert not is_complete(folder)
    assert names(filled(folder, [({"patient_id": "p1"}, "Another")]), patient_id="p1") == ["Another"]
    remove(folder)
    assert not (tmp_path / "held").exists()
    remove(folder)  # what is not there is no error
