"""How much of a text self-verification looks at; beyond any of these a verdict is `unknown`, never a wait."""

CHARACTERS = 8_000  # of an answer, and of a question
MEMBER_TOKENS = 300  # of one side of an equation
DEPTH = 60  # brackets, signs and powers inside each other
DIGITS = 40  # of one written number
EXPONENT = 256
BITS = 4_096  # of a numerator or a denominator
STEPS = 300  # of one answer
OPERATIONS = 10_000  # additions, products, … of one answer
DEGREE = 8  # of a polynomial that is solved
