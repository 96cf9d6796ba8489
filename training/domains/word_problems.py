"""Short stories about counting, buying, travelling and measuring."""

import random
from collections.abc import Callable

from training.domains.products import long_product

Story = tuple[str, list[str], int]

_NAMES = (
    ("Mia", "She"), ("Tom", "He"), ("Lena", "She"), ("Omar", "He"), ("Ava", "She"), ("Ben", "He"),
    ("Nina", "She"), ("Leo", "He"), ("Sara", "She"), ("Max", "He"), ("Ivy", "She"), ("Sam", "He"),
    ("Rosa", "She"), ("Paul", "He"), ("Anna", "She"), ("Carl", "He"), ("Zoe", "She"), ("Hugo", "He"),
)  # fmt: skip
_THINGS = (
    "apples", "books", "coins", "stamps", "marbles", "pencils", "shells", "cards", "cookies",
    "beads", "eggs", "stickers", "flowers", "balloons", "oranges", "buttons", "candles", "toys",
)  # fmt: skip
_HOLDERS = ("boxes", "bags", "baskets", "jars", "packs", "crates", "trays", "rows")
_GAINS = ("{s} buys {n} more.", "{s} finds {n} more.", "{s} gets {n} more from {f}.", "Then {s} receives {n} more.")
_LOSSES = ("{s} gives {n} to {f}.", "{s} loses {n}.", "{s} sells {n}.", "Then {s} gives away {n}.")
_LEFT = ("How many {t} does {s} have now?", "How many {t} are left?", "How many {t} does {s} have?")
_LARGEST = {1: 20, 2: 60, 3: 60, 4: 300, 5: 2000}


def write(rng: random.Random, difficulty: int) -> Story:
    """One story of one step at difficulty one, up to four steps at difficulty five."""
    return rng.choice(_STORIES[difficulty])(rng, difficulty)


def _possession(rng: random.Random, difficulty: int) -> Story:
    """Someone has things, perhaps in boxes, and gains, loses, doubles or shares them."""
    (name, pronoun), (friend, _) = rng.sample(_NAMES, 2)
    thing, largest = rng.choice(_THINGS), _LARGEST[difficulty]
    events = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3}[difficulty]
    total, steps, text = rng.randint(3, largest), [], ""
    if difficulty >= 3:
        each = rng.randint(3, 12 if difficulty == 3 else largest // 5)
        boxes = rng.randint(2, 9 if difficulty < 5 else 40)
        text = f"{name} has {boxes} {rng.choice(_HOLDERS)} of {each} {thing}."
        total, steps = each * boxes, long_product(each, boxes)
    else:
        text = f"{name} has {total} {thing}."
    for _ in range(events):
        sentence, step, total = _event(rng, total, largest)
        text += " " + sentence.format(s=pronoun, f=friend)
        steps += step
    text += " " + rng.choice(_LEFT).format(t=thing, s=name)
    return text.replace("Then She", "Then she").replace("Then He", "Then he"), steps, total


def _event(rng: random.Random, total: int, largest: int) -> tuple[str, list[str], int]:
    way, number = rng.random(), rng.randint(2, largest)
    if way < 0.1:
        return "Then the number doubles.", [f"{total} * 2 = {total * 2}"], total * 2
    if way < 0.55 and number < total:
        sentence = rng.choice(_LOSSES).replace("{n}", str(number))
        return sentence, [f"{total} - {number} = {total - number}"], total - number
    sentence = rng.choice(_GAINS).replace("{n}", str(number))
    return sentence, [f"{total} + {number} = {total + number}"], total + number


def _price(rng: random.Random, difficulty: int) -> Story:
    """Things are bought at a price, and perhaps paid with a round sum."""
    name, pronoun = rng.choice(_NAMES)
    thing = rng.choice(_THINGS)
    price = rng.randint(2, {1: 9, 2: 12, 3: 30, 4: 90, 5: 400}[difficulty])
    count = rng.randint(2, {1: 9, 2: 9, 3: 9, 4: 30, 5: 90}[difficulty])
    cost, steps = price * count, long_product(price, count)
    text = rng.choice(
        (
            f"{name} buys {count} {thing} for {price} dollars each.",
            f"{name} buys {count} {thing}. Each costs {price} dollars.",
        )
    )
    if difficulty == 1:
        return f"{text} How much does {pronoun.lower()} pay?", steps, cost
    paid = cost + rng.randint(1, {2: 20, 3: 60, 4: 300, 5: 2000}[difficulty])
    if difficulty == 2 or rng.random() < 0.5:
        ending = f"{pronoun} pays with {paid} dollars. How much change does {pronoun.lower()} get?"
        return f"{text} {ending}", [*steps, f"{paid} - {cost} = {paid - cost}"], paid - cost
    had = paid + rng.randint(1, _LARGEST[difficulty])
    ending = f"{pronoun} had {had} dollars. How much money is left?"
    return f"{text} {ending}", [*steps, f"{had} - {cost} = {had - cost}"], had - cost


def _journey(rng: random.Random, difficulty: int) -> Story:
    """Something moves at a steady speed, then a little further."""
    vehicle = rng.choice(("A train", "A bus", "A car", "A ship", "A cyclist"))
    speed = rng.randint(3, {1: 10, 2: 20, 3: 90, 4: 120, 5: 900}[difficulty])
    hours = rng.randint(2, {1: 6, 2: 9, 3: 9, 4: 9, 5: 40}[difficulty])
    way, steps = speed * hours, long_product(speed, hours)
    text = f"{vehicle} travels {speed} km per hour for {hours} hours"
    if difficulty == 1:
        return f"{text}. How far does it go?", steps, way
    further = rng.randint(2, _LARGEST[difficulty])
    steps.append(f"{way} + {further} = {way + further}")
    return f"{text} and then {further} km more. How far does it go in all?", steps, way + further


def _ages(rng: random.Random, difficulty: int) -> Story:
    """Two people's ages, one told through the other's."""
    (name, _), (friend, _) = rng.sample(_NAMES, 2)
    age, gap = rng.randint(4, 30), rng.randint(2, 25)
    text, steps, total = f"{name} is {age} years old. ", [f"{age} + {gap} = {age + gap}"], age + gap
    text += f"{friend} is {gap} years older. "
    if difficulty == 1:
        return f"{text}How old is {friend}?", steps, total
    if rng.random() < 0.5:
        later = rng.randint(2, 30)
        steps.append(f"{total} + {later} = {total + later}")
        return f"{text}How old will {friend} be in {later} years?", steps, total + later
    steps.append(f"{age} + {total} = {age + total}")
    return f"{text}How old are they together?", steps, age + total


def _rectangle(rng: random.Random, difficulty: int) -> Story:
    """The area or the way around a rectangle."""
    high = {1: 10, 2: 20, 3: 60, 4: 90, 5: 300}[difficulty]
    a, b = rng.randint(2, high), rng.randint(2, 9 if difficulty < 4 else high // 3)
    what = rng.choice(("rectangle", "garden", "room", "field"))
    text = f"A {what} is {a} m long and {b} m wide. "
    if difficulty == 1 or rng.random() < 0.6:
        return text + "What is its area?", long_product(a, b), a * b
    steps = [f"{a} + {b} = {a + b}", f"{a + b} * 2 = {2 * (a + b)}"]
    return text + "What is its perimeter?", steps, 2 * (a + b)


def _sharing(rng: random.Random, difficulty: int) -> Story:
    """Things are gathered and then shared out evenly."""
    (name, _), thing = rng.choice(_NAMES), rng.choice(_THINGS)
    people = rng.randint(2, 9)
    each = rng.randint(2, {1: 9, 2: 15, 3: 40, 4: 150, 5: 900}[difficulty])
    total = people * each
    ending = f"shares them equally among {people} friends. How many does each friend get?"
    if difficulty == 1:
        return f"{name} has {total} {thing} and {ending}", [f"{total} / {people} = {each}"], each
    extra = rng.randint(1, total - 1)
    text = f"{name} has {total - extra} {thing}, gets {extra} more and {ending}"
    return text, [f"{total - extra} + {extra} = {total}", f"{total} / {people} = {each}"], each


_STORIES: dict[int, tuple[Callable[[random.Random, int], Story], ...]] = {
    1: (_possession, _possession, _price, _journey, _ages, _rectangle, _sharing),
    2: (_possession, _possession, _price, _journey, _ages, _rectangle, _sharing),
    3: (_possession, _possession, _price, _journey, _rectangle, _sharing),
    4: (_possession, _possession, _price, _journey, _rectangle, _sharing),
    5: (_possession, _possession, _price, _journey, _rectangle),
}
