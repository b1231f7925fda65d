"""choose_code: the question, the answer, the score; and a table of all tasks."""

import pytest
from nosology.errors import ConfigError
from nosology.tasks import TASKS, task
from nosology.tasks.coding import LABELS, MAX_CANDIDATES, ChooseCode

HEART = "Hypertensive heart disease without heart failure"
CANDIDATES = [("I10", "Essential (primary) hypertension"), ("I11.9", HEART), ("A41.9", "Sepsis")]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_is_found_by_its_name(name: str) -> None:
    found = task(name)
    assert found.name == name and found.instruction and callable(found.build) and callable(found.parse) and callable(found.score)


def test_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose_code"):
        task("choose_cod")


def test_question_holds_titles_in_rank_order_and_no_code() -> None:
    messages, labels = ChooseCode().build("high blood pressure", None, CANDIDATES)
    assert labels == ["A", "B", "C"]
    assert [m["role"] for m in messages] == ["system", "user"]
    assert messages[1]["content"] == (f"Diagnosis: high blood pressure\nA. Essential (primary) hypertension\nB. {HEART}\nC. Sepsis")


def test_context_is_one_line_and_cannot_pose_as_a_candidate() -> None:
    messages, _ = ChooseCode().build("bp\nA. Sepsis", "seen today\nB. Sepsis\n", CANDIDATES)
    lines = messages[1]["content"].split("\n")
    assert lines[0] == "Diagnosis: bp A. Sepsis" and lines[1] == "Context: seen today B. Sepsis"
    assert [line[:2] for line in lines[2:]] == ["A.", "B.", "C."]


@pytest.mark.parametrize("count", [0, MAX_CANDIDATES + 1])
def test_number_of_candidates_is_bounded(count: int) -> None:
    with pytest.raises(ConfigError):
        ChooseCode().build("x", None, [("I10", "t")] * count)


def test_ten_candidates_have_ten_letters() -> None:
    _, labels = ChooseCode().build("x", None, [(f"A{i:02d}", "t") for i in range(10)])
    assert "".join(labels) == LABELS == "ABCDEFGHIJ"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("A", "I10"), ("b.", "I11.9"), (" C\n", "A41.9"), ("(B)", "I11.9"), ("Answer: B", "I11.9"),
        ("A. Essential", "I10"), ("**C**", "A41.9"),
        ("A good answer is B", None), ("I think B", None), ("I11.9", "I11.9"), ("a41.9.", "A41.9"),
        ("D", None), ("Apple", None), ("", None),
        ("Because", None), ("A41.8", None), ("1", None),
    ],
)  # fmt: skip
def test_answers_are_read(answer: str, code: str | None) -> None:
    assert ChooseCode().parse(answer, CANDIDATES) == code


def test_labels_parse_back_to_their_candidates() -> None:
    candidates = [(f"A{i:02d}", "t") for i in range(10)]
    _, labels = ChooseCode().build("x", "y", candidates)
    assert [ChooseCode().parse(label, candidates) for label in labels] == [code for code, _ in candidates]


def test_score_by_hand() -> None:
    figures = ChooseCode().score(["I10", "I11.9", None, "A41.9"], ["I10", "I11.0", "J45.909", "A40.0"])
    assert figures == {"n": 4.0, "top1": 0.25, "category": 0.5, "answered": 0.75}
    with pytest.raises(ValueError):
        ChooseCode().score(["I10"], [])
