"""The folder of known values: nothing in clear, bound to its key and place, memory that does not grow, what it says of whom."""

import json
import os
import pickle

import pytest
from nosology import storage
from nosology.deid import dossier
from nosology.deid.dossier import COMPLETE, Dossier, Gathering, events_of, is_complete, owner_of, remove
from nosology.deid.known import Value
from nosology.deid.secret import Secret
from nosology.errors import InputError

SECRET = Secret(b"k" * 32)
CANARY = "Zebulon Quackenbush"


def filled(folder, rows, secret=SECRET, num_patients=1000):
    gathering = Gathering(str(folder), secret, num_patients)
    for row, *names in rows:
        owner = owner_of(row, secret)
        gathering.add(owner, [Value("name", name) for name in names])
        for event in events_of(row, secret):
            if event != owner:
                gathering.add(event, (), of=owner)
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
