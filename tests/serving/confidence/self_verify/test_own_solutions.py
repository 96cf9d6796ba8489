"""Right solutions of every kind of question that the reference model knows are never flagged; a wrong digit is."""

import random

import pytest

from serving.confidence.self_verify.answer_step import is_of_the_answer, was_put_back
from serving.confidence.self_verify.verify import steps
from training.questions import DIFFICULTIES, DOMAINS, Question, sample

READ = ("sums", "products", "expressions", "equations")  # whose questions hold a formula


def questions(domain: str) -> list[Question]:
    rng = random.Random(domain)
    return [sample(rng, "train", domain, difficulty) for difficulty in DIFFICULTIES for _ in range(8)]


@pytest.mark.parametrize("domain", DOMAINS)
def test_right_solutions_are_valid_throughout(domain: str) -> None:
    for question in questions(domain):
        found = steps(question.solution, question.text)
        assert {step.state for step in found} == {"valid"}, question
        assert was_put_back(found) == ("valid" if domain in READ else None), question


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_wrong_digit_in_a_result_is_found_in_its_line(domain: str) -> None:
    rng = random.Random(7)
    for question in questions(domain):
        lines = question.solution.split("\n")
        at = rng.randrange(sum("=" in line for line in lines))
        left, right = lines[at].split(" = ")
        lines[at] = f"{left} = {int(right) + rng.choice((-10, -1, 1, 10))}"
        text = "\n".join(lines)
        wrong = [step for step in steps(text, question.text) if step.state == "invalid" and not is_of_the_answer(step)]
        assert [text.count("\n", 0, step.start) for step in wrong] == [at], text


@pytest.mark.parametrize("domain", READ)
def test_a_wrong_answer_does_not_hold_in_the_question(domain: str) -> None:
    for question in questions(domain):
        assert was_put_back(steps(f"Answer: {int(question.answer) + 1}", question.text)) == "invalid"
