"""What holds for every test: nothing is judged by the time it took."""

from hypothesis import settings

# A shared machine may stall any example; speed is measured in benchmarks/.
settings.register_profile("product", deadline=None)
settings.load_profile("product")
