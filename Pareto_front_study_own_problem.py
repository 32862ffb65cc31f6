"""Study the trade-offs between a classification and a regression: species and body mass of the Palmer penguins.

Trains a sparse network first if there is none, then one for every preference vector of its k0:

    python Pareto_front_study_own_problem.py study --jobs 2
"""

from functools import partial

from Example_own_problem import SCHEDULE, TASKS, penguins
from src import run_own_problem

k = [0.1, 0.45, 0.45]  # sparsity, species, body mass

if __name__ == "__main__":
    pair = partial(penguins, [task for task in TASKS if task.name != "sex"])
    run_own_problem(__file__, "penguins_pair", pair, k=k, description=__doc__, **SCHEDULE)
