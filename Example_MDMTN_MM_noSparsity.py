"""Train a Monitored Deep Multi-Task Network (MDMTN) on MultiMNIST, without sparsity.

Edit the preference vector k below: how much the left digit and the right digit matter;
the first number, for sparsity, is 0: no row is removed.
"""

from Train_and_Test import run_example

k = [0, 0.5, 0.5]  # sparsity, left digit, right digit

if __name__ == "__main__":
    run_example(__file__, "MDMTN", "MultiMnist", k, description=__doc__)
